"""Which saying is whose."""

import contextlib
import datetime
import io
import unittest

from motd_bazaar import saying_of, sayings
from motd_bazaar.command import main

DAY = datetime.date(2026, 11, 2)
NEXT_DAY = DAY + datetime.timedelta(days=1)


class SayingTest(unittest.TestCase):
    """The choice of the day."""

    def test_a_day_has_one_saying(self) -> None:
        self.assertEqual(saying_of(DAY, "abc"), saying_of(DAY, "abc"))

    def test_the_next_day_has_another(self) -> None:
        self.assertNotEqual(saying_of(DAY, "abc"), saying_of(NEXT_DAY, "abc"))

    def test_all_get_their_turn(self) -> None:
        days = [DAY + datetime.timedelta(days=n) for n in range(3)]
        self.assertEqual({saying_of(day, "abc") for day in days}, set("abc"))

    def test_an_empty_list_is_refused(self) -> None:
        with self.assertRaises(ValueError):
            saying_of(DAY, [])

    def test_comments_are_no_sayings(self) -> None:
        self.assertTrue(sayings())
        self.assertFalse([line for line in sayings() if line.startswith("#")])


class CommandTest(unittest.TestCase):
    """The command line."""

    def test_the_saying_of_the_given_day_is_printed(self) -> None:
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            main(["--date", DAY.isoformat()])
        self.assertEqual(output.getvalue(), saying_of(DAY, sayings()) + "\n")

    def test_what_is_no_date_ends_in_a_usage_error(self) -> None:
        with self.assertRaises(SystemExit) as caught, contextlib.redirect_stderr(io.StringIO()):
            main(["--date", "tomorrow"])
        self.assertEqual(caught.exception.code, 2)


if __name__ == "__main__":
    unittest.main()
