"""Spec D1, D8: four gateways that know nothing of each other, as on four hosts, on one PostgreSQL and one session."""

from __future__ import annotations

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from gateway.proof.books import assert_refunded, settled
from gateway.proof.bursts import CLIENTS, burst
from gateway.proof.conftest import SETTINGS
from gateway.running import Gateway

GATEWAYS = 4
PAID = 50
TEN = "w" + " word" * 9


@pytest.fixture
def gateways(provider, postgres, tmp_path):
    url = postgres.new()
    folders = [tmp_path / str(number) for number in range(GATEWAYS)]
    for folder in folders:
        folder.mkdir()
    toml = SETTINGS.format(base_url=provider.base_url, hold_seconds=30)
    made = [Gateway(folder, toml, PREPAID_DATABASE=url) for folder in folders]
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        yield list(pool.map(stack.enter_context, made))
    postgres.give_back(url)


def test_exactly_what_is_affordable_is_served(gateways, upstream):
    upstream.behave(text=TEN, delay_seconds=0.3)
    session_id, key = gateways[0].fund(PAID * 10)
    for gateway in gateways:
        assert asyncio.run(burst(gateway.url, key, {"max_tokens": 10}, clients=1)).ended == {200: 1}

    async def all_at_once():
        each = CLIENTS // GATEWAYS
        asked = (burst(gateway.url, key, {"max_tokens": 10}, clients=each) for gateway in gateways)
        return await asyncio.gather(*asked)

    outcomes = asyncio.run(all_at_once())
    assert sum((outcome.ended for outcome in outcomes), Counter()) == {
        200: PAID - GATEWAYS,
        402: CLIENTS - PAID + GATEWAYS,
    }
    counts = upstream.counts()
    assert (counts["served"], counts["answered"]) == (PAID, PAID)
    account = settled(gateways[0], session_id)
    assert (account.spent, account.available) == (PAID * 10, 0)
    assert_refunded(gateways[-1], session_id)
