"""The web status in a real browser: a failed build explains itself, and who logged in forces a run."""

import shutil
import time

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.scenarios.running_farm import UNITTEST, tiny_package

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


@pytest.fixture
def browser(tmp_path):
    if not (CHROMIUM and DRIVER):
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    words = (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1300,2000",
    )
    for word in (*words, f"--user-data-dir={tmp_path / 'chromium'}"):
        options.add_argument(word)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def await_text(browser, *words):
    def found(driver):
        text = driver.find_element(By.TAG_NAME, "body").text
        return all(word in text for word in words)

    WebDriverWait(browser, 60, ignored_exceptions=(Exception,)).until(found, f"{words} are not on the page")


def test_a_failed_builds_page_says_why_and_how_to_reproduce_it_and_admin_forces_it_again(farm, browser):
    farm.recipe("tiny", unittest=UNITTEST)
    trunk = farm.trunk("tiny")
    farm.up()
    wrong = '"""A module."""\n\n\ndef answer():\n    """The answer."""\n    return 41\n'
    run = farm.await_run("tiny", trunk.commit(tiny_package(**{"tiny.py": wrong})), 120)
    page = farm.history.stage_rows(run)[-1].page
    browser.get(page)
    await_text(browser, "test_answer", f"run tiny --revision {run.revision} --until unittest")
    password = (farm.home / "secrets" / "admin-password").read_text().strip()
    address = farm.settings.web_url.removeprefix("http://")
    browser.get(f"http://admin:{password}@{address}auth/login")
    browser.get(f"{farm.settings.web_url}#/builders")
    WebDriverWait(browser, 60).until(lambda b: b.find_elements(By.LINK_TEXT, "run-by-hand"))[0].click()
    find_button(browser, "Run a recipe").click()
    find_button(browser, "Start build").click()
    deadline = time.monotonic() + 60
    while farm.history.tasks(run)[0].attempts < 2:
        assert time.monotonic() < deadline, farm.evidence()
        time.sleep(0.2)


def find_button(browser, words):
    path = f"//button[normalize-space()='{words}']"
    return WebDriverWait(browser, 60).until(lambda b: b.find_elements(By.XPATH, path))[0]
