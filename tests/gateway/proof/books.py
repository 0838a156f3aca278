"""What must be true of a session's money whatever was done to the gateway in front of it."""

from __future__ import annotations

import asyncio

from prepaid import SessionManager
from prepaid.config import Settings


def settled(gateway, session_id):
    """The account, once nothing is held any more."""
    gateway.wait_until(lambda: gateway.account(session_id).held == 0)
    return gateway.account(session_id)


def total(gateway, session_id, kind):
    """The sum and the number of a session's lines of one kind."""

    def read(store):
        return [line.amount for line in store.reads.transfers(session_id) if line.kind == kind]

    amounts = gateway.read(read)
    return sum(amounts), len(amounts)


def with_manager(gateway, act):
    """What ``act`` returns for a manager beside the server."""

    async def work():
        settings = Settings(database=gateway.database, sessions={"auto_cleanup": False})
        async with SessionManager(settings=settings) as manager:
            return await act(manager)

    return asyncio.run(work())


def with_session(gateway, session_id, act, user="ann"):
    """The same for one session."""
    return with_manager(gateway, lambda manager: act(manager.get_session(session_id, user)))


def assert_refunded(gateway, session_id):
    """Funded is spent and refunded, to the unit, once it is closed; and the whole database agrees."""
    before = gateway.account(session_id)
    with_session(gateway, session_id, lambda session: session.close())
    after = gateway.account(session_id)
    assert (after.available, after.held) == (0, 0)
    assert after.refunded == before.available
    assert after.funded == after.spent + after.refunded
    gateway.assert_sound()
