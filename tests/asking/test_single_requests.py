"""One request at a time, with its session managed for the user (spec A3-A11, B3, B13, D3)."""

import pytest

from asking.desk import price_of
from prepaid import (
    AIRequest,
    AIRequestFailed,
    AIResponse,
    AIResponseReceived,
    Event,
    Fee,
    IdempotencyConflict,
    InsufficientFee,
    InsufficientFunds,
    InvalidRequestError,
    ModelNotSupported,
    OfflineModel,
    ProviderError,
    SessionAlreadyClosed,
    SessionManager,
    SessionNotFound,
    ValueTooLarge,
    model_id,
)
from prepaid.money import AMOUNT_MAX


async def test_a_session_pays_for_any_number_of_requests(manager, session):
    """Spec A3, B3."""
    paid = 0
    for number in range(1, 6):
        response = await manager.make_ai_request("ann", f"count to {number}", session_id=session.session_id)
        assert response.text == " ".join(str(each) for each in range(1, number + 1))
        assert response.cost == price_of(f"count to {number}", response.text)
        paid += response.cost
    assert session.account.spent == paid
    assert session.available == 1_000_000 - paid == response.available


async def test_without_a_session_the_users_own_is_found(manager, session):
    """Spec B2, B3: the funded one is used again, none is opened beside it."""
    first = await manager.make_ai_request("ann", "hello")
    second = await manager.make_ai_request("ann", "hello again")
    assert first.session_id == second.session_id == session.session_id
    assert manager.get_user_session_count("ann") == 1


async def test_session_zero_opens_one_from_the_deposit(manager):
    """Spec A4."""
    with pytest.raises(InsufficientFunds) as refused:
        await manager.make_ai_request("bob", "hello", session_id=0)
    assert refused.value.available == 0
    assert manager.get_user_session_count("bob") == 0
    await manager.deposit("bob", "0.5 USD")
    response = await manager.make_ai_request("bob", "hello", session_id=0)
    account = manager.get_session(response.session_id, "bob").account
    assert (account.funded, account.spent) == (500_000, response.cost)


async def test_nobody_elses_session_pays(manager, session):
    """Spec A5."""
    for session_id in (session.session_id, "ses_unknown", 7):
        with pytest.raises(SessionNotFound):
            await manager.make_ai_request("eve", "hello", session_id=session_id)
    assert session.account.spent == 0


async def test_a_closed_session_pays_nothing(manager, session):
    """Spec A9."""
    await session.close()
    with pytest.raises(SessionAlreadyClosed):
        await manager.make_ai_request("ann", "hello", session_id=session.session_id)


async def test_a_fee_by_the_byte(manager, session):
    """Spec A10: held is request bytes * fee + the total for the response, captured at most that."""
    prompt = "count to 7"
    fee = Fee(fee_per_byte_req=3, fee_per_byte_res=5, total_fee_per_res=1_000)
    response = await manager.make_ai_request("ann", prompt, fee=fee)
    assert response.cost == len(prompt) * 3 + min(1_000, len(response.text) * 5)


async def test_the_total_fee_bounds_the_response(manager, session):
    """Spec A10: a longer answer is cut at what the fee pays."""
    fee = Fee(1, 1, 20)
    response = await manager.make_ai_request("ann", "count to 500", fee=fee)
    assert len(response.text.encode()) == 20
    assert response.cost == len("count to 500") + 20


async def test_a_fee_below_the_models_price(manager, session):
    """Spec A11."""
    with pytest.raises(InsufficientFee):
        await manager.make_ai_request("ann", "hello", fee=Fee(0, 0, 100))
    assert session.account.funded == session.available


@pytest.mark.parametrize("amount", [-1, 1.5, True, float("nan"), AMOUNT_MAX + 1, "10"])
def test_a_fee_is_an_amount(amount):
    with pytest.raises(InvalidRequestError, match="fee_per_byte_res"):
        Fee(1, amount, 1)


async def test_a_model_by_name_or_by_hash(manager, session):
    """Spec A11."""
    by_hash = await manager.make_ai_request("ann", "hello", model=model_id("offline"))
    assert by_hash.model == "offline"
    for unknown in ("gpt-none", model_id("gpt-none")):
        with pytest.raises(ModelNotSupported):
            await manager.make_ai_request("ann", "hello", model=unknown)


async def test_lines_of_a_prompt_are_one_question(manager, session):
    assert (await manager.make_ai_request("ann", ["first line", "count to 3"])).text == "1 2 3"


@pytest.mark.parametrize("prompt", ["", [], [""], 5, "x" * (4 * 1024 * 1024 + 1), "\ud800"])
async def test_a_prompt_that_is_none(manager, session, prompt):
    with pytest.raises((InvalidRequestError, ValueTooLarge)):
        await manager.make_ai_request("ann", prompt)
    assert session.account.held == 0


async def test_a_retry_gets_the_same_answer_once(manager, session):
    """Spec D3."""
    first = await manager.make_ai_request("ann", "hello", key="k-1", session_id=session.session_id)
    again = await manager.make_ai_request("ann", "hello", key="k-1", session_id=session.session_id)
    assert again.replayed
    assert not first.replayed
    assert (again.text, again.request_id, again.nodes) == (first.text, first.request_id, first.nodes)
    assert session.account.spent == first.cost
    with pytest.raises(IdempotencyConflict):
        await manager.make_ai_request("ann", "another", key="k-1", session_id=session.session_id)


async def test_what_failed_may_be_tried_again_under_its_key(tmp_path):
    """Spec C12, D3: a failure costs nothing and is not an answer."""
    model = OfflineModel(script=[ProviderError("down"), "up again"])
    async with SessionManager(tmp_path / "x.db", models=[model]) as manager:
        session = await manager.create_session("ann", "1 USD")
        with pytest.raises(ProviderError):
            await manager.make_ai_request("ann", "hello", key="k")
        assert session.account.spent == session.account.held == 0
        assert (await manager.make_ai_request("ann", "hello", key="k")).text == "up again"


async def test_fallback_models_answer_in_order(tmp_path, monkeypatch):
    """Spec C12."""
    monkeypatch.setenv("PREPAID_FALLBACKS", '{"main": ["spare", "offline"]}')
    main = OfflineModel(name="main", script=[ProviderError("down")])
    spare = OfflineModel(name="spare", script=["the spare one"])
    async with SessionManager(tmp_path / "x.db", models=[main, spare]) as manager:
        await manager.create_session("ann", "1 USD")
        response = await manager.make_ai_request("ann", "hello", model="main")
        assert response.text == "the spare one"
        assert response.cost == price_of("hello", "the spare one")


async def test_a_batch_succeeds_and_fails_one_by_one(manager, session):
    """Spec B13."""
    outcomes = await manager.make_ai_requests(
        "ann",
        [AIRequest("count to 2"), AIRequest("hello", model="none"), AIRequest("count to 3"), AIRequest("")],
    )
    assert [type(each) for each in outcomes] == [
        AIResponse,
        ModelNotSupported,
        AIResponse,
        InvalidRequestError,
    ]
    assert session.account.spent == outcomes[0].cost + outcomes[2].cost
    with pytest.raises(InvalidRequestError, match="1001"):
        await manager.make_ai_requests("ann", [AIRequest("x")] * 1001)


async def test_a_batch_never_spends_more_than_there_is(manager):
    """Spec B13, D1: fifty are affordable, fifty are answered."""
    price = price_of("count to 9", "1 2 3 4 5 6 7 8 9")
    session = await manager.create_session("cy", 50 * price)
    asked = AIRequest("count to 9", session_id=session.session_id, max_output_tokens=9)
    outcomes = await manager.make_ai_requests("cy", [asked] * 120)
    assert sum(isinstance(each, AIResponse) for each in outcomes) == 50
    assert sum(isinstance(each, InsufficientFunds) for each in outcomes) == 70
    assert session.available == session.account.held == 0


async def test_events_tell_of_both_ends(manager, session):
    """Spec B12."""
    told = []
    manager.on(Event, told.append)
    response = await manager.make_ai_request("ann", "hello")
    with pytest.raises(ModelNotSupported):
        await manager.make_ai_request("ann", "hello", model="none")
    received, failed = told
    assert received == AIResponseReceived(
        session.session_id, "ann", response.request_id, "offline", response.cost
    )
    assert isinstance(failed, AIRequestFailed)
    assert failed.error == "model_not_supported"
