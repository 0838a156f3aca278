"""Plays cells: one gateway for most of them, many at once; one for those in which it is killed, stopped, or its disk full.

``python -m matrix`` in ``tests``, or ``scripts/matrix.py`` from anywhere, plays what ``chosen`` understands.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.running import Gateway
from matrix.callers import PATIENCE_SECONDS, Books, Caller, Desk, GatewayCaller, LibraryCaller, Seen
from matrix.cells import (
    BACKED,
    KILLS,
    STOPS,
    TIMEOUTS,
    TOGETHER,
    After,
    Cell,
    Ending,
    all_cells,
    named,
    sample,
)
from matrix.provider import Exchange, Provider
from matrix.scripts import DEAR, DEARER_TIMES, IMAGE_TOKENS, RELIEF, Run, play
from matrix.verdict import Broken, broken
from prepaid import SessionManager
from prepaid.audit import audit
from prepaid.config import Settings

IN_CHECK = 1_050
"""How many cells are played where nothing else is said."""

PORTION = 1_000
"""So many share a gateway; each has a model of its own in its settings."""

AT_ONCE = 64
FUND = 5_000
SILENCE_SECONDS = 1.0
"""The read time-out, where one is to be met."""
DRAIN_SECONDS = float(os.environ.get("PREPAID_MATRIX_DRAIN", "6"))
"""The limit of reading on without a client; only an answer without end meets it."""
GRACE_SECONDS = 0.5
HOLD_SECONDS = 2
"""Where holds are left behind by a gateway that died."""


@dataclass(frozen=True)
class Result:
    """A cell that was played."""

    cell: Cell
    broken: list[Broken]
    run: Run
    seen: Seen
    books: Books

    def __str__(self) -> str:
        what = "; ".join(map(str, self.broken)) or "holds"
        return f"{self.cell}: {what}\n    again: uv run scripts/matrix.py {self.cell}"

    @property
    def told(self) -> dict[str, object]:
        """As JSON."""
        return {
            "cell": str(self.cell),
            "broken": {each.property: each.what for each in self.broken},
            "billed": self.run.tally.billed,
            "generations": len(self.run.tally.generations),
            "charged": self.books.charged,
            "exposure": self.books.exposure,
            "shortfall": self.books.shortfall,
            "status": self.seen.status,
        }


def chosen(wish: str, seed: int) -> list[Cell]:
    """``all``, a number, names of cells, or a pattern of ``fnmatch`` like ``chat-stream-left_*``."""
    from fnmatch import fnmatchcase

    if wish == "all":
        return list(all_cells())
    if wish.isdigit():
        return sample(int(wish), seed)
    found: list[Cell] = []
    for part in wish.split(","):
        if any(letter in part for letter in "*?["):
            found += [cell for cell in all_cells() if fnmatchcase(str(cell), part)]
        else:
            found.append(named(part))
    return found


async def played(
    cells: list[Cell], folder: Path, say: Callable[[str], None] = lambda _: None
) -> list[Result]:
    """Every cell, with what is broken in it.

    Raises:
        AssertionError: an audit found something, or a script of the provider failed.
    """
    results: list[Result] = []
    async with Provider() as provider:
        for number, portion in enumerate(_portions(cells)):
            where = folder / f"{number}"
            where.mkdir()
            results += await _played_portion(provider, portion, where)
            bad = sum(bool(result.broken) for result in results)
            say(f"{len(results)} of {len(cells)} cells, {bad} broken")
        assert not provider.failures, provider.failures[:5]
    return results


def _portions(cells: list[Cell]) -> Iterator[list[Cell]]:
    """What shares a gateway: what happens to the gateway itself happens to all of a portion."""
    kinds: dict[object, list[Cell]] = {}
    for cell in cells:
        kind = next((name for name, of in _KINDS if cell.ending in of), "crowd")
        kinds.setdefault(kind, []).append(cell)
    for of_kind in kinds.values():
        for begin in range(0, len(of_kind), PORTION):
            yield of_kind[begin : begin + PORTION]


_KINDS = (("killed", KILLS), ("stopped", STOPS), ("full", {Ending.DISK_FULL}))


async def played_by_library(cells: list[Cell], folder: Path) -> list[Result]:
    """The cells that exist for chats of the library, asked in this process."""
    async with Provider() as provider:
        runs = _runs(provider, [cell for cell in cells if LibraryCaller.can(cell)])
        with _dead_port() as dead:
            given = tomllib.loads(settings_for(runs.values(), provider.base_url, dead))
            given["sessions"] = {"auto_cleanup": False}
            async with SessionManager(
                settings=Settings(database=str(folder / "library.db"), **given)
            ) as manager:
                results = await _crowd(LibraryCaller(Desk(manager)), list(runs.values()))
        assert not provider.failures, provider.failures[:5]
    return results


def _runs(provider: Provider, cells: list[Cell]) -> dict[int, Run]:
    """By the number in their prompts, by which the provider knows them."""
    runs = {number: Run(cell, number) for number, cell in enumerate(cells)}
    for run in runs.values():
        run.model = f"{_upstream_of(run.cell)}-{run.number}"

    async def script(exchange: Exchange) -> None:
        tag = re.search(r"#(\d{6})#", json.dumps(exchange.body))
        await play(exchange, runs[int(tag[1])])

    provider.scripts[""] = script
    return runs


async def _played_portion(provider: Provider, cells: list[Cell], folder: Path) -> list[Result]:
    runs = _runs(provider, cells)
    with _dead_port() as dead:
        toml = settings_for(runs.values(), provider.base_url, dead)
        is_full = cells[0].ending is Ending.DISK_FULL
        program = (str(Path(__file__).with_name("full_disk.py")),) if is_full else ("-m", "prepaid")
        gateway = Gateway(folder, toml, program=program)
        await asyncio.to_thread(gateway.start)
        try:
            async with _desk(gateway) as desk:
                if cells[0].ending in TOGETHER:
                    results = await _together(gateway, desk, list(runs.values()))
                else:
                    results = await _crowd(GatewayCaller(gateway.port, desk), list(runs.values()))
                    assert "failed unexpectedly" not in gateway.log, gateway.log[-2_000:]
                report = await desk.store.report(audit)
                assert report.is_clean, str(report)
                return results
        finally:
            await asyncio.to_thread(gateway.stop)


@asynccontextmanager
async def _desk(gateway: Gateway):
    settings = Settings(database=gateway.database, sessions={"auto_cleanup": False})
    async with SessionManager(settings=settings) as manager:
        yield Desk(manager)


async def _crowd(caller: Caller, runs: list[Run]) -> list[Result]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(run: Run) -> Result:
        async with gate:
            payer = await caller.payer(run, FUND)
            seen = await caller.ask(payer, run)
            books = await caller.books(payer, run)
        return Result(run.cell, broken(run, seen, books), run, seen, books)

    return list(await asyncio.gather(*map(one, runs)))


async def _together(gateway: Gateway, desk: Desk, runs: list[Run]) -> list[Result]:
    """All come to their point; then it happens to the gateway; then all is settled by who comes after."""
    caller = GatewayCaller(gateway.port, desk)
    payers = [await caller.payer(run, FUND) for run in runs]
    asking = [
        asyncio.ensure_future(_asked(caller, payer, run)) for payer, run in zip(payers, runs, strict=True)
    ]
    for run, task in zip(runs, asking, strict=True):
        reached = asyncio.ensure_future(run.reached.wait())
        await asyncio.wait((reached, task), timeout=PATIENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        reached.cancel()
    await asyncio.sleep(0.1)  # what the provider has sent is on its way to the clients
    ending = runs[0].cell.ending
    if ending is Ending.DISK_FULL:
        await _fill(gateway, runs, asking)
    else:
        await asyncio.to_thread(gateway.kill if ending in KILLS else gateway.stop)
        for run in runs:
            run.go.set()
        await asyncio.gather(*asking)
        await asyncio.to_thread(gateway.start)
    results = []
    for payer, run, task in zip(payers, runs, asking, strict=True):
        seen, books = await task, await caller.books(payer, run)
        results.append(Result(run.cell, broken(run, seen, books), run, seen, books))
    return results


async def _asked(caller: GatewayCaller, payer, run: Run) -> Seen:
    """As the caller asks, but what happens does not happen because the client is done."""
    happened, run.go = run.go, asyncio.Event()
    asked = asyncio.ensure_future(caller.ask(payer, run))
    run.go = happened
    return await asked


async def _fill(gateway: Gateway, runs: list[Run], asking: list[asyncio.Future]) -> None:
    (gateway.folder / "full").touch()
    await _until((gateway.folder / "is-full").exists)
    for run in runs:
        run.go.set()
    await asyncio.wait(asking, timeout=PATIENCE_SECONDS)
    (gateway.folder / "full").unlink()
    await _until((gateway.folder / "is-free").exists)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 -- another process says so
            await asyncio.sleep(0.01)


# settings


def _upstream_of(cell: Cell) -> str:
    if cell.ending in BACKED:
        return "backed"
    if cell.ending in TIMEOUTS:
        return "slow"
    if cell.after is After.PROMISED:
        return "promised"
    return "dead" if cell.ending is Ending.NO_CONNECTION else "patient"


def settings_for(runs: Iterable[Run], base_url: str, dead: int) -> str:
    """``prepaid.toml`` with a model for each run."""
    runs = list(runs)
    ending = runs[0].cell.ending
    lasting = HOLD_SECONDS if ending in TOGETHER else 30
    upstreams = {
        "patient": (base_url, ""),
        "promised": (base_url, "stops_when_left = true\n"),
        "slow": (base_url, f"timeout_seconds = {SILENCE_SECONDS}\n"),
        "dead": (f"http://127.0.0.1:{dead}/v1", ""),
        "backed": (base_url, f'timeout_seconds = {SILENCE_SECONDS}\nfallbacks = ["{RELIEF}"]\n'),
    }
    text = f"hold_seconds = {lasting}\nsweep_seconds = 0.2\n"
    text += (
        f'[gateway]\nlog_level = "error"\ngrace_seconds = {GRACE_SECONDS}\ndrain_seconds = {DRAIN_SECONDS}\n'
    )
    for upstream, (url, more) in upstreams.items():
        models = [run.model for run in runs if _upstream_of(run.cell) == upstream]
        models += [RELIEF, DEAR] if upstream == "patient" else []
        if models:
            text += f'[upstreams.{upstream}]\nbase_url = "{url}"\nmodels = {json.dumps(models)}\n'
            text += f"retries_max = 2\ncircuit_failures = 1000000\n{more}"
    for model in (RELIEF, *(run.model for run in runs)):
        text += _price(model, 1)
    return text + _price(DEAR, DEARER_TIMES)


def _price(model: str, times: int) -> str:
    return (
        f'[prices."{model}"]\ninput_per_million = "{times}"\noutput_per_million = "{2 * times}"\n'
        f"context_tokens_max = 100000\nimage_tokens_max = {IMAGE_TOKENS}\n"
        'apis = ["chat", "tools", "embeddings", "images", "structured_output"]\n'
    )


@contextmanager
def _dead_port():
    """A port at which nobody listens, and nobody else will meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


# by hand


def main() -> int:
    """Play what the command line names, with the seed of ``PREPAID_MATRIX_SEED``; 1 if anything is broken."""
    arguments = sys.argv[1:]
    as_json = "--json" in arguments
    wishes = [argument for argument in arguments if argument != "--json"]
    seed = int(os.environ.get("PREPAID_MATRIX_SEED", "0"))
    cells = chosen(wishes[0] if wishes else str(IN_CHECK), seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="prepaid-matrix-") as folder:
        results = asyncio.run(
            played(cells, Path(folder), lambda text: print(text, file=sys.stderr, flush=True))
        )
    bad = [result for result in results if result.broken]
    if as_json:
        print(json.dumps([result.told for result in results]))
    else:
        print(*bad, sep="\n")
        counts = Counter(each.property for result in bad for each in result.broken)
        print(
            f"{len(results)} cells in {time.monotonic() - began:.0f} s, {len(bad)} broken {dict(sorted(counts.items()))}"
        )
    return 1 if bad else 0
