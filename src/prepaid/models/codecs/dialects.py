"""The fields that common servers know besides OpenAI's, and whether a model's upstream may be sent them.

A dialect has only what cannot change which model answers, where, from what, or how much may be generated
beyond the limit. An operator lists other fields to pass on in the upstream's ``allow_fields``.

Sources: the request types of vLLM and Ollama; the references of LiteLLM, OpenRouter, Gemini and Azure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from prepaid.errors import FieldNotSupported
from prepaid.models.codecs.fields import FIELDS, ApiName, Field, Fields, Kind, folded
from prepaid.models.codecs.shapes import (
    FREE,
    Check,
    Mistake,
    Uncovered,
    Unpriced,
    each,
    flag,
    number,
    one_of,
    record,
    text,
    text_or,
)
from prepaid.records import ModelInfo

__all__ = ["DIALECTS", "check_others", "dialect_fields", "twin_of"]


def _fields(free: Iterable[str] = (), **checked: Check) -> Fields:
    return {name: Field(Kind.FREE) for name in free} | {
        name: Field(Kind.PRICED, check) for name, check in checked.items()
    }


_VLLM: Final = _fields(
    (
        *("top_k", "min_p", "repetition_penalty", "length_penalty", "allowed_token_ids", "bad_words"),
        *("stop_token_ids", "include_stop_str_in_output", "ignore_eos", "min_tokens"),
        *("skip_special_tokens", "spaces_between_special_tokens", "truncate_prompt_tokens"),
        *("add_generation_prompt", "continue_final_message", "add_special_tokens", "cache_salt"),
        *("guided_json", "guided_regex", "guided_choice", "guided_grammar"),
        *("guided_decoding_backend", "guided_whitespace_pattern", "structured_outputs"),
        "thinking_token_budget",
    ),
    # Others reach the template, which decides how long the prompt is; one of them is a template.
    chat_template_kwargs=record(
        {
            "enable_thinking": flag,
            "thinking": flag,
            "preserve_thinking": flag,
            "clear_thinking": flag,
            "thinking_budget": number,
            "reasoning_effort": text,
        }
    ),
)
"""Not ``chat_template`` and ``documents`` (input that is not counted here), ``use_beam_search``, ``echo``,
``prompt_logprobs``, ``priority``, ``mm_processor_kwargs`` (the size of images)."""

_OLLAMA: Final = _fields(
    reasoning=record({"effort": text}),
    think=text_or(flag),
    options=record(
        dict.fromkeys(
            (
                *("temperature", "top_k", "top_p", "min_p", "typical_p", "tfs_z", "seed", "stop"),
                *("repeat_last_n", "repeat_penalty", "presence_penalty", "frequency_penalty"),
                *("mirostat", "mirostat_eta", "mirostat_tau", "penalize_newline"),
            ),
            FREE,
        )
    ),
)
"""Not ``keep_alive``, nor the options ``num_predict`` (the limit) and ``num_ctx`` (it reloads the model)."""

_LITELLM: Final = _fields(
    ("top_k", "litellm_trace_id", "litellm_session_id"),
    thinking=record({"type": one_of("enabled", "disabled", "adaptive"), "budget_tokens": number}),
)
"""Not ``tags`` (they choose a deployment), ``num_retries``, ``drop_params`` (it may drop the limit), and
nothing that names a model, a key or an address."""

_OPENROUTER: Final = _fields(
    ("top_k", "top_a", "min_p", "repetition_penalty"),
    include_reasoning=flag,
    structured_outputs=flag,
    reasoning=record({"effort": text, "max_tokens": number, "exclude": flag, "enabled": flag}),
    transforms=each(one_of("middle-out")),
    usage=record({"include": flag}),
)
"""Not ``models``, ``route``, ``preset``, ``plugins``, nor ``provider``: hosts of a model differ in price."""

_GEMINI: Final = _fields(
    extra_body=record(
        {
            "google": record(
                {
                    "thinking_config": record(
                        {"thinking_budget": number, "thinking_level": text, "include_thoughts": flag}
                    )
                }
            )
        }
    ),
)
"""Not ``cached_content``: it is input that is not counted here."""

DIALECTS: Final[Mapping[str, Mapping[ApiName, Fields]]] = {
    "openai": {},
    "azure": {},  # ``data_sources`` adds input that is not counted here; there are no others
    "gemini": {"chat": _GEMINI},
    "litellm": {"chat": _LITELLM},
    "ollama": {"chat": _OLLAMA},
    "openrouter": {"chat": _OPENROUTER},
    "vllm": {"chat": _VLLM, "embeddings": _fields(("truncate_prompt_tokens", "add_special_tokens"))},
}
"""The fields that a server knows in addition, by API."""

_KNOWN: Final[Mapping[str, str]] = {
    folded(name): name
    for fields in (*FIELDS.values(), *(more for dialect in DIALECTS.values() for more in dialect.values()))
    for name in fields
}


def twin_of(name: str) -> str | None:
    """The other field, if any, that a server which ignores case takes ``name`` for."""
    known = _KNOWN.get(folded(name))
    return None if known == name else known


def dialect_fields(info: ModelInfo, api: ApiName) -> Fields:
    """The fields that the server behind a model knows besides OpenAI's."""
    return DIALECTS.get(info.dialect, {}).get(api, {})


def check_others(
    api: ApiName,
    info: ModelInfo,
    others: Iterable[str],
    body: Mapping[str, Any],
    fields: Fields | None = None,
) -> None:
    """Refuse those of ``others`` that a model's upstream may not be sent.

    ``fields`` is the table in which they were looked up, if that is not the API's own.

    Raises:
        ApiNotSupported: OpenAI knows it, and no price covers it.
        FieldNotSupported: it is neither OpenAI's, nor the dialect's, nor in ``allow_fields``.
        InvalidRequestError: the dialect knows it with another value.
    """
    table = FIELDS[api] if fields is None else fields
    known = dialect_fields(info, api)
    for name in others:
        if name in info.allow_fields:
            continue
        field = known.get(name)
        if field is not None:
            _check_value(info, name, field, body[name])
        elif name in table:
            raise Uncovered(name, name).refused(info)
        else:
            raise FieldNotSupported(name, twin_of(name))


def _check_value(info: ModelInfo, name: str, field: Field, value: Any) -> None:
    if value is None or field.check is None:
        return
    try:
        field.check(value)
    except Unpriced as mistake:
        mistake.inside(name)
        raise mistake.uncovered().refused(info) from None
    except Mistake as mistake:
        mistake.inside(name)
        raise mistake.told() from None
