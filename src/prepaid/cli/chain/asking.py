"""``prepaid chain request``, ``response``, ``expire``: ask, look, end what nobody answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prepaid.cli.chain.connecting import BLOCKS_BACK, BlocksBack, on_chain
from prepaid.cli.chain.sessions import ChainSessionId, token_fields
from prepaid.cli.options import AsJson, examples
from prepaid.cli.output import console, pairs, plain, when, write_json
from prepaid.cli.running import refusals_told
from prepaid.money import Currency, format_amount

if TYPE_CHECKING:
    from prepaid.chain.ai import AiContract, Request, Settled
    from prepaid.chain.values import DtnRequest
    from prepaid.routing import Routing

__all__ = ["add_to"]

RequestId = Annotated[
    str, typer.Argument(metavar="REQUEST_ID", help="0x and 64 digits, as request printed it.")
]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    asked = examples(
        'prepaid chain request 9722…0929 "Why is the sky blue?" --model gpt-3.5-turbo',
        'prepaid chain request 9722…0929 "Draw a cat." --by-content-id --node system.node-1',
        'prepaid chain request 0 "Why?" --wait 0 --json',
    )
    app.command(epilog=asked)(request)
    app.command(epilog=examples("prepaid chain response 0x… --wait 60", "prepaid chain response 0x… --json"))(
        response
    )
    app.command(epilog=examples("prepaid chain expire 0x…"))(expire)


@refusals_told
def request(
    session_id: ChainSessionId,
    prompt: Annotated[
        str, typer.Argument(metavar="PROMPT", help="What is asked; each line is one of the prompt's.")
    ],
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Otherwise default_model of the settings.")
    ] = None,
    node: Annotated[
        list[str] | None,
        typer.Option(
            "--node", metavar="NAME", help="Who may answer; repeat for more. Otherwise any system node."
        ),
    ] = None,
    namespace: Annotated[
        list[str] | None,
        typer.Option("--namespace", metavar="NAME", help="Whose nodes may answer; repeat for more."),
    ] = None,
    *,
    by_content_id: Annotated[
        bool, typer.Option("--by-content-id", help="The answer on IPFS, its content id on the chain.")
    ] = False,
    wait: Annotated[
        float, typer.Option("--wait", min=0, metavar="SECONDS", help="For the answer; 0 only asks.")
    ] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Ask at the model's price, wait for the answer, and print it. Session 0 starts one from the deposit."""
    from prepaid.config import Settings

    name = model or Settings().default_model

    async def work(ai: AiContract) -> dict[str, Any]:
        asked = await _question(ai, name, prompt, by_content_id=by_content_id)
        made = await ai.request(session_id, name, _routing(node or [], namespace or []), asked)
        if not wait:
            return _fields(ai, made, None)
        from prepaid.chain.realm import answered_text

        settled = await ai.settled(made, timeout_seconds=wait)
        answered_text(settled)
        return _fields(ai, made, settled)

    _show(on_chain(work), as_json=as_json)


@refusals_told
def response(
    request_id: RequestId,
    wait: Annotated[
        float, typer.Option("--wait", min=0, metavar="SECONDS", help="For the answer, if there is none yet.")
    ] = 0.0,
    blocks_back: BlocksBack = BLOCKS_BACK,
    as_json: AsJson = False,
) -> None:
    """Show what became of a request, whosever it is. Takes no wallet."""

    async def work(ai: AiContract) -> dict[str, Any]:
        from prepaid.errors import ConsensusTimeout

        made = await ai.find_request(request_id, blocks_back=blocks_back)
        try:
            return _fields(ai, made, await ai.settled(made, timeout_seconds=wait))
        except ConsensusTimeout:
            if wait:
                raise
            return _fields(ai, made, None)

    _show(on_chain(work, is_signing=False), as_json=as_json)


@refusals_told
def expire(request_id: RequestId, blocks_back: BlocksBack = BLOCKS_BACK, as_json: AsJson = False) -> None:
    """End a request whose deadline has passed, whosever it is: what it holds is free again."""

    async def work(ai: AiContract) -> dict[str, Any]:
        made = await ai.find_request(request_id, blocks_back=blocks_back)
        await ai.expire(made.encoded_terms)
        return _fields(ai, made, await ai.settled(made))

    _show(on_chain(work), as_json=as_json)


async def _question(ai: AiContract, model: str, prompt: str, *, by_content_id: bool) -> DtnRequest:
    from prepaid.chain.values import CallType, DtnRequest, encode_prompt

    price = await ai.model_of(model)
    fees = (price.fee_per_byte_req, price.fee_per_byte_res, price.total_fee_per_res)
    kind = CallType.IPFS if by_content_id else CallType.DIRECT
    return DtnRequest(encode_prompt(*prompt.split("\n")), *fees, call_type=kind)


def _routing(nodes: list[str], namespaces: list[str]) -> Routing:
    from prepaid.routing import Routing, system_validated_any

    if not nodes and not namespaces:
        return system_validated_any()
    return Routing(trust_namespaces=tuple(namespaces), trusted_nodes=tuple(nodes))


def _fields(ai: AiContract, made: Request, settled: Settled | None) -> dict[str, Any]:
    """A request as it stands; ``text`` where it was answered with text, ``response`` as it was sent."""
    fields = {
        "request_id": made.request_id,
        "session_id": str(made.session_id),
        "status": "PENDING",
        "message": "",
        "text": None,
        "response": "0x",
        "cost": 0,
        "hold": made.hold,
        "deadline": datetime.fromtimestamp(made.terms.deadline, UTC),
    }
    if settled is not None:
        answered = settled.response
        fields |= {
            "status": answered.status.name,
            "message": answered.message,
            "text": _text(settled),
            "response": f"0x{answered.response.hex()}",
            "cost": settled.cost,
        }
    return fields | token_fields(ai.token.currency)


def _text(settled: Settled) -> str | None:
    from prepaid.chain.values import ResponseStatus, decode_text
    from prepaid.errors import InvalidRequestError

    if settled.response.status is not ResponseStatus.SUCCESS:
        return None
    try:
        return decode_text(settled.response.response)
    except InvalidRequestError:
        return None


def _show(fields: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        write_json(fields)
        return
    out, token = console(), Currency(fields["currency"], fields["decimals"])
    told = {"request": fields["request_id"], "session": fields["session_id"], "status": fields["status"]}
    if fields["status"] == "PENDING":
        told |= {"held": format_amount(fields["hold"], token), "deadline": when(fields["deadline"])}
    else:
        told |= {"cost": format_amount(fields["cost"], token)}
    if fields["message"]:
        told["message"] = fields["message"]
    if fields["status"] == "SUCCESS":
        text = fields["response"] if fields["text"] is None else fields["text"]
        out.print(plain(text), soft_wrap=True)
    out.print(pairs(told))
