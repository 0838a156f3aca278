"""``prepaid chain node`` and ``withdraw``: who may answer, and what they have earned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from prepaid.cli.chain.connecting import SinceBlock, on_chain
from prepaid.cli.chain.sessions import token_fields
from prepaid.cli.options import AsJson, examples
from prepaid.cli.output import console, fields_of, pairs, table, write_json
from prepaid.cli.running import refusals_told
from prepaid.money import Currency, format_amount

if TYPE_CHECKING:
    from prepaid.chain.ai import AiContract

__all__ = ["add_to", "app"]

app = typer.Typer(no_args_is_help=True, help="Register nodes on a chain, and list them.")

NodeName = Annotated[str, typer.Argument(metavar="NAMESPACE.NODE", help="The node, such as system.node-1.")]


def add_to(chain: typer.Typer) -> None:
    """Register what is no command of ``node``."""
    told = examples("prepaid chain withdraw ann.node-1", "prepaid chain withdraw ann.node-1 --to 0x… --json")
    chain.command(epilog=told)(withdraw)


@app.command(
    epilog=examples(
        "prepaid chain node register ann.node-1 --new-namespace",
        "prepaid chain node register ann.node-2 --operator 0x…",
    )
)
@refusals_told
def register(
    name: NodeName,
    operator: Annotated[
        str | None,
        typer.Option("--operator", metavar="ADDRESS", help="Who answers; the wallet by default."),
    ] = None,
    *,
    new_namespace: Annotated[
        bool, typer.Option("--new-namespace", help="Take the namespace for the wallet first, for good.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Register a node in a namespace of the wallet's; `prepaid node` runs it."""
    namespace, _, node = name.partition(".")
    if not namespace or not node:
        raise typer.BadParameter(f"{name!r} is not NAMESPACE.NODE, such as ann.node-1.")

    async def work(ai: AiContract) -> dict[str, Any]:
        if new_namespace:
            await ai.register_namespace(namespace)
        node_id = await ai.register_node(namespace, node, operator)
        return {"name": name, "node_id": node_id, "operator": (await ai.node_of(node_id)).operator}

    made = on_chain(work)
    if as_json:
        write_json(made)
    else:
        console().print(pairs(made))


@app.command(
    name="list", epilog=examples("prepaid chain node list", "prepaid chain node list --since-block 21000000")
)
@refusals_told
def list_(since_block: SinceBlock = 0, as_json: AsJson = False) -> None:
    """List nodes, and what waits for their operators. Takes no wallet."""

    async def work(ai: AiContract) -> list[dict[str, Any]]:
        from prepaid.chain.listing import nodes_since

        found = await nodes_since(ai, since_block)
        return [fields_of(node) | token_fields(ai.token.currency) for node in found]

    found = on_chain(work, is_signing=False)
    if as_json:
        write_json(found)
    elif not found:
        console().print("No nodes.")
    else:
        rows = [
            (
                each["name"],
                "retired" if each["is_retired"] else "registered",
                format_amount(each["earned"], _token(each)),
                each["operator"],
            )
            for each in found
        ]
        console().print(table(("node", "state", ">earned", "operator"), rows))


@refusals_told
def withdraw(
    name: NodeName,
    to: Annotated[
        str | None, typer.Option("--to", metavar="ADDRESS", help="Who is paid; the wallet by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Have a node's earnings paid; the wallet must be its operator's."""

    async def work(ai: AiContract) -> dict[str, Any]:
        amount = await ai.withdraw(name, to)
        paid = {"node": name, "to": to or ai.contract.caller, "amount": amount}
        return paid | token_fields(ai.token.currency)

    paid = on_chain(work)
    if as_json:
        write_json(paid)
    else:
        console().print(f"{format_amount(paid['amount'], _token(paid))} paid to {paid['to']}.")


def _token(fields: dict[str, Any]) -> Currency:
    return Currency(fields["currency"], fields["decimals"])
