"""The gateway as users meet it: ``prepaid serve`` in a process of its own, on a free port."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from gateway.sockets import sockets_of
from prepaid import SessionManager
from prepaid.audit import audit
from prepaid.config import Settings
from stores import open_store

PATIENCE_SECONDS = 240
"""For what takes moments, but on a machine that is busy with other things."""


class Gateway:
    """A running server; a context manager that stops it with SIGTERM.

        with Gateway(tmp_path, toml, workers=2, PREPAID_HOLD_SECONDS="1") as gateway:
            gateway.get("/readyz")

    ``toml`` is the whole ``prepaid.toml``; other names are options of the command, or of the environment where
    they are in capitals. What it wrote is ``stdout`` and ``log``; its database is ``database``, a file unless
    ``PREPAID_DATABASE`` is another.
    """

    def __init__(self, folder: Path, toml: str = "", *, program=("-m", "prepaid"), **options) -> None:
        self.folder = folder
        (folder / "prepaid.toml").write_text(toml, encoding="utf-8")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREPAID_")}
        named = {name: value for name, value in options.items() if name.isupper()}
        own = {"PREPAID_DATABASE": str(folder / "test.db"), "TMPDIR": str(folder)}
        self._environment = kept | own | named
        self.database = self._environment["PREPAID_DATABASE"]
        given = {"port": 0} | {name: value for name, value in options.items() if not name.isupper()}
        flags = [part for name, value in given.items() for part in (f"--{name}", str(value))]
        self._command = [sys.executable, *program, "serve", *flags]

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        """Start it and wait until it is ready. Its output goes on where that of the last start ended."""
        self._told_before = len(self.log)
        with self._file("stdout").open("ab") as out, self._file("stderr").open("ab") as err:
            self.process = subprocess.Popen(
                self._command,
                cwd=self.folder,
                env=self._environment,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        try:
            self.port = self._wait_for(self._port)
            self.url = f"http://127.0.0.1:{self.port}"
            self.http = httpx.Client(base_url=self.url, timeout=PATIENCE_SECONDS)
            self._wait_for(self._is_ready)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def stop(self):
        """SIGTERM, unless it has ended; its exit code."""
        self.http.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def kill(self):
        """SIGKILL to it and every worker."""
        for pid in [self.process.pid, *self.workers()]:
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.http.close()

    def workers(self):
        """The process ids of its worker processes; none where one process does it all."""
        return [pid for pid in _children(self.process.pid) if b"spawn_main" in _command_of(pid)]

    def get(self, path, **options):
        return self.http.get(path, **options)

    def post(self, path, **options):
        return self.http.post(path, **options)

    @property
    def stdout(self):
        return _text(self._file("stdout"))

    @property
    def log(self):
        """Everything on standard error."""
        return _text(self._file("stderr"))

    def records(self):
        """The log's lines as JSON, those of this start."""
        lines = self.log[self._told_before :].splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def fund(self, amount, user="ann"):
        """A new session's id and its API key, made beside the server, in the same file."""

        async def work(manager):
            session = await manager.create_session(user, amount)
            return session.session_id, session.api_key

        return self._beside(work)

    def open_chat(self, session_id, user="ann"):
        """A new chat in the session, made beside the server."""

        async def work(manager):
            session = manager.get_session(session_id, user)
            return (await session.create_new_chat()).chat_id

        return self._beside(work)

    def said(self, chat_id):
        """The texts of a chat's messages."""
        session_id, number = chat_id.rsplit(".", 1)

        def texts(store):
            record = store.reads.chat(session_id, int(number))
            return [stored.message.text for stored in store.reads.messages(record, limit=100)]

        return self.read(texts)

    def account(self, session_id):
        """The session's account as the file has it now."""
        return self.read(lambda store: store.reads.account(session_id))

    def assert_sound(self):
        """Guarantees 1 to 4 hold over the whole database."""
        report = self.read(lambda store: audit(store.reads))
        assert report.is_clean, str(report)

    def wait_until(self, check, seconds=PATIENCE_SECONDS):
        """The first true result of ``check``."""
        return self._wait_for(check, seconds)

    def _beside(self, work):
        async def managed():
            settings = Settings(database=self.database, sessions={"auto_cleanup": False})
            async with SessionManager(settings=settings) as manager:
                return await work(manager)

        return asyncio.run(managed())

    def read(self, question):
        """What a store beside the server answers."""

        async def work():
            store = open_store(self.database)
            try:
                return question(store)
            finally:
                await store.aclose()

        return asyncio.run(work())

    def _wait_for(self, check, seconds=PATIENCE_SECONDS):
        deadline = time.monotonic() + seconds
        while not (found := check()):
            assert self.process.poll() is None, f"it ended:\n{self.stdout}{self.log}"
            assert time.monotonic() < deadline, f"nothing came:\n{self.stdout}{self.log}"
            time.sleep(0.02)
        return found

    def _port(self):
        """As the system has it: its log may be told to say nothing."""
        return next((each.port for each in sockets_of(self.process.pid) if each.listens), None)

    def _is_ready(self):
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def _file(self, name):
        return self.folder / f"gateway.{name}"


def _text(path):
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _children(pid):
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def _command_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
