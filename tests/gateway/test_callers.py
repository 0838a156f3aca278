"""Whose money a request may spend, by what it was sent with."""

from __future__ import annotations

import pytest

from managers import opened
from prepaid.errors import (
    AuthenticationError,
    InvalidRequestError,
    LeaseNotFound,
    ModelNotAllowed,
    PermissionDenied,
    SessionNotFound,
)
from prepaid.gateway.asgi import Request
from prepaid.gateway.callers import Callers
from prepaid.meter import Payer


def request(key=None, **headers):
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if key is not None:
        given["authorization"] = f"Bearer {key}"
    lines = [(name.encode(), value.encode("latin-1")) for name, value in given.items()]
    return Request({"method": "POST", "path": "/v1/x", "query_string": b"", "headers": lines}, None, None)


@pytest.fixture
async def manager(tmp_path):
    async with opened(tmp_path / "a.db") as managing:
        yield managing


@pytest.fixture
def callers(manager):
    return Callers(manager)


@pytest.fixture
async def session(manager):
    return await manager.create_session("ann", "1 USD")


async def test_a_session_s_key_spends_its_session(callers, session):
    """Spec D2: the session's key is the API key."""
    sent = request(session.api_key)
    caller = await callers.payer(sent)
    assert caller.payer == Payer(session.session_id, "ann", "USD")
    assert (caller.session_id, caller.owner, sent.session_id) == (
        session.session_id,
        "ann",
        session.session_id,
    )
    caller.check_model("anything")


async def test_within_its_cap_and_models(callers, manager, session):
    made = await manager.create_api_key(session_id=session.session_id, cap=5, models=["offline"])
    caller = await callers.payer(request(made.api_key))
    assert caller.payer == Payer(session.session_id, "ann", "USD", key_no=2, models=("offline",))
    caller.check_model("offline")
    with pytest.raises(ModelNotAllowed):
        caller.check_model("other")


async def test_a_user_s_key_says_which_session(callers, manager, session):
    key = (await manager.create_api_key(user_id="ann", models=["offline"])).api_key
    caller = await callers.payer(request(key, x_prepaid_session=session.session_id))
    assert caller.payer == Payer(session.session_id, "ann", "USD", models=("offline",))
    with pytest.raises(InvalidRequestError, match="X-Prepaid-Session"):
        await callers.payer(request(key))
    theirs = await manager.create_session("bob", "1 USD")
    for foreign in (theirs.session_id, "ses_x", "", "\x00", "é"):
        with pytest.raises(SessionNotFound):
            await callers.payer(request(key, x_prepaid_session=foreign))


async def test_or_which_lease(callers, manager, session):
    """Spec B8: spent by the taker, under the lease."""
    await session.add_to_pool(cap=50)
    leased = await manager.get_from_pool("bob")
    key = (await manager.create_api_key(user_id="bob")).api_key
    under = {"x_prepaid_session": session.session_id, "x_prepaid_lease": leased.lease.lease_id}
    assert (await callers.payer(request(key, **under))).payer == leased.payer
    anns = (await manager.create_api_key(user_id="ann")).api_key
    with pytest.raises(LeaseNotFound):
        await callers.payer(request(anns, **under))
    await leased.give_back()
    with pytest.raises(LeaseNotFound):
        await callers.payer(request(key, **under))


async def test_the_operator_spends_nobody_s_money(callers, manager, session):
    key = (await manager.create_api_key()).api_key
    with pytest.raises(PermissionDenied):
        await callers.payer(request(key, x_prepaid_session=session.session_id))
    assert (await callers.operator(request(key))).owner == ""
    with pytest.raises(PermissionDenied):
        await callers.operator(request(session.api_key))
    with pytest.raises(PermissionDenied):
        await callers.user(request(key))


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer ", "Basic {key}", "{key}", "Bearer {key} x"]
)
async def test_what_is_no_bearer_opens_nothing(callers, session, authorization):
    headers = {} if authorization is None else {"authorization": authorization.format(key=session.api_key)}
    with pytest.raises(AuthenticationError) as refused:
        await callers.payer(request(**headers))
    assert session.api_key[-32:] not in str(refused.value)


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
async def test_the_scheme_is_read_as_http_has_it(callers, session, scheme):
    assert (
        await callers.payer(request(authorization=f"{scheme} {session.api_key}"))
    ).session_id == session.session_id
