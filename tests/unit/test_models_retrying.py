"""Retries: only while nothing was said, only what cannot have begun, and no sooner than asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prepaid.errors import (
    InvalidRequestError,
    ProviderError,
    ProviderResponseInvalid,
    ProviderStreamBroken,
    ProviderTimeout,
    UpstreamUnavailable,
)
from prepaid.models.failures import with_retry
from prepaid.models.offline import OfflineModel
from prepaid.models.retrying import (
    FIRST_WAIT_SECONDS,
    RETRY_AFTER_SECONDS_MAX,
    WAIT_SECONDS_MAX,
    RetryingModel,
)
from prepaid.records import ChatRequest, Finish, Message, Role, TextDelta

HELLO = ChatRequest("offline", (Message(Role.USER, "Hello"),))


def busy(what="busy", **told):
    """A failure of which the provider says that it has not begun."""
    error = with_retry(ProviderError(what, status=503), retryable=True, **told)
    error.can_resend = True
    return error


class Sleeps(list):
    async def __call__(self, seconds):
        self.append(seconds)


def retrying(*script, retries_max=2):
    model, slept = OfflineModel(script=script), Sleeps()
    return RetryingModel(model, retries_max, sleep=slept), model, slept


async def text(model) -> str:
    events = [event async for event in model.stream(HELLO)]
    assert isinstance(events[-1], Finish)
    return "".join(event.text for event in events if isinstance(event, TextDelta))


async def test_it_answers_after_failures():
    """Spec C12."""
    model, _, slept = retrying(busy(), busy(), "fine")
    assert await text(model) == "fine"
    assert len(slept) == 2
    assert FIRST_WAIT_SECONDS <= slept[0] <= 2 * FIRST_WAIT_SECONDS <= slept[1] <= 3 * FIRST_WAIT_SECONDS


async def test_it_gives_up_with_the_last_failure():
    model, left, slept = retrying(*[busy(str(n)) for n in range(5)])
    with pytest.raises(ProviderError, match="2"):
        await text(model)
    assert (len(left.script), len(slept)) == (2, 2)


@pytest.mark.parametrize(
    "error",
    [
        ProviderTimeout("slow"),
        ProviderStreamBroken("cut"),
        ProviderResponseInvalid("odd"),
        ProviderError("broken", status=500),
        ProviderError("unknown"),
        UpstreamUnavailable("u", 3, 1.0),
        with_retry(ProviderError("bad key", status=401), retryable=False),
    ],
    ids=str,
)
async def test_what_may_have_begun_is_not_sent_again(error):
    """Spec P4: whatever else can be said for it."""
    model, left, slept = retrying(error, "fine")
    with pytest.raises(type(error)):
        await text(model)
    assert (len(left.script), slept) == (1, [])


async def test_what_was_begun_is_not_begun_again():
    model, left, slept = retrying(("Half an", ProviderStreamBroken("cut")), "fine")
    stream = model.stream(HELLO)
    assert await anext(stream) == TextDelta("Half")
    assert await anext(stream) == TextDelta(" an")
    with pytest.raises(ProviderStreamBroken):
        await anext(stream)
    assert (len(left.script), slept) == (1, [])


async def test_a_pause_that_the_provider_asks_for_is_kept():
    model, _, slept = retrying(busy(after_seconds=11.0), "fine")
    assert await text(model) == "fine"
    assert slept == [11.0]


async def test_a_pause_that_is_too_long_is_not_waited_for():
    model, left, slept = retrying(busy(after_seconds=RETRY_AFTER_SECONDS_MAX + 1), "fine")
    with pytest.raises(ProviderError, match="busy"):
        await text(model)
    assert (len(left.script), slept) == (1, [])


async def test_no_retries_is_one_attempt():
    model, left, _ = retrying(busy("no"), "fine", retries_max=0)
    with pytest.raises(ProviderError):
        await text(model)
    assert len(left.script) == 1


@given(st.integers(0, 20))
async def test_pauses_are_bounded(failures):
    model, _, slept = retrying(*[busy("no")] * failures, "fine", retries_max=20)
    assert await text(model) == "fine"
    assert len(slept) == failures
    assert all(FIRST_WAIT_SECONDS <= pause <= WAIT_SECONDS_MAX + FIRST_WAIT_SECONDS for pause in slept)


async def test_other_errors_pass_and_the_model_shows_through():
    class Broken(OfflineModel):
        async def stream(self, request):
            raise InvalidRequestError("ours")
            yield

    inner = Broken()
    model = RetryingModel(inner, 3)
    with pytest.raises(InvalidRequestError, match="ours"):
        await anext(model.stream(HELLO))
    assert model.info is inner.info
    assert model.input_tokens_max(HELLO) == inner.input_tokens_max(HELLO)
    assert model.estimate_tokens("a b") == 2


async def test_closing_early_closes_the_model():
    closed = []

    class Watched(OfflineModel):
        async def stream(self, request):
            try:
                yield TextDelta("one")
                yield TextDelta("two")
            finally:
                closed.append(True)

    stream = RetryingModel(Watched(), 1).stream(HELLO)
    await anext(stream)
    await stream.aclose()
    assert closed == [True]
