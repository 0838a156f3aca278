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
from prepaid.sessions.persistence import FileAdapter, SessionPersistenceAdapter
from prepaid.sessions.sqlite_adapter import SqliteAdapter

HOSTILE_IDS = (
    "..",
    ".",
    "../../escaped",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "%2e%2e",
    "ses_\n",
    "ß",
    "a\0b",
    "-rf",
    "_",
)


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


ADAPTERS = {
    "files": lambda path: FileAdapter(path / "saved"),
    "sqlite": lambda path: SqliteAdapter(path / "saved.db"),
    "a user's own": lambda _: UsersOwnAdapter(),
}


@pytest.fixture(params=ADAPTERS)
def adapter(request, tmp_path):
    opened = ADAPTERS[request.param](tmp_path)
    yield opened
    if isinstance(opened, SqliteAdapter):
        opened.close()


def data(session_id="ses_1", user_id="ann", **more):
    return {"session_id": session_id, "user_id": user_id, **more}


async def test_it_is_an_adapter(adapter):
    """Spec C10: the protocol has save, load, delete and get_user_session_ids."""
    assert isinstance(adapter, SessionPersistenceAdapter)


async def test_what_was_saved_is_loaded(adapter):
    """Spec C10."""
    saved = data(text='ö "quoted" \n \U0001f680', nested={"a": [1, 2.5, None, True]}, big=2**62)
    await adapter.save("ses_1", saved)
    assert await adapter.load("ses_1") == saved


async def test_the_last_save_counts(adapter):
    await adapter.save("ses_1", data(n=1, long="x" * 100_000))
    await adapter.save("ses_1", data(n=2))
    assert await adapter.load("ses_1") == data(n=2)


async def test_what_was_never_saved_is_not_found(adapter):
    with pytest.raises(SessionNotFound, match="ses_1"):
        await adapter.load("ses_1")
    await adapter.delete("ses_1")
    assert list(await adapter.get_user_session_ids("ann")) == []


async def test_what_was_deleted_is_gone(adapter):
    await adapter.save("ses_1", data())
    await adapter.save("ses_2", data("ses_2"))
    await adapter.delete("ses_1")
    with pytest.raises(SessionNotFound):
        await adapter.load("ses_1")
    assert list(await adapter.get_user_session_ids("ann")) == ["ses_2"]


async def test_a_users_sessions_are_the_users_own(adapter):
    """Spec C10: get_user_session_ids."""
    for session_id, user_id in (("ses_1", "ann"), ("ses_2", "bob"), ("ses_3", "ann"), ("ses_4", "../ann")):
        await adapter.save(session_id, data(session_id, user_id))
    assert list(await adapter.get_user_session_ids("ann")) == ["ses_1", "ses_3"]
    assert list(await adapter.get_user_session_ids("../ann")) == ["ses_4"]
    assert list(await adapter.get_user_session_ids("nobody")) == []


@pytest.mark.parametrize("session_id", HOSTILE_IDS, ids=ascii)
async def test_no_id_leads_elsewhere(adapter, session_id, tmp_path):
    before = {path for path in tmp_path.parent.rglob("*") if not path.is_relative_to(tmp_path)}
    await adapter.save(session_id, data(session_id))
    await adapter.save(session_id + "x", data(session_id + "x"))
    assert (await adapter.load(session_id))["session_id"] == session_id
    assert sorted(await adapter.get_user_session_ids("ann")) == sorted([session_id, session_id + "x"])
    await adapter.delete(session_id)
    with pytest.raises(SessionNotFound):
        await adapter.load(session_id)
    assert {path for path in tmp_path.parent.rglob("*") if not path.is_relative_to(tmp_path)} == before


async def test_many_are_saved_at_once(adapter):
    await asyncio.gather(*(adapter.save(f"ses_{n:02}", data(f"ses_{n:02}", n=n)) for n in range(40)))
    loaded = await asyncio.gather(*(adapter.load(f"ses_{n:02}") for n in range(40)))
    assert [each["n"] for each in loaded] == list(range(40))
    assert len(await adapter.get_user_session_ids("ann")) == 40


async def test_saving_the_same_at_once_leaves_one_of_them_whole(adapter):
    await asyncio.gather(*(adapter.save("ses_1", data(n=n, long=str(n) * 10_000)) for n in range(20)))
    loaded = await adapter.load("ses_1")
    assert loaded == data(n=loaded["n"], long=str(loaded["n"]) * 10_000)


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
