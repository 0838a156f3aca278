"""Where sessions are saved beside the database: an adapter protocol, and an adapter for plain files.

The database is the truth and needs none of this to survive a crash. Saved sessions are for what a
database does not survive, and for carrying a session elsewhere (spec C10).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import tempfile
from collections.abc import Generator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable
from urllib.parse import quote, unquote

from prepaid.errors import (
    InvalidRequestError,
    NotJson,
    SessionDataUnreadable,
    SessionNotFound,
    StoreError,
    StoreFull,
    StoreReadOnly,
)
from prepaid.files import make_private, make_private_folder

__all__ = ["FileAdapter", "SessionPersistenceAdapter", "data_from_json", "data_to_json", "no_adapter"]

_NAME_BYTES_MAX: Final = 200
_SUFFIX: Final = ".json"


def no_adapter() -> InvalidRequestError:
    """The error for a manager that was given no adapter."""
    return InvalidRequestError(
        "This manager has no persistence adapter.",
        remedy='Give it one: SessionManager(persistence_adapter=FileAdapter("saved")).',
    )


@runtime_checkable
class SessionPersistenceAdapter(Protocol):
    """Keeps what ``session.serialize()`` returns; write your own for whatever you have.

    Called from one event loop, for several sessions at once but never twice at once to save the same.
    An error is logged, and the save tried again later.
    """

    async def save(self, session_id: str, data: dict[str, Any]) -> None:
        """Keep ``data``, which JSON can carry, in place of what there was. All or nothing."""

    async def load(self, session_id: str) -> Mapping[str, Any]:
        """What was saved last.

        Raises:
            SessionNotFound: nothing was.
        """

    async def delete(self, session_id: str) -> None:
        """Forget it; nothing happens if nothing was saved."""

    async def get_user_session_ids(self, user_id: str) -> Sequence[str]:
        """The sessions saved for ``data["user_id"]``."""


class FileAdapter:
    """A JSON file for each session, replaced whole and synced, so that a crash leaves the one before.

    ``directory/sessions`` has the files, ``directory/users`` an empty one for each session under the
    hash of its user's id. Both are made when first needed, readable by this user of the machine only.
    """

    def __init__(self, directory: str | Path) -> None:
        self._sessions = Path(directory) / "sessions"
        self._users = Path(directory) / "users"

    async def save(self, session_id: str, data: dict[str, Any]) -> None:
        """Replace the session's file."""
        body = data_to_json(session_id, data).encode()
        await asyncio.to_thread(self._save, _file_name(session_id), str(data.get("user_id", "")), body)

    async def load(self, session_id: str) -> Mapping[str, Any]:
        """Read the session's file.

        Raises:
            SessionNotFound: there is none.
            SessionDataUnreadable: it is not JSON.
        """
        path = self._sessions / _file_name(session_id)
        body = await asyncio.to_thread(_read, path)
        if body is None:
            raise SessionNotFound(session_id)
        return data_from_json(session_id, body)

    async def delete(self, session_id: str) -> None:
        """Remove the session's file."""
        await asyncio.to_thread(self._delete, _file_name(session_id))

    async def get_user_session_ids(self, user_id: str) -> Sequence[str]:
        """The user's sessions that have a file, oldest first."""
        return await asyncio.to_thread(self._ids_of, user_id)

    def _save(self, name: str, user_id: str, body: bytes) -> None:
        with _in_our_words(self._sessions):
            users = self._users / _hashed(user_id)
            _make_folder(self._sessions)
            _make_folder(users)
            # The mark first: without its file it says nothing, but a file without a mark is not found.
            mark = users / name
            if not mark.exists():
                make_private(mark)
                _sync_folder(users)
            _replace(self._sessions / name, body)

    def _delete(self, name: str) -> None:
        with _in_our_words(self._sessions):
            (self._sessions / name).unlink(missing_ok=True)
            for mark in self._users.glob(f"*/{name}") if self._users.is_dir() else ():
                mark.unlink(missing_ok=True)

    def _ids_of(self, user_id: str) -> list[str]:
        with _in_our_words(self._users):
            try:
                names = sorted(mark.name for mark in (self._users / _hashed(user_id)).iterdir())
            except FileNotFoundError:
                return []
            return [_id_of(name) for name in names if (self._sessions / name).exists()]


def _file_name(session_id: str) -> str:
    """A name in one directory, whatever the id: no path leads out of it."""
    try:
        name = quote(session_id, safe="") + _SUFFIX
    except UnicodeEncodeError:
        name = ""
    if not 0 < len(name) <= _NAME_BYTES_MAX:
        raise InvalidRequestError(
            f"{session_id[:64]!r} is not a session id that a file can be named for.",
            remedy=f"Use fewer than {_NAME_BYTES_MAX} plain characters.",
        )
    return name


def _id_of(file_name: str) -> str:
    return unquote(file_name.removesuffix(_SUFFIX))


def _hashed(user_id: str) -> str:
    return sha256(user_id.encode("utf-8", "surrogatepass")).hexdigest()


def _make_folder(folder: Path) -> None:
    """A folder for this user only, and those above it that are missing, all of them on disk."""
    for made in make_private_folder(folder):
        _sync_folder(made.parent)


def _read(path: Path) -> bytes | None:
    with _in_our_words(path):
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None


def _replace(path: Path, body: bytes) -> None:
    """The file is the old one or the new one, whenever the power goes."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _in_our_words(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StoreFull(f"The disk is full; nothing could be saved at {path}.") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise StoreReadOnly(
                f"{path} cannot be read or written ({error}).",
                remedy="Give this user permission on the directory, or choose another.",
            ) from error
        raise StoreError(f"{path} could not be read or written ({error}).") from error


def data_to_json(session_id: str, data: Mapping[str, Any]) -> str:
    """A session's data as JSON text.

    Raises:
        NotJson: something in it JSON cannot carry.
    """
    try:
        return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise NotJson(f"The data of session {session_id} cannot be kept as JSON: {error}.") from None


def data_from_json(session_id: str, body: str | bytes) -> Mapping[str, Any]:
    """A session's data again.

    Raises:
        SessionDataUnreadable: it is not JSON, or not an object.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise SessionDataUnreadable(session_id, f"it is not JSON ({type(error).__name__})") from None
    if not isinstance(data, dict):
        raise SessionDataUnreadable(session_id, f"it is a {type(data).__name__}, not a dict")
    return data
