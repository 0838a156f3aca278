"""Between our messages and pydantic-ai's: nothing is parted from its other half, nothing is made up."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_ai.messages import (
    BinaryContent,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextContent,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.native_tools import WebSearchTool
from pydantic_ai.tools import ToolDefinition

from prepaid.agents.conversion import (
    answered_only,
    kept_messages,
    to_messages,
    to_model_messages,
    to_request,
)
from prepaid.errors import ApiNotSupported
from prepaid.records import Message, Role, Tool, ToolCall

CALL = ToolCall("1", "add", '{"a":1}')
ids = st.sampled_from(["1", "2", "3"])
texts = st.sampled_from(["", "hello", "2"])
messages = st.one_of(
    st.builds(Message, st.just(Role.USER), texts),
    st.builds(Message, st.just(Role.SYSTEM), texts),
    st.builds(
        Message,
        st.just(Role.ASSISTANT),
        texts,
        st.lists(st.builds(ToolCall, ids, st.just("add"), st.just("{}")), max_size=3).map(tuple),
    ),
    st.builds(Message, st.just(Role.TOOL), texts, st.just(()), ids),
)
histories = st.lists(messages, max_size=12)


def assert_whole(history):
    """Every call has its result right behind, in order, and every result its call."""
    waiting = []
    for message in history:
        if message.role is Role.TOOL:
            assert waiting
            assert waiting.pop(0) == message.tool_call_id
            continue
        assert waiting == []
        waiting = [call.id for call in message.tool_calls]
    assert waiting == []


@given(histories)
def test_a_history_is_made_whole(history):
    whole = answered_only(history)
    assert_whole(whole)
    assert answered_only(whole) == whole
    spoken = [message for message in history if message.role in (Role.USER, Role.SYSTEM)]
    assert [message for message in whole if message.role in (Role.USER, Role.SYSTEM)] == spoken


@given(histories)
def test_a_history_comes_back_as_it_went(history):
    back = list(to_messages("m", None, to_model_messages(history)))
    empty = Message(Role.ASSISTANT, "")
    assert back == [message for message in answered_only(history) if message != empty]


@given(histories, st.frozensets(st.sampled_from(["add", "final_result"])))
def test_what_a_turn_keeps_is_whole(asked, answering):
    kept = kept_messages("Question", asked, "Answer", answering)
    assert kept[0] == Message(Role.USER, "Question")
    assert kept[-1] == Message(Role.ASSISTANT, "Answer")
    assert_whole(kept)
    assert {message.role for message in kept[1:-1]} <= {Role.ASSISTANT, Role.TOOL}
    assert not {call.name for message in kept for call in message.tool_calls} & answering


def test_parts_become_messages_and_thoughts_do_not():
    said = ModelResponse(
        [ThinkingPart("hm"), TextPart("A"), TextPart("B"), ToolCallPart("add", {"a": 1}, "1")]
    )
    asked = ModelRequest(
        [
            SystemPromptPart("Rules"),
            UserPromptPart(["Look", TextContent("here")]),
            ToolReturnPart("add", {"n": 2}, "1"),
        ]
    )
    assert list(to_messages("m", "Be brief.", [said, asked, ModelResponse([ThinkingPart("hm")])])) == [
        Message(Role.SYSTEM, "Be brief."),
        Message(Role.ASSISTANT, "AB", (CALL,)),
        Message(Role.SYSTEM, "Rules"),
        Message(Role.USER, "Look\n\nhere"),
        Message(Role.TOOL, '{"n":2}', tool_call_id="1"),
    ]


@pytest.mark.parametrize(
    ("part", "named"),
    [
        (UserPromptPart(["Look", BinaryContent(b"1", media_type="image/png")]), "BinaryContent"),
        (ToolReturnPart("camera", BinaryContent(b"1", media_type="image/png"), "1"), "files from tools"),
    ],
)
def test_what_is_not_text_is_refused(part, named):
    with pytest.raises(ApiNotSupported, match=named):
        list(to_messages("m", None, [ModelRequest([part])]))


def test_tools_that_the_provider_runs_are_refused():
    with pytest.raises(ApiNotSupported, match="provider runs"):
        to_request("m", (), None, ModelRequestParameters(native_tools=[WebSearchTool()]))


def test_settings_are_passed_on():
    settings = {
        "max_tokens": 5,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop_sequences": ["x"],
        "parallel_tool_calls": False,
        "extra_body": {"user": "ann", "seed": 7},
        "seed": 1,
    }
    request = to_request("m", (), settings, ModelRequestParameters())
    assert (request.output_tokens_max, request.temperature) == (5, 0.5)
    assert request.extra == {"top_p": 0.9, "stop": ["x"], "user": "ann", "seed": 7}


def test_nobody_waits_for_pydantic_ai_who_does_not_need_it():
    code = "import prepaid, prepaid.turns, sys; sys.exit('pydantic_ai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("chosen", ["auto", "required", None])
def test_the_choice_of_tools_is_passed_on(chosen):
    tool = ToolDefinition(name="add", parameters_json_schema={"type": "object"}, description="Add.")
    parameters = ModelRequestParameters(function_tools=[tool], allow_text_output=chosen != "required")
    settings = {"parallel_tool_calls": False} | ({"tool_choice": chosen} if chosen == "auto" else {})
    extra = {"parallel_tool_calls": False} | ({"tool_choice": chosen} if chosen else {})
    request = to_request("m", (), settings, parameters)
    assert (request.extra, request.tools) == (extra, (Tool("add", "Add.", {"type": "object"}),))
