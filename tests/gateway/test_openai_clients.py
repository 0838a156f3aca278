"""OpenAI's own Python client, unmodified, against ``prepaid serve`` over TCP (spec D2)."""

from __future__ import annotations

import json

import openai
import pytest
from pydantic import BaseModel

from gateway.running import Gateway
from providers.fake_openai import Behaviour, FakeOpenAI

HELLO = [{"role": "user", "content": "Hello there"}]
MODELS = ["offline", "fast"]


@pytest.fixture(scope="module")
def fake():
    with FakeOpenAI() as server:
        yield server


@pytest.fixture(scope="module")
def upstreamed(tmp_path_factory, fake):
    toml = f"""
[upstreams.fake]
base_url = "{fake.base_url}"
api_key = "sk-secret"
models = ["fast"]
prefix = "far/"
retries_max = 0
[prices.fast]
input_per_million = "1"
output_per_million = "2"
output_tokens_max = 1000
[prices."far/deep"]
input_per_million = "1"
output_per_million = "2"
output_tokens_max = 1000
apis = ["chat", "embeddings"]
"""
    with Gateway(tmp_path_factory.mktemp("openai"), toml) as running:
        yield running
        running.assert_sound()


@pytest.fixture
def session(upstreamed, fake):
    fake.reset()
    return upstreamed.fund(100_000)


@pytest.fixture
def client(upstreamed, session):
    with openai.OpenAI(base_url=f"{upstreamed.url}/v1", api_key=session[1]) as client:
        yield client


@pytest.mark.parametrize("model", MODELS)
def test_chat_completions(client, upstreamed, session, model):
    raw = client.chat.completions.with_raw_response.create(model=model, messages=HELLO)
    answer = raw.parse()
    told = {
        name.removeprefix("x-prepaid-"): value for name, value in raw.headers.items() if "prepaid" in name
    }
    assert answer.choices[0].message.content
    assert told["session"] == session[0]
    assert told["currency"] == "USD"
    account = upstreamed.account(session[0])
    assert (int(told["cost"]), int(told["available"])) == (account.spent, account.available)
    assert account.spent == answer.usage.prompt_tokens + 2 * answer.usage.completion_tokens
    assert int(told["held"]) >= account.spent
    assert told["output-limit"] == "1024" if model == "offline" else "1000"
    assert account.held == 0


@pytest.mark.parametrize("model", MODELS)
def test_streamed_chat_completions(client, upstreamed, session, model):
    stream = client.chat.completions.create(
        model=model, messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    usage = chunks[-1].usage
    assert [chunk.choices for chunk in chunks[:-1]].count([]) == 0
    assert upstreamed.account(session[0]).spent == usage.prompt_tokens + 2 * usage.completion_tokens


def test_the_last_event_of_a_stream_tells_what_it_cost_to_who_asks(upstreamed, session):
    """After ``[DONE]``: it is no event of OpenAI's, so nobody gets it who has not asked for it."""
    body = {"model": "fast", "messages": HELLO, "stream": True}
    headers = bearer(session) | {"x-prepaid-receipt": "event"}
    reply = upstreamed.post("/v1/chat/completions", json=body, headers=headers)
    *_, done, receipt, end = reply.text.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    event, data = receipt.split("\n")
    assert event == "event: prepaid.receipt"
    told = json.loads(data.removeprefix("data: "))
    assert (told["cost"], told["available"], told["session"]) == (12, 100_000 - 12, session[0])
    assert reply.headers["x-prepaid-held"] == str(told["held"])


@pytest.mark.parametrize("model", MODELS)
def test_tools(client, fake, model):
    fake.next(Behaviour(text="", tool_calls=[{"name": "add", "arguments": '{"a": 7}'}]))
    tool = {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
    tools = [{"type": "function", "function": tool}]
    messages = [{"role": "user", "content": "use add with 7"}]
    choice = client.chat.completions.create(model=model, messages=messages, tools=tools).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert json.loads(choice.message.tool_calls[0].function.arguments) == {"a": 7}
    messages += [
        choice.message,
        {"role": "tool", "tool_call_id": choice.message.tool_calls[0].id, "content": "8"},
    ]
    assert (
        client.chat.completions.create(model=model, messages=messages, tools=tools).choices[0].message.content
    )


class Person(BaseModel):
    age: int


@pytest.mark.parametrize("model", MODELS)
def test_structured_output(client, fake, model):
    fake.default = Behaviour(text='{"age": 41}')
    asked = [{"role": "user", "content": "I am 41"}]
    parsed = client.chat.completions.parse(model=model, messages=asked, response_format=Person)
    assert parsed.choices[0].message.parsed == Person(age=41)
    assert client.responses.parse(model=model, input="I am 41", text_format=Person).output_parsed == Person(
        age=41
    )


@pytest.mark.parametrize("model", MODELS)
def test_responses(client, upstreamed, session, model):
    answer = client.responses.create(model=model, input="Hello there", instructions="Be kind.")
    assert answer.output_text
    spent = answer.usage.input_tokens + 2 * answer.usage.output_tokens
    assert upstreamed.account(session[0]).spent == spent
    with client.responses.stream(model=model, input="Hello there") as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert stream.get_final_response().output_text == text


@pytest.mark.parametrize("model", ["offline", "far/deep"])
def test_embeddings(client, model):
    """The client asks for base64 by itself."""
    told = client.embeddings.create(model=model, input=["Hello there", "you"])
    assert len(told.data) == 2
    assert all(isinstance(number, float) for number in told.data[0].embedding)


def test_models(client):
    listed = {model.id: model for model in client.models.list()}
    assert {"offline", "fast", "far/deep"} <= listed.keys()
    assert listed["fast"].owned_by == "fake"
    assert listed["fast"].prepaid["tiers"][0]["output_per_million"] == 2_000_000
    assert client.models.retrieve("far/deep").prepaid["apis"] == ["chat", "embeddings"]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


@pytest.mark.parametrize("model", MODELS)
async def test_the_asynchronous_client(upstreamed, session, model):
    async with openai.AsyncOpenAI(base_url=f"{upstreamed.url}/v1", api_key=session[1]) as client:
        stream = await client.chat.completions.create(model=model, messages=HELLO, stream=True)
        assert [chunk async for chunk in stream]
        async with client.responses.stream(model=model, input="Hello there") as events:
            assert [event async for event in events][-1].type == "response.completed"


def test_an_empty_balance_is_insufficient_quota_and_not_retried(upstreamed, fake):
    _, key = upstreamed.fund(5)
    with (
        openai.OpenAI(base_url=f"{upstreamed.url}/v1", api_key=key) as client,
        pytest.raises(openai.APIStatusError) as caught,
    ):
        client.chat.completions.create(model="offline", messages=[{"role": "user", "content": "a b c d e f"}])
    assert (caught.value.status_code, caught.value.code) == (402, "insufficient_quota")
    assert caught.value.response.headers["x-should-retry"] == "false"


def test_a_lowered_limit_is_told(upstreamed, fake):
    fake.reset()
    _, key = upstreamed.fund(10)
    with openai.OpenAI(base_url=f"{upstreamed.url}/v1", api_key=key) as client:
        raw = client.chat.completions.with_raw_response.create(
            model="offline", messages=[{"role": "user", "content": "count to 50"}]
        )
    assert (raw.headers["x-prepaid-lowered"], raw.headers["x-prepaid-output-limit"]) == ("true", "3")
    assert raw.parse().choices[0].finish_reason == "length"


def test_errors_inside_a_stream_are_the_clients_errors(client, fake, upstreamed, session):
    fake.next(Behaviour(cut_after=3))
    with pytest.raises(openai.APIError, match="broke the connection"):
        list(client.chat.completions.create(model="fast", messages=HELLO, stream=True))
    fake.next(Behaviour(cut_after=4))
    with pytest.raises(openai.APIError, match="broke the connection"):
        list(client.responses.create(model="fast", input="Hello there", stream=True))
    assert upstreamed.account(session[0]).spent == 0


def test_an_upstreams_refusal_reaches_the_client(client, fake):
    error = {
        "message": "too long",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "context_length_exceeded",
    }
    fake.next(Behaviour(status=400, error={"error": error}))
    with pytest.raises(openai.BadRequestError, match="too long") as caught:
        client.chat.completions.create(model="fast", messages=HELLO)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")
    assert fake.served == 1
    fake.next(Behaviour(status=401, error={"error": {"message": "bad key sk-secret"}}))
    with pytest.raises(openai.InternalServerError) as told:
        client.chat.completions.create(model="fast", messages=HELLO)
    assert (told.value.status_code, fake.served) == (502, 2)
    assert "sk-secret" not in str(told.value)


def test_a_field_of_no_list_is_refused_in_openais_words(client, fake):
    """Spec P1."""
    ask = client.chat.completions.create
    tool = {"type": "web_search"}
    for more, param, said in (
        ({"models": ["dear"]}, "models", "Unrecognized request argument supplied: models."),
        ({"MAX_TOKENS": 9}, "MAX_TOKENS", "Write it as max_tokens."),
        ({"web_search_options": {}}, "web_search_options", "web_search_options"),
        ({"tools": [tool]}, "tools[0]", "A tool of type 'web_search' is not supported"),
        ({"service_tier": "priority"}, "service_tier", "service_tier 'priority' is not supported"),
        ({"stream_options": {"x": 1}}, "stream_options.x", "supplied: stream_options.x."),
        ({"metadata": {"tags": ["a"]}}, "metadata.tags", "metadata.tags is not a string"),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            ask(model="fast", messages=HELLO, extra_body=more)
        told = caught.value
        assert (told.status_code, told.type, told.param) == (400, "invalid_request_error", param)
        assert said in told.message
    assert fake.served == 0


def test_a_key_gives_the_same_answer_once(client, fake):
    """Spec D3."""
    options = {"model": "fast", "messages": HELLO, "extra_headers": {"Idempotency-Key": "k-1"}}
    first = client.chat.completions.with_raw_response.create(**options)
    second = client.chat.completions.with_raw_response.create(**options)
    assert (second.content, second.headers["x-prepaid-replayed"], fake.served) == (first.content, "true", 1)
    with pytest.raises(openai.ConflictError):
        client.chat.completions.create(**options, temperature=1)


def test_an_exchange_is_kept_in_a_chat(client, upstreamed, session, fake):
    told = client.with_options(default_headers={"X-Prepaid-Chat": f"{session[0]}.1"}, max_retries=0)
    with pytest.raises(openai.NotFoundError):
        told.chat.completions.create(model="fast", messages=HELLO)
    assert fake.served == 0
    upstreamed.open_chat(session[0])
    told.chat.completions.create(model="fast", messages=HELLO)
    for _ in told.chat.completions.create(model="fast", messages=HELLO, stream=True):
        pass
    assert upstreamed.said(f"{session[0]}.1") == ["Hello there", "Hello from the fake provider."] * 2


def test_a_client_that_hangs_up_pays_for_what_it_was_given(client, upstreamed, session, fake):
    fake.next(Behaviour(hang_after=3))
    stream = client.chat.completions.create(model="fast", messages=HELLO, stream=True)
    for chunk in stream:
        if chunk.choices[0].delta.content == " from":
            break
    stream.close()
    account = upstreamed.wait_until(lambda: (found := upstreamed.account(session[0])).held == 0 and found)
    assert account.spent == 2 + 2 * 2  # two words in, two out
    assert fake.disconnected.wait(5)


def bearer(session):
    return {"authorization": f"Bearer {session[1]}"}
