"""Databases for all tests, and which tests are slow.

In CI a test that is skipped has failed: what was not run was not shown.
"""

import os
import sys
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from postgres_server import GIVEN, QUICK, Databases, OwnServer
from stores import DATABASES

FOLDERS = (
    "integration",
    "faults",
    "properties",
    "clients",
    "gateway/proof",
    "postgres",
    "nightly",
    "chain/node",
    "matrix",
)
SLOW = tuple(Path(__file__).parent / folder for folder in FOLDERS)
"""Processes, servers, documentation, power cuts and long random runs: too slow for the development loop."""

# On a busy machine all takes longer.
settings.register_profile(
    "unhurried", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")


LONGEST = (
    "nightly/test_nightly.py",
    "chain/node/test_crashes.py",
    "chain/node/test_soak.py",
    "contracts/test_artefacts.py",
    "matrix/test_matrix.py",
    "properties/test_ledger_machine.py",
    "properties/test_session_machine.py",
    "integration/test_processes_killed.py",
)
"""They begin, so that of several processes none has one of them left when the others are done."""


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not any(item.path.match(name) for name in LONGEST))
    for item in items:
        if any(folder in item.path.parents for folder in SLOW):
            item.add_marker("slow")


@pytest.fixture(scope="session")
def curl_of_ours(tmp_path_factory):
    """The folder in which ``curl.py`` is the command ``curl``."""
    command = tmp_path_factory.mktemp("bin") / "curl"
    program = Path(__file__).with_name("curl.py")
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{program}" "$@"\n')
    command.chmod(0o755)
    return command.parent


@pytest.fixture(scope="session", autouse=True)
def curl(curl_of_ours):
    """What pages show commands with; ours, where the machine has none."""
    os.environ["PATH"] += f"{os.pathsep}{curl_of_ours}"


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


@pytest.fixture(params=DATABASES)
def database(request):
    """``sqlite``, ``postgres``, or ``given-postgres`` for a server that somebody else has set up."""
    return request.param


@pytest.fixture
def new_where(database, request, tmp_path):
    """Makes empty databases; says where they are."""
    if database == "sqlite":
        names = count()
        yield lambda: tmp_path / f"ledger{next(names)}.db"
        return
    made = []
    databases = request.getfixturevalue("postgres" if database == "postgres" else "given_postgres")

    def new():
        made.append(databases.new())
        return made[-1]

    yield new
    is_as_it_was = "by_hand" not in request.fixturenames
    for url in made:
        (databases.give_back if is_as_it_was else databases.drop)(url)


@pytest.fixture
def where(new_where):
    """Where an empty database is."""
    return new_where()


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
