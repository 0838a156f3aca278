"""What is kept is for its user only, whatever the umask: files of 0600, folders that we make of 0700."""

from __future__ import annotations

import os
import stat

import pytest

from prepaid import FileAdapter, SessionManager, SqliteAdapter
from prepaid.chain.node.content.store import ContentStore
from prepaid.chain.node.journal import Journal
from prepaid.chain.wallets import KeyWallet
from prepaid.files import make_private, make_private_folder, private
from prepaid.moving.backups import backup, restore
from prepaid.store.sqlite.place import SqlitePlace


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def folder(tmp_path, request):
    """A folder in which files are made under this umask."""
    before = os.umask(request.param)
    yield tmp_path
    os.umask(before)


def modes(folder):
    """Every file and folder below that is not for its user only, and how it is."""
    found = {path: stat.S_IMODE(path.stat().st_mode) for path in sorted(folder.rglob("*"))}
    assert found, "nothing was made"
    right = {True: 0o700, False: 0o600}
    return {str(path): oct(mode) for path, mode in found.items() if mode != right[path.is_dir()]}


async def test_a_database_with_its_log_and_index(folder):
    """Case 09 of the ledger."""
    async with SessionManager(folder / "a.db") as manager:
        session = await manager.create_session("ann", "1 USD")
        await session.send_message("private")
        assert {path.name for path in folder.iterdir()} == {"a.db", "a.db-wal", "a.db-shm"}
        assert modes(folder) == {}


async def test_backups_and_what_they_are_restored_into(folder):
    async with SessionManager(folder / "a.db") as manager:
        await manager.create_session("ann", "1 USD")
    source = SqlitePlace(folder / "a.db")
    backup(source, folder / "a.backup")
    source.close()
    target = SqlitePlace(folder / "b.db")
    restore(folder / "a.backup", target)
    assert modes(folder) == {}
    target.close()


@pytest.mark.parametrize("kind", [FileAdapter, SqliteAdapter])
async def test_saved_sessions(folder, kind):
    place = folder / "deep" / "saved" if kind is FileAdapter else folder / "saved.db"
    async with SessionManager(folder / "a.db", persistence_adapter=kind(place)) as manager:
        session = await manager.create_session("ann", "1 USD")
        await session.save()
    assert modes(folder) == {}


def test_what_a_node_remembers_and_serves(folder):
    journal, contents = Journal(folder / "prepaid-node.db"), ContentStore(folder / "content.db", 1_000_000)
    assert modes(folder) == {}
    journal.close()
    contents.close()


def test_wallets(folder):
    wallet = KeyWallet.create()
    wallet.to_keystore(folder / "key.json", lambda: "secret", is_for_tests=True)
    wallet.to_environment(folder / "chain.env")
    assert modes(folder) == {}


def test_folders_and_files_themselves(folder):
    made = make_private_folder(folder / "one" / "two")
    assert made == [folder / "one", folder / "one" / "two"]
    assert make_private_folder(folder / "one" / "two") == []
    make_private(folder / "one" / "file")
    with open(folder / "written", "w", encoding="utf-8", opener=private) as file:
        file.write("x")
    assert modes(folder) == {}


def test_what_is_there_keeps_its_rights_and_its_content(folder):
    there = folder / "there"
    there.write_text("kept")
    there.chmod(0o640)
    make_private(there)
    assert (there.read_text(), stat.S_IMODE(there.stat().st_mode)) == ("kept", 0o640)
    with pytest.raises(FileNotFoundError):
        make_private(folder / "nowhere" / "file")
    with pytest.raises(FileExistsError):
        make_private_folder(there)


async def test_a_database_of_an_earlier_version_goes_on_as_it_is(folder):
    path = folder / "a.db"
    os.close(os.open(path, os.O_CREAT))
    os.chmod(path, 0o660)  # noqa: PTH101 -- a test may block
    async with SessionManager(path) as manager:
        await manager.create_session("ann", "1 USD")
        assert {stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()} == {0o660}
