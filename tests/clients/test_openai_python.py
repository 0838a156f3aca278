"""The official Python client's own conveniences: retries, exceptions, stream helpers, many requests at once.

What it asks and gets is in ``tests/gateway/test_openai_clients.py``. Spec D2.
"""

from __future__ import annotations

import asyncio
import threading

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from gateway.proof.books import with_session

HELLO = [{"role": "user", "content": "Hello there"}]


def new_client(gateway, key, **options):
    return OpenAI(base_url=f"{gateway.url}/v1", api_key=key, **options)


@pytest.fixture
def client(gateway, session):
    with new_client(gateway, session[1]) as client:
        yield client


def failing(**behaviour):
    """A request that the upstream answers so."""
    return {"model": "fast", "messages": HELLO, "extra_body": {"fake": behaviour}}


def asked(gateway, session_id, count):
    """The statuses of all requests that a session's keys made, once ``count`` of them are in the log."""

    def logged():
        found = [record for record in gateway.records() if record.get("session_id") == session_id]
        return len(found) >= count and sorted(record["status"] for record in found)

    return gateway.wait_until(logged)


class TestRetries:
    """The client asks again after 408, 409, 429 and 5xx, unless it is told that this is no use."""

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_what_may_pass_is_asked_again(self, client, upstream, status):
        with pytest.raises(openai.APIStatusError):
            client.with_options(max_retries=1).chat.completions.create(**failing(status=status))
        assert upstream.counts()["served"] == 2

    @pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422])
    def test_what_stays_is_not(self, client, upstream, status):
        with pytest.raises(openai.APIStatusError):
            client.chat.completions.create(**failing(status=status))
        assert upstream.counts()["served"] == 1

    def test_an_empty_balance_is_not(self, gateway, upstream):
        session_id, key = gateway.fund(1)
        with new_client(gateway, key) as client, pytest.raises(openai.APIStatusError) as refused:
            client.chat.completions.create(model="fast", messages=HELLO)
        assert (refused.value.status_code, refused.value.code) == (402, "insufficient_quota")
        assert asked(gateway, session_id, 1) == [402]
        assert upstream.counts()["served"] == 0

    def test_money_that_is_held_is_waited_for(self, gateway, upstream):
        """A lone retry of the client's own, after the second that it is told to wait."""
        upstream.behave(delay_seconds=0.5)
        question = {"model": "fast", "messages": HELLO, "max_tokens": 5}
        session_id, key = gateway.fund(held_for(gateway, question))
        with new_client(gateway, key) as client:
            first = threading.Thread(target=lambda: client.chat.completions.create(**question))
            first.start()
            gateway.wait_until(lambda: gateway.account(session_id).held)
            with_session(gateway, session_id, lambda session: session.fund(15))
            assert client.chat.completions.create(**question).choices[0].message.content
            first.join()
        assert asked(gateway, session_id, 3) == [200, 200, 429]

    def test_a_conflict_is_not(self, client, gateway, session):
        keyed = {"extra_headers": {"Idempotency-Key": "one"}}
        client.chat.completions.create(model="fast", messages=HELLO, **keyed)
        with pytest.raises(openai.ConflictError):
            client.chat.completions.create(model="offline", messages=HELLO, **keyed)
        assert asked(gateway, session[0], 2) == [200, 409]


class TestExceptions:
    @pytest.mark.parametrize(
        ("question", "kind", "code"),
        [
            ({"model": "nobody"}, openai.NotFoundError, "model_not_found"),
            ({"messages": []}, openai.BadRequestError, "invalid_request_error"),
            ({"max_tokens": -1}, openai.BadRequestError, "invalid_request_error"),
            ({"extra_body": {"fake": {"status": 500}}}, openai.InternalServerError, "provider_error"),
            ({"extra_body": {"fake": {"raw": "no JSON"}}}, openai.InternalServerError, None),
            ({"extra_headers": {"X-Prepaid-Chat": "none.1"}}, openai.NotFoundError, "chat_not_found"),
        ],
        ids=[
            "an unknown model",
            "no messages",
            "a wrong limit",
            "a failing upstream",
            "nonsense",
            "a foreign chat",
        ],
    )
    def test_each_refusal_is_the_clients_own_class(self, client, gateway, session, question, kind, code):
        with pytest.raises(kind) as caught:
            client.with_options(max_retries=0).chat.completions.create(
                **{"model": "fast", "messages": HELLO, **question}
            )
        assert code in (None, caught.value.code)
        assert caught.value.request_id
        assert gateway.account(session[0]).spent == 0
        assert gateway.account(session[0]).held == 0

    @pytest.mark.parametrize("key", ["", "sk-wrong", "pp_" + "x" * 40, "pp_" + "x" * 10_000])
    def test_a_wrong_key(self, gateway, key):
        with new_client(gateway, key or "none") as client, pytest.raises(openai.AuthenticationError):
            client.models.list()

    def test_a_client_that_gives_up_waiting_has_asked_all_the_same(self, client, gateway, session):
        """It pays for the answer: the upstream made it."""
        with pytest.raises(openai.APITimeoutError):
            client.with_options(timeout=0.3, max_retries=0).chat.completions.create(
                **failing(delay_seconds=1)
            )
        gateway.wait_until(lambda: gateway.account(session[0]).spent == 2 + 2 * 5)
        assert gateway.account(session[0]).held == 0


class TestHelpers:
    def test_a_stream_with_its_final_answer(self, client, gateway, session):
        with client.chat.completions.stream(
            model="fast", messages=HELLO, stream_options={"include_usage": True}
        ) as stream:
            words = [event.delta for event in stream if event.type == "content.delta"]
            final = stream.get_final_completion()
        assert "".join(words) == final.choices[0].message.content == "Hello from the fake provider."
        assert (
            gateway.account(session[0]).spent == final.usage.prompt_tokens + 2 * final.usage.completion_tokens
        )

    def test_a_streamed_structure(self, client):
        class Person(BaseModel):
            age: int

        text = {"fake": {"text": '{"age": 41}'}}
        with client.chat.completions.stream(
            model="fast", messages=HELLO, response_format=Person, extra_body=text
        ) as stream:
            assert stream.get_final_completion().choices[0].message.parsed == Person(age=41)

    def test_streamed_tools(self, client):
        tool = {"name": "add", "strict": True, "parameters": {"type": "object", "properties": {}}}
        call = {"fake": {"text": "", "tool_calls": [{"name": "add", "arguments": '{"a": 7}'}]}}
        with client.chat.completions.stream(
            model="fast", messages=HELLO, tools=[{"type": "function", "function": tool}], extra_body=call
        ) as stream:
            (told,) = stream.get_final_completion().choices[0].message.tool_calls
        assert (told.function.name, told.function.arguments) == ("add", '{"a": 7}')

    def test_a_raw_stream_tells_what_is_held(self, client):
        with client.chat.completions.with_streaming_response.create(
            model="offline", messages=HELLO, stream=True, extra_headers={"X-Prepaid-Receipt": "event"}
        ) as reply:
            assert int(reply.headers["x-prepaid-held"]) > 0
            lines = list(reply.iter_lines())
        assert "event: prepaid.receipt" in lines


async def test_many_at_once_spend_the_balance_and_not_more(gateway, upstream):
    """With the client's own retries, and nothing of ours."""
    upstream.behave(delay_seconds=0.1)
    question = {"model": "fast", "messages": HELLO, "max_tokens": 5}
    cost, held = 12, await asyncio.to_thread(held_for, gateway, question)
    session_id, key = await asyncio.to_thread(gateway.fund, 9 * cost + held)
    upstream.behave(delay_seconds=0.1)
    async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=10) as client:

        async def ask():
            try:
                return (await client.chat.completions.create(**question)).usage.completion_tokens
            except openai.APIStatusError as error:
                return error.code

        answers = await asyncio.gather(*(ask() for _ in range(40)))
    account = await asyncio.to_thread(gateway.account, session_id)
    served = [answer for answer in answers if answer != "insufficient_quota"]
    assert upstream.counts()["served"] == len(served) >= 10
    assert account.held == 0
    assert account.spent == sum(2 + 2 * tokens for tokens in served)
    assert account.available < held


def held_for(gateway, question):
    """What the gateway holds for a question."""
    with new_client(gateway, gateway.fund(1_000_000)[1]) as client:
        reply = client.chat.completions.with_raw_response.create(**question)
    return int(reply.headers["x-prepaid-held"])
