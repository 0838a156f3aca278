"""For the tests of those who extend prepaid: what each adapter that keeps sessions must do (spec C10).

    from prepaid.testing import PersistenceAdapterSuite

    class TestMine(PersistenceAdapterSuite):
        def adapter(self):
            return MyAdapter()

pytest finds the rest. Ours are tested with the same suite.
"""

from __future__ import annotations

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, Final

from prepaid.errors import SessionNotFound
from prepaid.sessions.persistence import SessionPersistenceAdapter

__all__ = ["PersistenceAdapterSuite"]

_HOSTILE: Final = (
    *("..", ".", "../../escaped", "/etc/passwd", "a/b", "a\\b", "%2e%2e", "ses_\n", "ß", "a\0b", "-rf", "_"),
    *("'; DROP TABLE saved_session; --", '"', "{}", "$1", "a b"),
)


class PersistenceAdapterSuite(ABC):
    """Derive a class whose name begins with ``Test``, and give it ``adapter``."""

    @abstractmethod
    def adapter(self) -> SessionPersistenceAdapter:
        """A new adapter on storage that is empty; called on the event loop, once for each test.

        What it has of ``aclose`` or ``close`` is called in the end.
        """

    def test_it_is_an_adapter(self) -> None:
        """Spec C10: it has save, load, delete and get_user_session_ids."""

        async def check(adapter: SessionPersistenceAdapter) -> None:
            assert isinstance(adapter, SessionPersistenceAdapter), "a method of the protocol is missing"

        self._run(check)

    def test_what_was_saved_is_loaded(self) -> None:
        """All that JSON can carry comes back as it was."""
        saved = _data(text='ö "quoted" \n \0 \U0001f680', nested={"a": [1, 2.5, None, True]}, big=2**62)

        async def check(adapter: SessionPersistenceAdapter) -> None:
            await adapter.save("ses_1", saved)
            assert await adapter.load("ses_1") == saved, "another was loaded than was saved"

        self._run(check)

    def test_the_last_save_counts(self) -> None:
        """Nothing of the one before is left, its user included."""

        async def check(adapter: SessionPersistenceAdapter) -> None:
            await adapter.save("ses_1", _data(n=1, long="x" * 100_000))
            await adapter.save("ses_1", _data(user_id="bob", n=2))
            assert await adapter.load("ses_1") == _data(user_id="bob", n=2), "something of the first is left"
            assert list(await adapter.get_user_session_ids("bob")) == ["ses_1"], "its new user has it not"

        self._run(check)

    def test_what_was_never_saved_is_not_found(self) -> None:
        """``load`` says so with ``SessionNotFound``; ``delete`` does nothing."""

        async def check(adapter: SessionPersistenceAdapter) -> None:
            await _refuses(adapter, "ses_1")
            await adapter.delete("ses_1")
            assert list(await adapter.get_user_session_ids("ann")) == [], "somebody has what nobody saved"

        self._run(check)

    def test_what_was_deleted_is_gone(self) -> None:
        """And nothing else is."""

        async def check(adapter: SessionPersistenceAdapter) -> None:
            await adapter.save("ses_1", _data())
            await adapter.save("ses_2", _data("ses_2"))
            await adapter.delete("ses_1")
            await _refuses(adapter, "ses_1")
            assert list(await adapter.get_user_session_ids("ann")) == ["ses_2"], "not one of two is left"

        self._run(check)

    def test_a_users_sessions_are_the_users_own(self) -> None:
        """``get_user_session_ids`` goes by ``data["user_id"]``, whatever it is."""
        of = {"ses_1": "ann", "ses_2": "bob", "ses_3": "ann", "ses_4": "../ann", "ses_5": "a\0", "ses_6": "%"}

        async def check(adapter: SessionPersistenceAdapter) -> None:
            for session_id, user_id in of.items():
                await adapter.save(session_id, _data(session_id, user_id))
            for user_id in (*of.values(), "nobody"):
                found = sorted(await adapter.get_user_session_ids(user_id))
                assert found == [each for each in of if of[each] == user_id], f"{user_id!r} has {found}"

        self._run(check)

    def test_no_id_leads_elsewhere(self) -> None:
        """Ids that mean something to a path, a query or a shell are ids and nothing more."""

        async def check(adapter: SessionPersistenceAdapter) -> None:
            for session_id in _HOSTILE:
                both = sorted([session_id, session_id + "x"])
                for each in both:
                    await adapter.save(each, _data(each))
                assert (await adapter.load(session_id))["session_id"] == session_id, ascii(session_id)
                assert sorted(await adapter.get_user_session_ids("ann")) == both, ascii(session_id)
                for each in both:
                    await adapter.delete(each)
                await _refuses(adapter, session_id)

        self._run(check)

    def test_many_are_saved_at_once(self) -> None:
        """A manager saves several sessions at a time."""

        async def check(adapter: SessionPersistenceAdapter) -> None:
            ids = [f"ses_{number:02}" for number in range(40)]
            await asyncio.gather(*(adapter.save(each, _data(each)) for each in ids))
            loaded = await asyncio.gather(*map(adapter.load, ids))
            assert [each["session_id"] for each in loaded] == ids, "one was saved as another"
            assert sorted(await adapter.get_user_session_ids("ann")) == ids, "not all were saved"

        self._run(check)

    def test_a_save_is_whole_whoever_reads_meanwhile(self) -> None:
        """All or nothing: who loads while it is saved again finds one or the other."""

        async def check(adapter: SessionPersistenceAdapter) -> None:
            await adapter.save("ses_1", _data(n=0, long="0" * 10_000))
            for number in range(1, 10):
                saving = adapter.save("ses_1", _data(n=number, long=str(number) * 10_000))
                _, loaded = await asyncio.gather(saving, adapter.load("ses_1"))
                n = loaded["n"]
                assert n in (number - 1, number), "what was read is neither the old nor the new one"
                assert loaded == _data(n=n, long=str(n) * 10_000), "what was read is half of each"

        self._run(check)

    def _run(self, check: Callable[[SessionPersistenceAdapter], Awaitable[None]]) -> None:
        async def checking() -> None:
            adapter = self.adapter()
            try:
                await check(adapter)
            finally:
                await _closed(adapter)

        asyncio.run(checking())


def _data(session_id: str = "ses_1", user_id: str = "ann", **more: Any) -> dict[str, Any]:
    return {"session_id": session_id, "user_id": user_id, **more}


async def _refuses(adapter: SessionPersistenceAdapter, session_id: str) -> None:
    try:
        await adapter.load(session_id)
    except SessionNotFound:
        return
    raise AssertionError(f"{session_id!r} is not there, and load did not raise SessionNotFound")


async def _closed(adapter: object) -> None:
    close: Any = getattr(adapter, "aclose", getattr(adapter, "close", None))
    if close is not None:
        ended = close()
        if inspect.isawaitable(ended):
            await ended
