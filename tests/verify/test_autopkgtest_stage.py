"""The autopkgtest stage on a real archive: what its tests may do, how they end, and what they cannot reach."""

from __future__ import annotations

from buildfarm.verdict import Verdict
from tests.verify.conftest import Bench

CONTROL = "Tests: {names}\nDepends: @{more}\n"


def control(*names: str, restrictions: str = "", depends: str = "") -> str:
    text = f"Tests: {' '.join(names)}\nDepends: @{depends}\n"
    return text + (f"Restrictions: {restrictions}\n" if restrictions else "")


def test_what_is_published_is_tested_as_it_was_installed_by_apt(bench: Bench) -> None:
    bench.publish(
        {
            "control": control("it-greets") + "\n" + control("as-root", restrictions="needs-root"),
            "it-greets": "#!/bin/sh\nset -e\ngreet | grep -x hello\ntest $(id -un) = tester\n"
            "echo kept > $AUTOPKGTEST_ARTIFACTS/note\n",
            "as-root": "#!/bin/sh\nset -e\ntest $(id -u) = 0\ntouch /etc/mark\ndpkg -s greet | grep 1.0\n",
        }
    )

    result = bench.run()

    assert (result.verdict, result.reason) == (Verdict.PASS, "2 tests passed"), bench.log()
    assert {(test["name"], test["result"], test["where"]) for test in result.facts["tests"]} == {
        ("it-greets", "pass", "overlay"),
        ("as-root", "pass", "overlay"),
    }
    assert (bench.out / "overlay/artifacts/note").read_text() == "kept\n"
    assert (bench.out / "overlay/testpkg-version").read_text() == "greet 1.0\n"
    assert "greet\t1.0" in (bench.out / "overlay/it-greets-packages").read_text()
    assert {ref.path.rpartition("/")[2] for ref in result.outputs} >= {"log", "testinfo.json", "note"}
