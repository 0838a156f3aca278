"""Spec C10: one suite of behaviour for every adapter, one that a user wrote included."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from pathlib import Path

import pytest

from prepaid.errors import (
    InvalidRequestError,
    NotJson,
    SessionDataUnreadable,
    SessionNotFound,
    StoreCorrupted,
    StoreReadOnly,
)
from prepaid.sessions.persistence import FileAdapter
from prepaid.sessions.postgres_adapter import PostgresAdapter
from prepaid.sessions.sqlite_adapter import SqliteAdapter
from prepaid.testing import PersistenceAdapterSuite


class UsersOwnAdapter:
    """What a user might write: text in a dictionary."""

    def __init__(self):
        self.kept = {}

    async def save(self, session_id, data):
        self.kept[session_id] = json.dumps(data)

    async def load(self, session_id):
        if session_id not in self.kept:
            raise SessionNotFound(session_id)
        return json.loads(self.kept[session_id])

    async def delete(self, session_id):
        self.kept.pop(session_id, None)

    async def get_user_session_ids(self, user_id):
        return [key for key, text in self.kept.items() if json.loads(text)["user_id"] == user_id]


class TestUsersOwn(PersistenceAdapterSuite):
    def adapter(self):
        return UsersOwnAdapter()


class TestFiles(PersistenceAdapterSuite):
    @pytest.fixture(autouse=True)
    def nothing_leads_elsewhere(self, tmp_path):
        self.path = tmp_path / "in" / "here"
        yield
        assert {path.relative_to(tmp_path).parts[:2] for path in tmp_path.rglob("*")} <= {
            ("in",),
            ("in", "here"),
        }

    def adapter(self):
        return FileAdapter(self.path)


class TestSqlite(PersistenceAdapterSuite):
    @pytest.fixture(autouse=True)
    def file(self, tmp_path):
        self.path = tmp_path / "saved.db"

    def adapter(self):
        return SqliteAdapter(self.path)


@pytest.mark.slow
class TestPostgres(PersistenceAdapterSuite):
    @pytest.fixture(autouse=True)
    def table(self, postgres):
        self.url = postgres.new()
        yield
        postgres.give_back(self.url)

    def adapter(self):
        return PostgresAdapter(self.url)


class Forgetful(UsersOwnAdapter):
    async def delete(self, session_id):
        return None


class Mixing(UsersOwnAdapter):
    async def get_user_session_ids(self, user_id):
        return [*self.kept]


class Merging(UsersOwnAdapter):
    async def save(self, session_id, data):
        before = json.loads(self.kept.get(session_id, "{}"))
        self.kept[session_id] = json.dumps(before | data)


class Silent(UsersOwnAdapter):
    async def load(self, session_id):
        return json.loads(self.kept.get(session_id, "{}"))


class Halving(UsersOwnAdapter):
    async def save(self, session_id, data):
        before = json.loads(self.kept.get(session_id, "{}"))
        self.kept[session_id] = json.dumps(before | {name: data[name] for name in [*data][:3]})
        await asyncio.sleep(0)
        await super().save(session_id, data)


class Narrow(UsersOwnAdapter):
    async def save(self, session_id, data):
        await super().save(session_id.strip("./\n"), data)


class Hasty(UsersOwnAdapter):
    async def save(self, session_id, data):
        self.last = session_id
        await asyncio.sleep(0)
        await super().save(self.last, data)


class Shortening(UsersOwnAdapter):
    async def save(self, session_id, data):
        await super().save(session_id, data | {"text": str(data.get("text"))[:5]})


class Unfinished:
    async def save(self, session_id, data):
        return None


@pytest.mark.parametrize(
    ("broken", "test"),
    [
        (Forgetful, "what_was_deleted_is_gone"),
        (Mixing, "a_users_sessions_are_the_users_own"),
        (Merging, "the_last_save_counts"),
        (Silent, "what_was_never_saved_is_not_found"),
        (Halving, "a_save_is_whole_whoever_reads_meanwhile"),
        (Narrow, "no_id_leads_elsewhere"),
        (Hasty, "many_are_saved_at_once"),
        (Shortening, "what_was_saved_is_loaded"),
        (Unfinished, "it_is_an_adapter"),
    ],
)
def test_the_suite_finds_what_is_wrong(broken, test):
    class Suite(PersistenceAdapterSuite):
        def adapter(self):
            return broken()

    with pytest.raises((AssertionError, SessionNotFound)):
        getattr(Suite(), f"test_{test}")()


def data(session_id="ses_1", user_id="ann", **more):
    return {"session_id": session_id, "user_id": user_id, **more}


ADAPTERS = {
    "files": lambda path: FileAdapter(path / "saved"),
    "sqlite": lambda path: SqliteAdapter(path / "saved.db"),
}


@pytest.mark.parametrize("make", [ADAPTERS["files"], ADAPTERS["sqlite"]], ids=["files", "sqlite"])
class TestOurs:
    """What ours promise beyond the protocol."""

    async def test_another_adapter_finds_it(self, make, tmp_path):
        """As after a restart."""
        await make(tmp_path).save("ses_1", data())
        assert await make(tmp_path).load("ses_1") == data()

    @pytest.mark.parametrize(
        "wrong", [float("nan"), {1, 2}, object(), b"x"], ids=["nan", "set", "object", "bytes"]
    )
    async def test_what_json_cannot_carry_is_refused_and_nothing_changes(self, make, tmp_path, wrong):
        adapter = make(tmp_path)
        await adapter.save("ses_1", data())
        with pytest.raises(NotJson, match="ses_1"):
            await adapter.save("ses_1", data(wrong=wrong))
        assert await adapter.load("ses_1") == data()


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"a": 1', b"[1]", b"\xff\xfe", b"null", b"[" * 100_000], ids=lambda b: ascii(b[:8])
)
async def test_a_damaged_file_says_so(tmp_path, body):
    """Spec C10: unreadable data names the session."""
    adapter = FileAdapter(tmp_path)
    await adapter.save("ses_1", data())
    (tmp_path / "sessions" / "ses_1.json").write_bytes(body)
    with pytest.raises(SessionDataUnreadable, match="'ses_1'") as error:
        await adapter.load("ses_1")
    assert error.value.session_id == "ses_1"


async def test_files_are_for_their_user_only(tmp_path):
    await FileAdapter(tmp_path / "saved").save("ses_1", data())
    for path in (tmp_path / "saved").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


async def test_a_save_that_fails_leaves_the_file_before_and_no_other(tmp_path, monkeypatch):
    adapter = FileAdapter(tmp_path)
    await adapter.save("ses_1", data(n=1))
    before = sorted(path.name for path in tmp_path.rglob("*"))
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(PermissionError(13, "no")))
    with pytest.raises(StoreReadOnly):
        await adapter.save("ses_1", data(n=2))
    assert await adapter.load("ses_1") == data(n=1)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


async def test_the_file_is_synced_before_it_gets_its_name(tmp_path, monkeypatch):
    """What replaces a file must be on disk, or a power cut leaves neither."""
    done = []
    adapter = FileAdapter(tmp_path)
    await adapter.save("ses_0", data("ses_0"))
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr("os.fsync", lambda handle: (done.append("sync"), sync(handle)))
    monkeypatch.setattr(Path, "replace", lambda path, target: (done.append("replace"), replace(path, target)))
    await adapter.save("ses_1", data())
    assert done == ["sync", "sync", "replace", "sync"]  # the mark's folder, the file, and the file's folder


async def test_a_directory_that_is_a_file_is_told(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(StoreReadOnly, match="taken"):
        await FileAdapter(tmp_path / "taken").save("ses_1", data())


async def test_an_id_too_long_for_a_file_is_refused(tmp_path):
    with pytest.raises(InvalidRequestError, match="200"):
        await FileAdapter(tmp_path).save("s" * 300, data())
    with pytest.raises(InvalidRequestError):
        await FileAdapter(tmp_path).load("\ud800")


async def test_another_database_is_left_alone(tmp_path):
    path = tmp_path / "prepaid.db"
    from prepaid.store.sqlite.store import SqliteStore

    store = SqliteStore(path)
    await store.aclose()
    with pytest.raises(StoreCorrupted, match="file of its own"):
        await SqliteAdapter(path).save("ses_1", data())
    (tmp_path / "junk.db").write_bytes(b"no database" * 1000)
    with pytest.raises(StoreCorrupted):
        await SqliteAdapter(tmp_path / "junk.db").load("ses_1")


async def test_a_closed_adapter_opens_again(tmp_path):
    adapter = SqliteAdapter(tmp_path / "saved.db")
    adapter.close()
    await adapter.save("ses_1", data())
    adapter.close()
    assert await adapter.load("ses_1") == data()
    adapter.close()
