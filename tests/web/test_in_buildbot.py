"""The pages within a farm's own web server, and in a real browser: found by its menu, read without scripts."""

import pytest
import requests
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from buildfarm.web.menu import menu_plugins
from tests.scenarios.running_farm import farm
from tests.scenarios.test_web import browser
from tests.web.populated import HOSTILE, Population
from tests.web.weeks import fill

__all__ = ["browser", "farm"]


@pytest.mark.slow
def test_a_reader_goes_from_buildbots_menu_to_a_failures_cause_and_a_reload_keeps_the_pages(farm, browser):
    weeks = fill(Population(farm.root, farm.home.name))
    farm.up()
    url = farm.settings.web_url
    browser.get(url)
    if menu_plugins():
        item = WebDriverWait(browser, 60).until(
            lambda b: b.find_elements(By.PARTIAL_LINK_TEXT, "Nightly rebuilds")
        )
        browser.execute_script("arguments[0].click()", item[0])
        WebDriverWait(browser, 60).until(lambda b: b.current_url == f"{url}rebuilds/")
    browser.get(f"{url}rebuilds/?set=founding")
    background, marks = colours(browser)
    assert len({background, *marks.values()}) == len(marks) + 1  # each verdict is seen to be another
    browser.find_element(By.CSS_SELECTOR, f"td.v-new a[href$='builds/{weeks.broken}']").click()
    assert browser.current_url == f"{url}rebuilds/builds/{weeks.broken}"
    assert "because of src-libfoo 1.2 to 1.3" in browser.find_element(By.TAG_NAME, "body").text
    browser.find_element(By.LINK_TEXT, "All failures of this cause").click()
    assert browser.find_element(By.TAG_NAME, "h1").text == "undefined reference to foo_open"
    browser.get(f"{url}rebuilds/builds/{weeks.hostile}")
    assert HOSTILE in browser.find_element(By.TAG_NAME, "body").text
    assert browser.execute_script("return document.scripts.length") == 0
    assert [one for one in browser.get_log("browser") if "Content Security Policy" in one["message"]] == []
    browser.set_window_size(420, 900)
    for path in ("?set=founding", f"builds/{weeks.broken}", "packages/libvirt/bookworm/amd64", "nights/10"):
        browser.get(f"{url}rebuilds/{path}")
        wide = browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0, f"{path} is {wide} pixels wider than the window"
    farm.cli("reload")
    assert "libvirt" in requests.get(f"{url}rebuilds/", timeout=60).text
    assert requests.get(f"{url}api/v2/masters", timeout=60).status_code == 200


def colours(driver):
    """The colours of the page and of each kind of cell."""
    script = (
        "const seen = {}; for (const cell of document.querySelectorAll('.matrix td[class^=v-]'))"
        " seen[cell.className] = getComputedStyle(cell).backgroundColor;"
        " return [getComputedStyle(document.body).backgroundColor, seen]"
    )
    return driver.execute_script(script)
