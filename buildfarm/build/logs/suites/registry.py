"""The kinds of test suites that are understood: a new one is a module beside this and its name here."""

from __future__ import annotations

from buildfarm.build.logs.suites.automake import Automake
from buildfarm.build.logs.suites.base import Suite
from buildfarm.build.logs.suites.boost import BoostTest
from buildfarm.build.logs.suites.cargo import CargoTest
from buildfarm.build.logs.suites.check import Check
from buildfarm.build.logs.suites.ctest import CTest
from buildfarm.build.logs.suites.dejagnu import DejaGnu
from buildfarm.build.logs.suites.go import GoTest
from buildfarm.build.logs.suites.gtest import GoogleTest
from buildfarm.build.logs.suites.junit import JUnit
from buildfarm.build.logs.suites.meson import Meson
from buildfarm.build.logs.suites.mocha import Mocha
from buildfarm.build.logs.suites.mtr import MysqlTestRun
from buildfarm.build.logs.suites.openldap import OpenLdap
from buildfarm.build.logs.suites.pg_regress import PgRegress
from buildfarm.build.logs.suites.php import PhpRunTests
from buildfarm.build.logs.suites.prove import Prove
from buildfarm.build.logs.suites.pytest import Pytest
from buildfarm.build.logs.suites.qtest import QtTest
from buildfarm.build.logs.suites.tap import Tap
from buildfarm.build.logs.suites.tcl import TclTest
from buildfarm.build.logs.suites.unittest import Unittest

NAMING = 1
"""Counts up whenever a kind comes, or names its tests otherwise: names of different counts do not compare."""

KINDS: tuple[type[Suite], ...] = (
    Automake,
    BoostTest,
    CargoTest,
    Check,
    CTest,
    DejaGnu,
    GoTest,
    GoogleTest,
    JUnit,
    Meson,
    Mocha,
    MysqlTestRun,
    OpenLdap,
    PgRegress,
    PhpRunTests,
    Prove,
    Pytest,
    QtTest,
    Tap,
    TclTest,
    Unittest,
)
