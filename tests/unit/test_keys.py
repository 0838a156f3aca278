"""API keys as users have them: whose they are, what they may spend and ask, until when."""

from __future__ import annotations

import asyncio
import hmac
import re
from datetime import timedelta

import apsw
import pytest

from managers import Clock, opened, plan, store_of
from prepaid import AIRequest
from prepaid.errors import (
    AmountNotExact,
    AuthenticationError,
    IdempotencyConflict,
    InvalidRequestError,
    KeyCapReached,
    KeyNotFound,
    ModelNotAllowed,
    SessionNotFound,
    ValueTooLarge,
)
from prepaid.records import KeyKind
from prepaid.sessions import api_keys
from prepaid.store.queries.keys import _KEY


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def manager(tmp_path, clock):
    async with opened(tmp_path / "a.db", clock=clock) as managing:
        yield managing


@pytest.fixture
async def session(manager):
    return await manager.create_session("ann", "1 USD")


class TestRecognising:
    async def test_each_kind_says_whose_it_is(self, manager, session):
        user = (await manager.create_api_key(user_id="ann")).api_key
        operator = (await manager.create_api_key()).api_key
        kinds = [(await manager.identify(each)) for each in (session.api_key, user, operator)]
        assert [each.kind for each in kinds] == [KeyKind.SESSION, KeyKind.USER, KeyKind.OPERATOR]
        assert [each.owner for each in kinds] == ["ann", "ann", ""]
        assert kinds[0].holder == session.session_id
        assert (await manager.create_api_key(user_id="bob")).record.owner == "bob"

    async def test_a_key_is_its_id_and_192_random_bits(self, manager, session):
        first = session.api_key
        second = (await manager.create_api_key(session_id=session.session_id)).api_key
        for number, key in ((1, first), (2, second)):
            assert re.fullmatch(rf"pp_{session.session_id}\.{number}_[A-Za-z0-9_-]{{32}}", key)
        assert first[-32:] != second[-32:]

    async def test_what_is_wrong_in_any_place_is_refused(self, manager, session):
        """And no message repeats it."""
        key = session.api_key
        other = (await manager.create_session("bob", "1 USD")).api_key
        wrongs = [
            key[:-1],
            key + "x",
            key[:-1] + ("A" if key[-1] != "A" else "B"),
            key[:-32] + other[-32:],
            key.replace(".1_", ".2_"),
            key.replace(".1_", ".01_"),
            key.replace(".1_", ".१_"),
            key.replace("pp_", "PP_"),
            key.replace("pp_ses_", "pp_usr_"),
            key.upper(),
            f" {key}",
            f"{key}\n",
            "pp_op.1_" + key[-32:],
            "pp_op.999999999_" + key[-32:],
            "sk-something",
            "",
            None,
            7,
            key.encode(),
        ]
        for wrong in wrongs:
            with pytest.raises(AuthenticationError) as refused:
                await manager.identify(wrong)
            assert key[-32:] not in str(refused.value)

    async def test_an_expired_one_is_none(self, manager, session, clock):
        made = await manager.create_api_key(session_id=session.session_id, expires_at=timedelta(seconds=10))
        clock.advance(9.999)
        assert (await manager.identify(made.api_key)).key_id == made.record.key_id
        clock.advance(0.001)
        with pytest.raises(AuthenticationError, match="expired"):
            await manager.identify(made.api_key)
        with pytest.raises(AuthenticationError) as guessed:
            await manager.identify(made.api_key[:-1] + ("A" if made.api_key[-1] != "A" else "B"))
        assert "expired" not in str(guessed.value)

    async def test_a_revoked_one_is_none_in_every_process_at_once(self, manager, session, tmp_path):
        async with opened(tmp_path / "a.db") as elsewhere:
            assert await elsewhere.identify(session.api_key)
            await manager.revoke_api_key(f"pp_{session.session_id}.1")
            with pytest.raises(AuthenticationError):
                await elsewhere.identify(session.api_key)

    async def test_digests_are_compared_in_constant_time(self, manager, session, monkeypatch):
        """Also where there is no such key: what was compared is seen, nothing is put in its place."""
        compared = []

        safe = hmac.compare_digest

        def watched(left, right):
            compared.append((left, right))
            return safe(left, right)

        monkeypatch.setattr(hmac, "compare_digest", watched)
        await manager.identify(session.api_key)
        assert compared == [(api_keys.digest_of(session.api_key[-32:]),) * 2]
        with pytest.raises(AuthenticationError):
            await manager.identify(session.api_key.replace(".1_", ".7_"))
        assert len(compared) == 2

    async def test_what_is_kept_does_not_open_anything(self, manager, session, tmp_path):
        """Somebody with the database file has digests, and no secret anywhere in it."""
        made = await manager.create_api_key(user_id="ann", name="ci")
        await manager.rotate_api_key(made.record.key_id, grace=60)
        with apsw.Connection(str(tmp_path / "a.db")) as spy:
            spy.execute("PRAGMA wal_checkpoint(FULL)")
        kept = (tmp_path / "a.db").read_bytes() + (tmp_path / "a.db-wal").read_bytes()
        for secret in (session.api_key[-32:], made.api_key[-32:]):
            assert secret.encode() not in kept
        assert api_keys.digest_of(session.api_key[-32:]) in kept

    async def test_secrets_are_in_no_repr(self, manager, session):
        made = await manager.create_api_key(user_id="ann")
        told = f"{made!r} {made} {made.record!r}"
        assert made.api_key not in told
        assert "digest" not in told


class TestRotating:
    async def test_at_once(self, manager, session):
        made = await manager.rotate_api_key(f"pp_{session.session_id}.1", "ann")
        assert (await manager.authenticate(made.api_key)).session_id == session.session_id
        with pytest.raises(AuthenticationError):
            await manager.identify(session.api_key)

    async def test_after_a_grace(self, manager, session, clock):
        made = await manager.rotate_api_key(f"pp_{session.session_id}.1", grace=timedelta(minutes=1))
        assert (await manager.identify(session.api_key)) == (await manager.identify(made.api_key))
        clock.advance(59.999)
        assert await manager.identify(session.api_key)
        clock.advance(0.001)
        assert await manager.identify(made.api_key)
        with pytest.raises(AuthenticationError):
            await manager.identify(session.api_key)

    async def test_only_the_last_two_work_within_a_grace(self, manager, session):
        key_id = f"pp_{session.session_id}.1"
        rotated = [await manager.rotate_api_key(key_id, grace=60) for _ in range(2)]
        keys = [session.api_key, *(each.api_key for each in rotated)]
        with pytest.raises(AuthenticationError):
            await manager.identify(keys[0])
        assert await manager.identify(keys[1])
        assert await manager.identify(keys[2])

    async def test_the_operator_s_first_key(self, manager):
        """Printed once at the first start; the one before is invalid after a rotation."""
        first = await manager.first_operator_key()
        assert await manager.first_operator_key() is None
        assert (await manager.identify(first)).kind is KeyKind.OPERATOR
        second = (await manager.rotate_api_key("pp_op.1")).api_key
        with pytest.raises(AuthenticationError):
            await manager.identify(first)
        assert (await manager.identify(second)).key_id == "pp_op.1"
        await manager.revoke_api_key("pp_op.1")
        assert await manager.first_operator_key() is None

    async def test_several_starts_at_once_print_one(self, manager, tmp_path):
        async with opened(tmp_path / "a.db") as elsewhere:
            keys = await asyncio.gather(*(each.first_operator_key() for each in (manager, elsewhere) * 3))
        assert sum(key is not None for key in keys) == 1


class TestSpending:
    async def test_within_the_cap_through_everything_that_asks(self, manager, session):
        """Spec D1: a chat's turn and a single request count against one cap."""
        made = await manager.create_api_key(session_id=session.session_id, cap="0.02 USD")
        mine = await manager.authenticate(made.api_key)
        await mine.send_message("Hello!")
        response = await manager.ask(mine, AIRequest("Hello?", max_output_tokens=20))
        spent = manager.get_api_key(made.record.key_id).spent
        assert spent == session.account.spent > response.cost > 0

        async def talk():
            while True:
                await mine.send_message("And on?")

        with pytest.raises(KeyCapReached) as refused:
            await talk()
        kept = manager.get_api_key(made.record.key_id)
        assert kept.reserved == 0
        assert kept.cap - kept.spent == refused.value.available < refused.value.needed
        await session.send_message("The owner can still.")

    async def test_the_first_key_has_no_cap(self, manager, session):
        assert (await manager.identify(session.api_key)).cap is None
        assert (await manager.authenticate(session.api_key)).payer.key_no is None

    async def test_only_of_its_models(self, manager, session):
        made = await manager.create_api_key(session_id=session.session_id, models=["other", "other"])
        assert made.record.models == ("other",)
        with pytest.raises(ModelNotAllowed) as refused:
            await (await manager.authenticate(made.api_key)).send_message("Hello!")
        assert (refused.value.model, refused.value.allowed) == ("offline", ("other",))
        assert session.account.held == 0
        offline = await manager.create_api_key(session_id=session.session_id, models=["offline"])
        assert (await (await manager.authenticate(offline.api_key)).send_message("Hello!")).text

    async def test_with_an_idempotency_key_too(self, manager, session):
        """The hold of nothing that stands for the key asks no model."""
        made = await manager.create_api_key(session_id=session.session_id, models=["offline"], cap="0.5 USD")
        mine = await manager.authenticate(made.api_key)
        first = await manager.ask(mine, AIRequest("Hello?", key="k"))
        again = await manager.ask(mine, AIRequest("Hello?", key="k"))
        assert (again.text, again.replayed) == (first.text, True)

    async def test_a_user_s_or_operator_s_key_opens_no_session(self, manager):
        for made in (await manager.create_api_key(user_id="ann"), await manager.create_api_key()):
            with pytest.raises(AuthenticationError):
                await manager.authenticate(made.api_key)


class TestKeeping:
    async def test_lists_never_show_others(self, manager, session):
        await manager.create_api_key(user_id="ann")
        await manager.create_api_key()
        assert [each.key_id for each in manager.get_api_keys(session_id=session.session_id)] == [
            f"pp_{session.session_id}.1"
        ]
        assert [each.kind for each in manager.get_api_keys(user_id="ann")] == [KeyKind.USER]
        assert [each.kind for each in manager.get_api_keys()] == [KeyKind.OPERATOR]
        assert manager.get_api_keys(user_id="bob") == []
        with pytest.raises(SessionNotFound):
            manager.get_api_keys(session_id=session.session_id, user_id="bob")

    @pytest.mark.parametrize("what", ["rotate_api_key", "revoke_api_key"])
    async def test_a_foreign_key_does_not_exist(self, manager, session, what):
        """Spec A5."""
        operator = (await manager.create_api_key()).record.key_id
        for key_id in (f"pp_{session.session_id}.1", operator, "pp_op.7", "nonsense", None, session.api_key):
            with pytest.raises(KeyNotFound) as refused:
                await getattr(manager, what)(key_id, "bob")
            assert session.api_key[-32:] not in str(refused.value)
        assert await manager.identify(session.api_key)

    async def test_a_retry_issues_one_key_and_does_not_show_it_again(self, manager, session):
        """Spec D3."""
        ask = {"session_id": session.session_id, "name": "ci", "cap": 5, "key": "k1"}
        first, again = [await manager.create_api_key(**ask) for _ in range(2)]
        assert again.record == first.record
        assert (first.api_key is None, again.api_key) == (False, None)
        with pytest.raises(IdempotencyConflict):
            await manager.create_api_key(**{**ask, "cap": 6})
        rotated = [await manager.rotate_api_key(first.record.key_id, key="k2") for _ in range(2)]
        assert rotated[1].api_key is None
        assert await manager.identify(rotated[0].api_key)
        for _ in range(2):
            await manager.revoke_api_key(first.record.key_id, key="k3")

    @pytest.mark.parametrize(
        ("fields", "error"),
        [
            ({"cap": 0.5}, AmountNotExact),
            ({"models": []}, InvalidRequestError),
            ({"models": [""]}, InvalidRequestError),
            ({"models": "offline"}, InvalidRequestError),
            ({"models": ["m" * 257]}, ValueTooLarge),
            ({"models": [f"m{n}" for n in range(65)]}, ValueTooLarge),
            ({"name": "n" * 257}, ValueTooLarge),
            ({"expires_at": timedelta(0)}, InvalidRequestError),
            ({"user_id": "bob"}, SessionNotFound),
        ],
    )
    async def test_what_is_not_acceptable(self, manager, session, fields, error):
        with pytest.raises(error):
            await manager.create_api_key(session_id=session.session_id, **fields)

    async def test_only_a_session_s_key_has_a_cap(self, manager):
        for whose in ({}, {"user_id": "ann"}):
            with pytest.raises(InvalidRequestError, match="cap"):
                await manager.create_api_key(cap=5, **whose)

    async def test_recognising_is_one_statement_by_primary_key(self, manager, session):
        steps = plan(store_of(manager), _KEY + " WHERE holder = ? AND number = ?", ("x", 1))
        assert len(steps) == 2
        assert all("USING PRIMARY KEY" in step for step in steps)
