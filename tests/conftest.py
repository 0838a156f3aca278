"""Databases for all tests; which tests are slow; and that in CI a test that is skipped has failed: what was not run was not shown."""

import os
from pathlib import Path

import pytest

from postgres_server import GIVEN, QUICK, Databases, OwnServer

FOLDERS = ("integration", "faults", "properties", "clients", "gateway/proof")
SLOW = tuple(Path(__file__).parent / folder for folder in FOLDERS)
"""Processes, servers, documentation, power cuts and long random runs: too slow for the development loop."""


def pytest_collection_modifyitems(items):
    for item in items:
        if any(folder in item.path.parents for folder in SLOW):
            item.add_marker("slow")


@pytest.fixture(scope="session")
def postgres():
    """Databases on a server of our own, which forgets what it was told when the machine stops."""
    server = OwnServer(**QUICK)
    databases = Databases(server.url)
    yield databases
    databases.close()
    server.stop()


@pytest.fixture(scope="session")
def given_postgres():
    """Databases on the server that ``PREPAID_TEST_POSTGRES`` names."""
    databases = Databases(GIVEN)
    yield databases
    databases.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        refuse_in_ci(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    if report.skipped:
        refuse_in_ci(report)
    return report


def refuse_in_ci(report):
    if os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not accept: {report.longrepr}"
