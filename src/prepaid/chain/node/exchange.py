"""Signed answers between nodes: each serves its own over HTTP, and gathers those of its peers.

What a peer serves is believed only as far as its operator's signature goes, which is of one answer to one
request on one contract, as the contract will check again. A peer that lies, sleeps or sends rubbish is left
out. Only signatures are served: nobody can copy an answer from them.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

import aiohttp
from aiohttp import web
from eth_account import Account
from eth_account.messages import encode_typed_data

from prepaid.chain.ai import AiContract, Seal
from prepaid.chain.ai.answers import typed_message
from prepaid.chain.node.journal import Journal
from prepaid.chain.rpc import place_of
from prepaid.chain.values import Answer
from prepaid.errors import PrepaidError

__all__ = ["Peers", "Seals", "signer_of"]

_PATH: Final = "/seals/{chain_id}/{contract}/{request_id}"
_REPLY_BYTES_MAX: Final = 4_096
_SECONDS_MAX: Final = 5.0

_logger = logging.getLogger("prepaid.node")


class Seals:
    """Serves the seals of answers that were given; of requests that took one node's word there are none."""

    def __init__(self, journal: Journal, node: str, served: Mapping[tuple[int, str], AiContract]) -> None:
        self._journal = journal
        self._node = node
        self._served = served

    def routes(self) -> list[web.RouteDef]:
        """For the node's server."""
        return [web.get(_PATH, self._seal)]

    async def _seal(self, request: web.Request) -> web.Response:
        asked = request.match_info
        here = (int(asked["chain_id"]) if asked["chain_id"].isdecimal() else 0, asked["contract"])
        if here not in self._served:
            raise web.HTTPNotFound
        entry = await self._journal.page(*here).find(asked["request_id"])
        if entry is None or entry.answer is None or entry.request.terms.quorum == 1:
            raise web.HTTPNotFound
        seal = await self._served[here].seal(entry.request.request_id, self._node, entry.answer)
        return web.json_response({"node_id": seal.node_id, "signature": f"0x{seal.signature.hex()}"})


class Peers:
    """The other nodes' servers."""

    def __init__(self, ai: AiContract, urls: Sequence[str]) -> None:
        self._ai = ai
        self._urls = urls
        self._operators: dict[str, str] = {}

    async def seals(self, request_id: str, answer: Answer, trusted: Sequence[str]) -> list[Seal]:
        """The valid seals of peers who gave this very answer, one for each node."""
        async with aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=_SECONDS_MAX), cookie_jar=aiohttp.DummyCookieJar()
        ) as client:
            asked = (self._asked(client, url, request_id) for url in self._urls)
            given = [seal for seal in await asyncio.gather(*asked) if seal is not None]
        found = {}
        for seal in given:
            if await self._is_valid(seal, request_id, answer, trusted):
                found[seal.node_id] = seal
        return list(found.values())

    async def _asked(self, client: aiohttp.ClientSession, url: str, request_id: str) -> Seal | None:
        path = _PATH.format(
            chain_id=self._ai.contract.chain.chain_id, contract=self._ai.address, request_id=request_id
        )
        try:
            async with client.get(f"{url}{path}", allow_redirects=False) as reply:
                content = await reply.content.read(_REPLY_BYTES_MAX)
            if reply.status != web.HTTPOk.status_code:
                return None
            told: Any = json.loads(content)
            return Seal(str(told["node_id"]).lower(), bytes.fromhex(told["signature"].removeprefix("0x")))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            told = {"peer": place_of(url), "kind": type(error).__name__}
            _logger.debug("peer does not answer", extra=told)
        except (ValueError, KeyError, TypeError, AttributeError):
            _logger.warning("peer serves no seal", extra={"peer": place_of(url)})
        return None

    async def _is_valid(self, seal: Seal, request_id: str, answer: Answer, trusted: Sequence[str]) -> bool:
        """Whether the contract would take it: it refuses all seals for a single wrong one."""
        try:
            node = await self._ai.node_of(seal.node_id)
        except PrepaidError:
            return False
        if seal.node_id not in trusted and node.namespace_id not in trusted:
            return False
        return signer_of(self._ai, seal, request_id, answer) == node.operator


def signer_of(ai: AiContract, seal: Seal, request_id: str, answer: Answer) -> str | None:
    """Whose signature of this answer it is; operators that are contracts cannot be told by this."""
    status, message, response = answer.words()
    told = {
        "requestId": bytes.fromhex(request_id[2:]),
        "status": status,
        "message": message,
        "response": response,
    }
    signable = encode_typed_data(full_message=typed_message(ai.contract, "Answer", told))
    try:
        return str(Account.recover_message(signable, signature=seal.signature))
    except Exception:  # noqa: BLE001 -- by what is wrong, a signature fails in many ways
        return None
