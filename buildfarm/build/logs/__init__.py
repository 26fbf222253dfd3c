"""Reading build logs: whose fault a failure is, its first error, the tests that failed, its cause."""

from buildfarm.build.logs.cause import Cause, find_cause
from buildfarm.build.logs.judging import Judgement, Outcome, judge
from buildfarm.build.logs.reading import ONCE_MORE, FirstError, LogReading, read_build_log
from buildfarm.build.logs.suites.base import Counts, SuiteRun
from buildfarm.build.logs.suites.registry import NAMING
from buildfarm.build.logs.summary import Summary

__all__ = [
    "NAMING",
    "ONCE_MORE",
    "Cause",
    "Counts",
    "FirstError",
    "Judgement",
    "LogReading",
    "Outcome",
    "SuiteRun",
    "Summary",
    "find_cause",
    "judge",
    "read_build_log",
]
