"""Money that comes into sessions and leaves them: deposits, currencies, keys, closing (spec A2, B4, B5, B6)."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from managers import Clock, opened, told
from prepaid import (
    CurrencyMismatch,
    IdempotencyConflict,
    InsufficientFunds,
    Session,
    SessionNotFound,
    StoreFull,
)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def manager(tmp_path, clock):
    async with opened(tmp_path / "a.db", clock=clock) as manager:
        yield manager


class TestKeys:
    """Guarantee 5."""

    async def test_the_same_call_twice_opens_one(self, manager):
        seen = told(manager)
        calls = [manager.create_session("ann", 5, key="k", session_name="n") for _ in range(8)]
        sessions = await asyncio.gather(*calls)
        assert len({session.session_id for session in sessions}) == 1
        assert [session.api_key is not None for session in sessions].count(True) == 1
        assert len(seen) == 1

    @pytest.mark.parametrize(
        "changed",
        [
            {"fund": 6},
            {"session_name": "m"},
            {"metadata": {"a": 2}},
            {"preferences": {"a": 1}},
            {"tags": ["u"]},
            {"expires_at": timedelta(hours=2)},
            {"auto_save": False},
        ],
        ids=lambda changed: next(iter(changed)),
    )
    async def test_other_content_conflicts(self, changed, manager):
        given = {"fund": 5, "expires_at": timedelta(hours=1)}
        await manager.create_session("ann", key="k", **given)
        with pytest.raises(IdempotencyConflict):
            await manager.create_session("ann", key="k", **(given | changed))

    async def test_a_time_from_now_may_come_later(self, manager, clock):
        first = await manager.create_session("ann", 5, expires_at=timedelta(hours=1), key="k")
        clock.advance(60)
        again = await manager.create_session("ann", 5, expires_at=timedelta(hours=1), key="k")
        assert again.record.expires_ms == first.record.expires_ms

    async def test_keys_are_each_users_own(self, manager):
        ann, bob = [await manager.create_session(user, 5, key="k") for user in ("ann", "bob")]
        assert ann.session_id != bob.session_id


class TestMoney:
    async def test_a_session_keeps_its_currency_in_every_manager(self, manager, tmp_path):
        dollars = await manager.create_session("ann", "1 USD")
        async with opened(tmp_path / "a.db", top={"currency": "EUR"}) as other:
            seen = other.get_session(dollars.session_id, "ann")
            assert seen.asset.code == "USD"
            with pytest.raises(CurrencyMismatch):
                await seen.fund("1 EUR")
            await seen.fund("1 USD")
            assert dollars.available == 2_000_000
            await dollars.add_to_pool()
            async with await other.get_from_pool("bob") as leased:
                assert leased.asset == "USD"

    async def test_funding_under_a_key_is_told_once(self, manager):
        session = await manager.create_session("ann", 5)
        seen = told(manager)
        first = await session.fund(5, key="f")
        again = await manager.renew_session(session.session_id, "ann", 5, key="f")
        assert (first, again.replayed, len(seen), session.available) == (again, True, 1, 10)

    async def test_deposits(self, manager):
        """Spec A2."""
        await manager.deposit("ann", 100)
        assert (await manager.start_user_session("ann", 30)).available == 30
        await manager.withdraw("ann", 20)
        assert (await manager.start_user_session("ann")).available == 50
        with pytest.raises(InsufficientFunds):
            await manager.start_user_session("ann")

    async def test_closing_all_of_them(self, manager, clock):
        """Spec B5."""
        for number in range(5):
            session = await manager.create_session("ann", 10, expires_at=timedelta(seconds=number + 1))
            if number % 2:
                await session.pause()
        await manager.create_session("bob", 10)
        clock.advance(2)
        both = await asyncio.gather(*(manager.close_all_sessions("ann") for _ in range(2)))
        closed = [each for part in both for each in part]
        assert sorted(each.refunded for each in closed) == [10] * 5
        assert [each.expired for each in closed].count(True) == 2
        assert await manager.get_user_sessions("ann", status="active") == []
        assert manager.get_user_session_count("ann") == 5

    async def test_closing_all_of_them_fails_where_one_fails(self, manager, monkeypatch):
        await manager.create_session("ann", 10)

        async def fails(session):
            raise StoreFull("No room.")

        with monkeypatch.context() as patched:
            patched.setattr(Session, "close", fails)
            with pytest.raises(StoreFull):
                await manager.close_all_sessions("ann")
        assert len(await manager.close_all_sessions("ann")) == 1

    async def test_closing_one(self, manager):
        session = await manager.create_session("ann", 10)
        with pytest.raises(SessionNotFound):
            await manager.close_session(session.session_id, "bob")
        assert (await manager.close_session(session.session_id, "ann")).refunded == 10
