"""Who is greeted, and how."""

import contextlib
import io
import unittest

from hello_farm import GREETINGS, greeting, version
from hello_farm.command import main


def printed(*arguments: str) -> str:
    """What the command prints."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        main(arguments)
    return output.getvalue()


class GreetingTest(unittest.TestCase):
    """The greeting itself."""

    def test_english_is_spoken_unless_another_language_is_asked_for(self) -> None:
        self.assertEqual(greeting("world"), "Hello, world!")

    def test_every_language_names_who_is_greeted(self) -> None:
        for language in GREETINGS:
            with self.subTest(language=language):
                self.assertIn("Ada", greeting("Ada", language))

    def test_an_unknown_language_is_refused(self) -> None:
        with self.assertRaises(KeyError):
            greeting("world", "tlh")


class CommandTest(unittest.TestCase):
    """The command line."""

    def test_the_world_is_greeted_by_default(self) -> None:
        self.assertEqual(printed(), f"Hello, world! This is hello-farm {version()}.\n")

    def test_a_name_and_a_language_are_taken(self) -> None:
        self.assertTrue(printed("--language", "nl", "Ada").startswith("Dag, Ada! "))

    def test_an_unknown_language_ends_in_a_usage_error(self) -> None:
        with self.assertRaises(SystemExit) as caught, contextlib.redirect_stderr(io.StringIO()):
            main(["--language", "tlh"])
        self.assertEqual(caught.exception.code, 2)


if __name__ == "__main__":
    unittest.main()
