"""The tables of fields: compared with the ``openai`` package, and tried with whatever could stand in a request."""

from __future__ import annotations

import copy
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import embedding_create_params
from openai.types.chat import completion_create_params
from openai.types.responses import response_create_params

from prepaid.config import Settings, UpstreamSettings
from prepaid.errors import ApiNotSupported, ConfigError, FieldNotSupported, InvalidRequestError
from prepaid.models.apis import check_apis, check_extra
from prepaid.models.catalogue import Catalogue
from prepaid.models.codecs.dialects import DIALECTS, check_others, twin_of
from prepaid.models.codecs.fields import FIELDS, Kind, look_through
from prepaid.models.codecs.messages import CHAT_ROLES, RESPONSES_ITEMS, RESPONSES_ROLES
from prepaid.records import ALL_CHAT_APIS, ChatRequest, Message, ModelInfo, Price, Role, Unit

PARAMETERS = {
    "chat": completion_create_params.CompletionCreateParamsStreaming,
    "responses": response_create_params.ResponseCreateParamsStreaming,
    "embeddings": embedding_create_params.EmbeddingCreateParams,
}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
RESPONSES = {"model": "m", "input": "hi"}
ASKED = {"chat": CHAT, "responses": RESPONSES, "embeddings": {"model": "m", "input": "hi"}}
PNG = "data:image/png;base64," + "A" * 40


def info(**more):
    return ModelInfo(
        "m", Price.flat("USD", Unit.TOKEN, 1, 2), 1000, 1000, ALL_CHAT_APIS | {"embeddings"}, "up", **more
    )


def checked(api, body, **of_model):
    """The body as it may be sent to a model; raises what a client is told."""
    body = copy.deepcopy({**ASKED[api], **body})
    found = look_through(FIELDS[api], body)
    check_others(api, info(**of_model), found.others, body)
    if found.unpriced:
        raise ApiNotSupported("m", found.unpriced, ())
    return body


def typed_dicts(kind, found=None):
    """Every ``TypedDict`` that can stand in a value of this type, by name."""
    found = {} if found is None else found
    for argument in typing.get_args(kind):
        typed_dicts(argument, found)
    if isinstance(kind, type) and hasattr(kind, "__required_keys__") and kind not in found.values():
        found[f"{kind.__module__}.{kind.__name__}"] = kind
        for inner in typing.get_type_hints(kind).values():
            typed_dicts(inner, found)
    return found


def literal(kind, name):
    """The only value that a key of a ``TypedDict`` can have, or the first."""
    inner = typing.get_type_hints(kind).get(name)
    values = [value for value in typing.get_args(inner) if isinstance(value, str)]
    return values[0] if typing.get_origin(inner) is typing.Literal and values else None


# --- the tables and OpenAI's own types -------------------------------------------------------------


@pytest.mark.parametrize("api", FIELDS)
def test_every_field_of_openais_is_in_the_table_and_no_other(api):
    """Spec P1: a release that adds a field fails here until somebody has said what it costs."""
    theirs = set(typing.get_type_hints(PARAMETERS[api]))
    assert theirs - FIELDS[api].keys() == set(), "say in models/codecs/fields.py what these cost"
    assert FIELDS[api].keys() - theirs == set(), "neither OpenAI nor a dialect knows these"


def test_a_dialect_adds_and_takes_nothing_away():
    for name, apis in DIALECTS.items():
        for api, fields in apis.items():
            known = FIELDS[api].keys() & fields.keys()
            assert not known, f"{name}: {known}"
            assert all(field.kind in (Kind.FREE, Kind.PRICED) for field in fields.values())


def test_dialects_are_those_that_settings_can_name():
    annotation = UpstreamSettings.model_fields["dialect"].annotation
    assert set(typing.get_args(annotation)) == DIALECTS.keys()


LEFT_OUT = {
    # what a caller's own tool can be beside a tool of the caller: it says when the provider answers
    "async",
    # a document, or a sound, however it is named
    "audio",
}
OURS_IN_MESSAGES = {
    *("cache_control", "annotations", "parsed", "reasoning_content", "reasoning", "reasoning_details"),
    *("thinking_blocks", "extra_content"),
}
"""What answers have beside OpenAI's own keys, and clients send back."""


def test_messages_have_the_keys_of_openais():
    theirs = {}
    for kind in typed_dicts(PARAMETERS["chat"]).values():
        role = literal(kind, "role")
        if role is not None:
            theirs[role] = set(typing.get_type_hints(kind))
    assert theirs.keys() == CHAT_ROLES.keys()
    for role, keys in theirs.items():
        assert keys - CHAT_ROLES[role].keys() == set(), role
        assert CHAT_ROLES[role].keys() - keys - OURS_IN_MESSAGES <= {"name"}, role


def test_input_items_have_the_keys_of_openais():
    theirs = {}
    roles = set()
    for kind in typed_dicts(typing.get_type_hints(PARAMETERS["responses"])["input"]).values():
        hints = typing.get_type_hints(kind)
        if literal(kind, "type") in RESPONSES_ITEMS:
            theirs.setdefault(literal(kind, "type"), set()).update(hints)
            roles.update(typing.get_args(hints.get("role")))
    assert roles == set(RESPONSES_ROLES)
    assert theirs.keys() == RESPONSES_ITEMS.keys()
    for name, keys in theirs.items():
        assert keys - RESPONSES_ITEMS[name].keys() - LEFT_OUT == set(), name


TOOLS_THAT_WE_KNOW = {
    *("apply_patch", "code_interpreter", "computer", "computer_use_preview", "custom", "file_search"),
    *(
        "function",
        "image_generation",
        "local_shell",
        "mcp",
        "namespace",
        "programmatic_tool_calling",
        "shell",
    ),
    *("tool_search", "web_search", "web_search_preview"),
}


def test_every_type_of_tool_was_thought_of():
    """A new one is refused by name; whether it may pass is to be said here."""
    tools = typing.get_type_hints(PARAMETERS["responses"])["tools"]
    (union,) = typing.get_args(typing.get_args(tools)[0] if len(typing.get_args(tools)) > 1 else tools)
    found = {literal(kind, "type"): kind for kind in typing.get_args(union)}
    assert found.keys() == TOOLS_THAT_WE_KNOW
    for kind in ("function", "custom"):
        keys = set(typing.get_type_hints(found[kind])) - LEFT_OUT
        values = {
            "type": kind,
            "name": "f",
            "defer_loading": False,
            "strict": True,
            "format": {"type": "text"},
        }
        tool = {name: values.get(name) for name in keys}
        assert checked("responses", {"tools": [tool]})["tools"] == [tool]


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_small_objects_have_the_keys_of_openais(api):
    objects = {
        "chat": {"stream_options": {"include_usage", "include_obfuscation"}},
        "responses": {"reasoning": {"effort", "summary", "generate_summary", "context", "mode"}},
    }
    objects["chat"]["prompt_cache_options"] = {"mode", "ttl"}
    objects["responses"]["prompt_cache_options"] = {"mode", "ttl", "prewarm", "comparison_response_id"}
    objects["responses"]["text"] = {"format", "verbosity"}
    hints = typing.get_type_hints(PARAMETERS[api])
    for name, keys in objects[api].items():
        (kind, *_) = typed_dicts(hints[name]).values()
        assert set(typing.get_type_hints(kind)) == keys, name


def test_what_can_be_included_is_what_openai_has():
    (values,) = [
        typing.get_args(literal)
        for literal in _literals(typing.get_type_hints(PARAMETERS["responses"])["include"])
    ]
    assert checked("responses", {"include": list(values)})["include"] == list(values)
    with pytest.raises(ApiNotSupported, match=r"include\[0\]"):
        checked("responses", {"include": ["everything"]})


def _literals(kind):
    if typing.get_origin(kind) is typing.Literal:
        yield kind
    for argument in typing.get_args(kind):
        yield from _literals(argument)


# --- unknown names ---------------------------------------------------------------------------------

NAMES = sorted({name for fields in FIELDS.values() for name in fields})
KELVIN, LONG_S = "\u212a", "\u017f"


def disguised(name):
    return st.sampled_from(
        [
            name.upper(),
            name.title(),
            name.capitalize(),
            name[:-1] + name[-1].upper(),
            name.replace("k", KELVIN, 1),
            name.replace("s", LONG_S, 1),
            "".join(chr(ord(letter) + 0xFEE0) if letter.isalpha() else letter for letter in name),
        ]
    ).filter(lambda other: other != name)


@given(
    st.sampled_from(sorted(FIELDS)),
    st.sampled_from(NAMES).flatmap(disguised),
    st.sampled_from(sorted(DIALECTS)),
)
def test_no_twin_of_a_field_passes(api, name, dialect):
    """Spec P1: servers that ignore case take the twin for the field, and the last one wins."""
    for value in (None, "dear", 50_000, {}):
        with pytest.raises(FieldNotSupported) as caught:
            checked(api, {name: value}, dialect=dialect)
        assert caught.value.param == name
        assert str(caught.value).startswith(f"Unrecognized request argument supplied: {name}.")
        assert twin_of(name) in caught.value.remedy


@given(st.sampled_from(sorted(FIELDS)), st.text(max_size=20), st.sampled_from(sorted(DIALECTS)))
def test_no_unknown_name_passes(api, name, dialect):
    known = FIELDS[api].keys() | DIALECTS[dialect].get(api, {}).keys()
    if name in known:
        return
    with pytest.raises(FieldNotSupported) as caught:
        checked(api, {name: None}, dialect=dialect)
    assert caught.value.param == name
    assert checked(api, {name: 1}, allow_fields=(name,))[name] == 1


def test_names_are_told_as_far_as_anybody_reads():
    with pytest.raises(FieldNotSupported) as caught:
        checked("chat", {"x" * 100_000: 1})
    assert len(str(caught.value)) < 400
    with pytest.raises(FieldNotSupported) as caught:
        checked("chat", {"tools": [{"type": "function", "function": {"name": "f"}, "y" * 100_000: 1}]})
    assert len(str(caught.value)) < 400


def test_any_number_of_fields_is_looked_through():
    with pytest.raises(FieldNotSupported, match="x0"):
        checked("chat", {f"x{number}": number for number in range(100_000)})


# --- what may not pass -----------------------------------------------------------------------------

FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
FLAT = {"type": "function", "name": "f", "parameters": {"type": "object"}}


def said(*parts, role="user"):
    return {"messages": [{"role": role, "content": list(parts)}]}


REFUSED = {
    "chat": [
        ({"models": ["dear"]}, "models"),
        ({"fallbacks": ["dear"]}, "fallbacks"),
        ({"extra_body": {"model": "dear"}}, "extra_body"),
        ({"best_of": 4}, "best_of"),
        ({"plugins": []}, "plugins"),
        ({"mock_response": None}, "mock_response"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"web_search_options": {"search_context_size": "high"}}, "web_search_options"),
        ({"audio": False}, "audio"),
        ({"prediction": ""}, "prediction"),
        ({"moderation": {}}, "moderation"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"modalities": "text"}, "modalities"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"service_tier": "AUTO"}, "service_tier"),
        ({"prompt_cache_options": {"ttl": "12h"}}, "prompt_cache_options.ttl"),
        ({"prompt_cache_options": {"prewarm": True}}, "prompt_cache_options.prewarm"),
        ({"metadata": {"tags": ["cheap"]}}, "metadata.tags"),
        ({"metadata": ["a"]}, "metadata"),
        ({"stream_options": {"include_usage": True, "x": 1}}, "stream_options.x"),
        ({"stream_options": [True]}, "stream_options"),
        ({"stream_options": {"Include_Usage": True}}, "stream_options.Include_Usage"),
        ({"response_format": {"type": "json_object", "x": 1}}, "response_format.x"),
        ({"response_format": {"type": "grammar", "grammar": "x"}}, "grammar"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "s", "x": 1}}}, "json_schema.x"),
        ({"response_format": "json"}, "response_format"),
        ({"tools": {}}, "tools"),
        ({"tools": [FUNCTION, None]}, r"tools\[1\]"),
        ({"tools": [["function"]]}, r"tools\[0\]"),
        ({"tools": [{"web_search": {"enable": True}}]}, "web_search"),
        ({"tools": [{"codeExecution": {}}]}, "codeExecution"),
        ({"tools": [{"type": None, "retrieval": {}}]}, "retrieval"),
        ({"tools": [{"type": "web_search"}]}, "web_search"),
        ({"tools": [{"type": "FUNCTION", "function": {"name": "f"}}]}, "FUNCTION"),
        ({"tools": [{"type": ["function"]}]}, "function"),
        ({"tools": [FUNCTION | {"web_search": {}}]}, r"tools\[0\].web_search"),
        ({"tools": [FUNCTION | {"web_search": None}]}, r"tools\[0\].web_search"),
        ({"tools": [{"type": "function", "function": {"name": "f", "url": "x"}}]}, r"function.url"),
        ({"tools": [FLAT]}, r"tools\[0\].name"),
        ({"functions": [{"name": "f", "type": "web_search"}]}, r"functions\[0\].type"),
        ({"functions": "f"}, "functions"),
        ({"tool_choice": "web_search"}, "tool_choice"),
        ({"tool_choice": {"type": "web_search"}}, "web_search"),
        ({"tool_choice": {"function": {"name": "f"}}}, "tool_choice"),
        ({"tool_choice": 1}, "tool_choice"),
        ({"messages": "hi"}, "messages"),
        ({"messages": {"0": {"role": "user"}}}, "messages"),
        ({"messages": [{"content": "hi"}]}, r"messages\[0\]"),
        ({"messages": [{"role": "cache", "content": "tag=x"}]}, "cache"),
        ({"messages": [{"role": ["user"], "content": "hi"}]}, r"messages\[0\]"),
        ({"messages": [{"role": "user", "content": "hi", "file_ids": ["x"]}]}, r"messages\[0\].file_ids"),
        ({"messages": [{"role": "user", "content": {"type": "text"}}]}, r"messages\[0\].content"),
        ({"messages": [{"role": "user", "content": 7}]}, r"messages\[0\].content"),
        ({"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]}, r"messages\[0\].audio"),
        ({"messages": [{"role": "user", "audio": {"id": "audio_1"}}]}, r"messages\[0\].audio"),
        (said("hi"), r"messages\[0\].content\[0\]"),
        (said({"text": "hi"}), r"messages\[0\].content\[0\]"),
        (said({"type": "text", "text": {"a": "hi"}}), r"content\[0\].text"),
        (said({"type": "file", "file": {"file_id": "x"}}), "file"),
        (said({"type": "input_audio", "input_audio": {}}), "input_audio"),
        (said({"type": "video_url", "video_url": {"url": "https://x"}}), "video_url"),
        (said({"type": "text", "text": "hi", "file": {}}), r"content\[0\].file"),
        (said({"type": "image_url", "image_url": PNG, "file": {"file_id": "x"}}), r"content\[0\].file"),
        (said({"type": "image_url", "image_url": {"url": PNG, "max_pixels": 1}}), "max_pixels"),
        (said({"type": "image_url", "image_url": {"url": PNG, "detail": "HIGH"}}), "detail"),
    ],
    "responses": [
        ({"background": True}, "background"),
        ({"background": 0}, "background"),
        ({"previous_response_id": ""}, "previous_response_id"),
        ({"conversation": {}}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"context_management": []}, "context_management"),
        ({"access_programs": {}}, "access_programs"),
        ({"image": {"context_compression": "disabled"}}, "image"),
        ({"max_tokens": 9}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
        ({"reasoning": {"effort": "low", "max_tokens": 9}}, "reasoning.max_tokens"),
        ({"text": {"format": {"type": "text", "x": 1}}}, "text.format.x"),
        ({"instructions": [{"type": "input_file"}]}, "instructions"),
        ({"input": {"role": "user"}}, "input"),
        ({"input": [{"id": "msg_1"}]}, r"input\[0\]"),
        ({"input": [{"type": None, "id": "msg_1"}]}, r"input\[0\]"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "item_reference"),
        ({"input": [{"type": "web_search_call", "id": "x"}]}, "web_search_call"),
        ({"input": [{"type": "message", "role": "tool", "content": "a"}]}, "tool"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}]}, "input_file"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "x"}]}]}, "file_id"),
        (
            {
                "input": [
                    {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_audio"}]}
                ]
            },
            "input_audio",
        ),
        ({"tools": [{"type": "web_search"}]}, "web_search"),
        ({"tools": [{"type": "namespace", "name": "n", "tools": []}]}, "namespace"),
        ({"tools": [{"type": "local_shell"}]}, "local_shell"),
        ({"tools": [{"type": "mcp", "server_url": "https://x"}]}, "mcp"),
        ({"tools": [FLAT | {"server_url": "https://x"}]}, "server_url"),
        ({"tool_choice": {"type": "mcp", "server_label": "x"}}, "mcp"),
        (
            {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}]}},
            "mcp",
        ),
    ],
    "embeddings": [({"input_type": "query"}, "input_type"), ({"n": 3}, "n"), ({"Input": "x"}, "Input")],
}


@pytest.mark.parametrize(
    ("api", "body", "named"),
    [(api, body, named) for api, cases in REFUSED.items() for body, named in cases],
    ids=lambda value: str(value)[:60],
)
def test_what_could_change_the_bill_is_refused_by_name(api, body, named):
    """Spec P1: presence counts, not truth."""
    with pytest.raises(InvalidRequestError, match=named):
        checked(api, body)


FREE_BODIES = {
    "chat": [
        {
            "messages": [
                {"role": role, "content": "hi"} for role in ("system", "developer", "user", "function")
            ]
        },
        said({"type": "text", "text": "hi", "cache_control": {"type": "ephemeral", "ttl": "1h"}}),
        said({"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}),
        said({"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}),
        said({"type": "image_url", "image_url": PNG.replace("png", "JPEG")}),
        said({"type": "image_url", "image_url": "data:image/png;base64,not base64 at all"}),
        said({"type": "image_url", "image_url": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg=="}),
        said({"type": "image_url", "image_url": {"url": "https://example.org/a.b/picture?as=pdf"}}),
        said({"type": "image_url", "image_url": {"url": "HTTP://example.org/picture.PNG"}}),
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": None,
                    "refusal": None,
                    "audio": None,
                    "annotations": [],
                    "function_call": None,
                    "reasoning_content": "Hm.",
                    "reasoning_details": [{"type": "reasoning.text", "text": "Hm.", "index": 0}],
                    "thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "x"}],
                    "tool_calls": [
                        {
                            "id": "c",
                            "type": "function",
                            "function": {"name": "f", "arguments": "{}"},
                            "extra_content": {"google": {"thought_signature": "x"}},
                        },
                        {"id": "d", "type": "custom", "custom": {"name": "g", "input": "x"}},
                    ],
                },
                {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "8"}]},
            ]
        },
        {"tools": [FUNCTION, {"type": "custom", "custom": {"name": "g", "format": {"type": "text"}}}]},
        {"tools": [FUNCTION | {"cache_control": {"type": "ephemeral"}}]},
        {"tool_choice": {"type": "function", "function": {"name": "f"}}},
        {
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
            }
        },
        {"functions": [{"name": "f", "description": "F", "parameters": {}}], "function_call": {"name": "f"}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"x": [1]}}}},
        {"modalities": ["text"], "service_tier": "flex", "prompt_cache_retention": "24h"},
        {"logit_bias": {"1": 2}, "metadata": {"a": "b"}, "stop": None, "seed": 1},
    ],
    "responses": [
        {"background": False, "service_tier": "default", "include": ["reasoning.encrypted_content"]},
        {"reasoning": {"effort": "low", "summary": "auto", "mode": "standard"}},
        {"tools": [FLAT, {"type": "custom", "name": "g", "format": {"type": "text"}}]},
        {
            "tool_choice": {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "f"}],
            }
        },
        {
            "input": [
                {"role": "developer", "content": "Be kind."},
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
                {"role": "user", "content": [{"type": "input_image", "image_url": PNG, "file_id": None}]},
                {
                    "type": "message",
                    "id": "msg_1",
                    "status": "completed",
                    "role": "assistant",
                    "phase": None,
                    "content": [{"type": "output_text", "text": "a", "annotations": [], "logprobs": []}],
                },
                {
                    "type": "reasoning",
                    "id": "rs_1",
                    "summary": [{"type": "summary_text", "text": "Hm."}],
                    "encrypted_content": "x",
                },
                {"type": "function_call", "id": "fc", "call_id": "c", "name": "f", "arguments": "{}"},
                {
                    "type": "function_call_output",
                    "call_id": "c",
                    "output": [{"type": "input_image", "image_url": PNG, "detail": "original"}],
                },
                {"type": "custom_tool_call", "call_id": "d", "name": "g", "input": "x"},
                {"type": "custom_tool_call_output", "call_id": "d", "output": "y"},
            ]
        },
    ],
    "embeddings": [{"input": ["a", "b"], "encoding_format": "float", "dimensions": 3, "user": "u"}],
}


@pytest.mark.parametrize(
    ("api", "body"),
    [(api, body) for api, bodies in FREE_BODIES.items() for body in bodies],
    ids=lambda value: str(value)[:60],
)
def test_what_clients_send_every_day_passes_as_it_is(api, body):
    """Spec P1: nothing that could not change the bill is refused, or changed."""
    assert checked(api, body) == {**ASKED[api], **body}


@pytest.mark.parametrize("api", FIELDS)
def test_null_is_as_good_as_absent(api):
    nulls = dict.fromkeys(FIELDS[api].keys() - ASKED[api].keys())
    sent = checked(api, nulls)
    assert {name for name in nulls if name not in sent} == {
        name for name, field in FIELDS[api].items() if field.kind is Kind.REFUSED
    }, "a provider for whom presence counts sees none of them"


# --- images ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "data:application/pdf;base64,AAAA",
        "data:APPLICATION/PDF;base64,AAAA",
        "data:video/mp4;base64,AAAA",
        "data:text/plain,word",
        "data:,word",
        "data:image/svg+xml;base64,AAAA",
        "data:image/png,AAAA",
        "data:image/png;base64,JVBERi0xLjQK" + "A" * 40,
        "data:image/webp;base64,UEsDBBQABgAI",
        "data:image/png;base64,AAAAIGZ0eXBpc29t",
        "data:image/png;charset=utf-8;base64,AAAA",
        " data:application/pdf;base64,AAAA",
        "DATA:application/pdf;base64,AAAA",
        "gs://bucket/film.mp4",
        "file:///etc/passwd",
        "ftp://x/a.png",
        "https:a.png",
        "https://example.org/film.mp4",
        "https://example.org/paper.PDF?x=1#p",
        "https://example.org/page.html",
        "https://[",
        "a.png",
        "",
        None,
        7,
        ["https://example.org/a.png"],
    ],
)
def test_what_is_no_image_is_refused(url):
    """Spec P11: a hold for an image does not pay for a document."""
    places = [
        ("chat", said({"type": "image_url", "image_url": {"url": url}})),
        ("chat", said({"type": "image_url", "image_url": url})),
        ("responses", {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": url}]}]}),
    ]
    for api, body in places:
        if url is None:
            checked(api, body)  # there is none, so the provider says so
            continue
        with pytest.raises(InvalidRequestError, match="image_url"):
            checked(api, body)


# --- dialects --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "field", "value"),
    [
        ("vllm", "top_k", 5),
        ("vllm", "guided_json", {"type": "object"}),
        ("vllm", "chat_template_kwargs", {"enable_thinking": False}),
        ("ollama", "think", True),
        ("ollama", "think", "low"),
        ("ollama", "options", {"top_k": 5}),
        ("ollama", "reasoning", {"effort": "low"}),
        ("litellm", "thinking", {"type": "enabled", "budget_tokens": 1024}),
        ("openrouter", "reasoning", {"effort": "low", "exclude": True}),
        ("openrouter", "usage", {"include": True}),
        ("openrouter", "transforms", ["middle-out"]),
        ("gemini", "extra_body", {"google": {"thinking_config": {"thinking_budget": 0}}}),
    ],
)
def test_a_dialect_lets_its_own_fields_pass(dialect, field, value):
    assert checked("chat", {field: value}, dialect=dialect)[field] == value
    assert checked("chat", {field: None}, dialect=dialect)[field] is None
    for other in ("openai", "azure"):
        with pytest.raises(FieldNotSupported):
            checked("chat", {field: value}, dialect=other)
    with pytest.raises(FieldNotSupported):
        checked("responses", {f"{field}_": value}, dialect=dialect)


@pytest.mark.parametrize(
    ("dialect", "field", "value"),
    [
        ("vllm", "chat_template", "{{ messages }}"),
        ("vllm", "chat_template_kwargs", {"chat_template": "x"}),
        ("vllm", "chat_template_kwargs", {"enable_thinking": "x" * 9}),
        ("vllm", "chat_template_kwargs", [1]),
        ("vllm", "use_beam_search", True),
        ("vllm", "best_of", 4),
        ("vllm", "documents", []),
        ("vllm", "priority", -1),
        ("ollama", "options", {"num_predict": -1}),
        ("ollama", "options", {"Num_Predict": -1}),
        ("ollama", "keep_alive", -1),
        ("litellm", "api_base", "http://x"),
        ("litellm", "fallbacks", ["dear"]),
        ("litellm", "model_list", []),
        ("litellm", "num_retries", 9),
        ("litellm", "drop_params", True),
        ("openrouter", "models", ["dear"]),
        ("openrouter", "route", "fallback"),
        ("openrouter", "plugins", [{"id": "web"}]),
        ("openrouter", "provider", {"sort": "throughput"}),
        ("openrouter", "preset", "x"),
        ("openrouter", "transforms", ["other"]),
        ("gemini", "extra_body", {"google": {"cached_content": "x"}}),
        ("gemini", "extra_body", {"model": "dear"}),
        ("azure", "data_sources", []),
        ("azure", "audio", {"voice": "x"}),
    ],
)
def test_a_dialect_lets_nothing_pass_that_changes_the_bill(dialect, field, value):
    with pytest.raises(InvalidRequestError, match=field):
        checked("chat", {field: value}, dialect=dialect)


def test_an_operator_may_let_more_pass():
    assert checked("chat", {"safe_prompt": True}, allow_fields=("safe_prompt",))["safe_prompt"] is True
    assert checked("chat", {"web_search_options": {}}, allow_fields=("web_search_options",))
    with pytest.raises(FieldNotSupported):
        checked("chat", {"Safe_Prompt": True}, allow_fields=("safe_prompt",))


@pytest.mark.parametrize("name", ["Model", "MAX_TOKENS", "me\u017fsages", "Top_K"])
def test_an_operator_cannot_let_a_twin_pass(name):
    upstreams = {"up": {"base_url": "http://127.0.0.1:9/v1", "models": ["m"], "allow_fields": [name]}}
    with pytest.raises(ConfigError, match="allow_fields"):
        Catalogue(Settings(upstreams=upstreams))


def test_the_settings_of_an_upstream_reach_its_models():
    more = {"dialect": "vllm", "allow_fields": ["x"]}
    prices = {"m": {"input_per_million": "1", "output_per_million": "1"}}
    upstreams = {"up": {"base_url": "http://127.0.0.1:9/v1", "models": ["m"], **more}}
    found = Catalogue(Settings(upstreams=upstreams, prices=prices)).info("m")
    assert (found.dialect, found.allow_fields) == ("vllm", ("x",))
    with pytest.raises(ConfigError, match="dialect"):
        Settings(upstreams={"up": upstreams["up"] | {"dialect": "sglang"}})


# --- libraries -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "extra",
    [
        {"models": ["dear"]},
        {"extra_body": {"model": "dear"}},
        {"web_search_options": {}},
        {"Max_Tokens": 9},
        {"tools": [{"codeExecution": {}}]},
        {"top_k": 5},
        {"n": 2},
        {"7": 1},
    ],
)
def test_the_librarys_own_requests_go_by_the_same_tables(extra):
    """Spec P1."""
    request = ChatRequest("m", (Message(Role.USER, "hi"),), extra=extra)
    with pytest.raises(InvalidRequestError, match=next(iter(extra))):
        check_apis(info(), request)


def test_a_librarys_request_may_have_what_the_dialect_knows():
    request = ChatRequest("m", (Message(Role.USER, "hi"),), extra={"top_k": 5, "seed": 1})
    check_apis(info(dialect="vllm"), request)
    check_extra(request.extra)
    for name in ("messages", "tools", "max_output_tokens", "instructions", "stream"):
        with pytest.raises(InvalidRequestError, match=name):
            check_extra({name: None})


# --- whatever else ---------------------------------------------------------------------------------

KEYS = st.sampled_from(
    [
        *(
            "type",
            "role",
            "content",
            "text",
            "function",
            "name",
            "image_url",
            "url",
            "detail",
            "tools",
            "format",
        ),
        *("parameters", "output", "arguments", "call_id", "tool_calls", "summary", "mode", "effort", "file"),
    ]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.sampled_from(["function", "text", "message", "user", "image_url", "input_image", "auto", PNG, ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=16,
)


@given(st.sampled_from(sorted(FIELDS)), st.data())
def test_whatever_stands_in_a_field_is_checked_or_refused(api, data):
    """Nothing but an error that names the field, and nothing that a key of no list passes through."""
    name = data.draw(st.sampled_from(sorted(FIELDS[api])))
    value = data.draw(VALUES)
    try:
        sent = checked(api, {name: value})
    except InvalidRequestError as error:
        told = str(error)
    else:
        told = name if name in sent else f"{name} was null and refused"
    assert name in told or " of type " in told


@given(st.sampled_from([(api, body) for api, bodies in FREE_BODIES.items() for body in bodies]), st.data())
def test_a_key_more_in_any_object_is_refused(case, data):
    """Except where a caller's own names stand: schemas, arguments, metadata, biases."""
    api, body = case
    body = copy.deepcopy({**ASKED[api], **body})
    places = [place for place in objects_in(body) if not place[1] & OWN_NAMES]
    place, _ = data.draw(st.sampled_from(places))
    place["x_unknown"] = data.draw(st.sampled_from([None, {}, True, "x"]))
    with pytest.raises(FieldNotSupported, match="x_unknown"):
        checked(api, body)


OWN_NAMES = {"parameters", "schema", "metadata", "logit_bias"}


def objects_in(value, names=frozenset()):
    if isinstance(value, dict):
        yield value, names
        for name, inner in value.items():
            yield from objects_in(inner, names | {name})
    elif isinstance(value, list):
        for inner in value:
            yield from objects_in(inner, names)
