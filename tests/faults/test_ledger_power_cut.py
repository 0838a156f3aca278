"""Guarantee 6: what was acknowledged survives a power cut at any moment, and a retry leads to the same end.

The simulator must find the losses of a ledger that syncs too little or answers too early; otherwise the silence
of the others would mean nothing.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from prepaid.audit import audit
from prepaid.errors import StoreError
from prepaid.store import group_commit
from prepaid.store.sqlite import store as store_module
from prepaid.store.sqlite.store import SqliteStore
from store.workload import Journal, at_once, everything, missing, same, summary

from .fullness import FaultyDisk
from .power_cut import Moment, PowerCut, Step

SEED = 20_262
CHECKPOINT_PAGES = 25  # several checkpoints per run, beside commits and inside them
CLIENTS = 12


@dataclass(slots=True)
class Cuts:
    """The moments of a run, each with how much had been acknowledged before it."""

    journal: Journal = field(default_factory=Journal)
    moments: list[tuple[int, Moment]] = field(default_factory=list)
    end: dict[str, tuple[int, ...]] = field(default_factory=dict)


def open_on(disk, vfs_name=None) -> SqliteStore:
    opened = SqliteStore(disk.path("x.db"), vfs=vfs_name or disk.vfs_name)
    checkpoints = opened._writer._unit._checkpoints
    checkpoints.start_pages, checkpoints.bound_pages = CHECKPOINT_PAGES, 2 * CHECKPOINT_PAGES
    return opened


def watched(seed: int, *, moments: int, count: int = 12, failing: bool = False) -> Cuts:
    """A run on a fresh disk, looked at at random operations of the disk."""
    cuts = Cuts()
    rng, lock = Random(f"{seed}/when"), threading.Lock()

    def look(step: Step) -> None:
        with lock:
            if rng.random() < 0.2 and len(cuts.moments) < moments:
                # First what was acknowledged: anything answered after this moment is not in question.
                acknowledged = len(cuts.journal.acknowledged)
                cuts.moments.append((acknowledged, disk.moment()))

    async def work(vfs_name, faulty=None):
        store = open_on(disk, vfs_name)
        disk.before = look
        trouble = asyncio.create_task(make_trouble(faulty, rng)) if faulty else None
        await everything(store.submit, cuts.journal, clients=CLIENTS, count=count, seed=seed)
        disk.before = None
        if trouble:
            trouble.cancel()
            faulty.heal()
            faulty.release()
        cuts.moments.append((len(cuts.journal.acknowledged), disk.moment()))
        cuts.end = summary(store.reads)
        await store.aclose()

    with PowerCut(seed) as disk:
        if failing:
            with FaultyDisk(disk.vfs_name) as faulty:
                asyncio.run(work(faulty.vfs_name, faulty))
        else:
            asyncio.run(work(disk.vfs_name))
    return cuts


async def make_trouble(faulty: FaultyDisk, rng: Random) -> None:
    while True:
        await asyncio.sleep(rng.random() / 100)
        faulty.fail_syncs(1, of="-wal")
        await asyncio.sleep(rng.random() / 100)
        faulty.fill(rng.randrange(20_000), of="-wal")
        await asyncio.sleep(rng.random() / 200)
        faulty.release()


def problems(cuts: Cuts, directory: Path, *, draws: int = 1, retries: bool = True) -> list[str]:
    """What each moment's images lack, or what they do not recover to."""
    found: list[str] = []
    for acknowledged, moment in cuts.moments:
        for draw in range(draws):
            image = moment.image(directory, draw)
            try:
                wrong = asyncio.run(examined(image.path("x.db"), cuts, acknowledged, retries=retries))
            except StoreError as error:
                wrong = [f"{type(error).__name__}: {error}"]
            found += [f"{what}: {image}" for what in wrong]
    return found


async def examined(path: Path, cuts: Cuts, acknowledged: int, *, retries: bool) -> list[str]:
    store = SqliteStore(path)
    try:
        known = cuts.journal.acknowledged[:acknowledged]
        wrong = [what for work, answer in known if (what := missing(store.reads, work, answer))]
        wrong += [str(finding) for finding in audit(store.reads).findings]
        if retries and not wrong:
            wrong += await retried(store, cuts, known)
        return wrong
    finally:
        await store.aclose()


async def retried(store: SqliteStore, cuts: Cuts, known) -> list[str]:
    """Everything again under the same keys: what was acknowledged is answered the same, and the end is the same."""
    again = await at_once(store.submit, cuts.journal.asked)
    answers = {id(work): answer for work, answer in zip(cuts.journal.asked, again, strict=True)}
    wrong = [
        f"answered anew: {work}"
        for work, answer in known
        if has_key(work) and not same(answer, answers[id(work)])
    ]
    wrong += [str(finding) for finding in audit(store.reads).findings]
    if summary(store.reads) != cuts.end:
        wrong.append(f"ends elsewhere: {summary(store.reads)}, not {cuts.end}")
    return wrong


def has_key(work) -> bool:
    return hasattr(work, "key")


def test_nothing_acknowledged_is_lost(tmp_path):
    """Guarantee 6."""
    cuts = watched(SEED, moments=40)
    assert len(cuts.moments) > 30
    assert len({acknowledged for acknowledged, _ in cuts.moments}) > 10, "cuts all over the run"
    assert problems(cuts, tmp_path) == []


def test_nothing_acknowledged_is_lost_in_a_longer_run(tmp_path):
    """Guarantee 6."""
    assert problems(watched(SEED + 1, moments=60, count=20), tmp_path, draws=2) == []


def test_nothing_is_lost_on_a_disk_that_fails_now_and_then(tmp_path):
    """Guarantee 6: a failed sync or a full disk is told, and then the power goes as well."""
    cuts = watched(SEED, moments=40, failing=True)
    assert cuts.journal.failures
    for acknowledged, moment in cuts.moments:
        image = moment.image(tmp_path)
        wrong = asyncio.run(examined(image.path("x.db"), cuts, acknowledged, retries=False))
        assert wrong == [], image


def test_power_cut_during_the_recovery(tmp_path):
    """Guarantee 6: a second cut, while the first one's recovery and retries run, loses nothing either."""
    cuts = watched(SEED + 1, moments=6, count=6)
    for acknowledged, moment in cuts.moments:
        image = moment.image(tmp_path / "first")
        second = Cuts(journal=cuts.journal, end=cuts.end)
        with PowerCut(SEED, image.directory) as disk:
            disk.before = lambda _, disk=disk, second=second: second.moments.append((0, disk.moment()))
            asyncio.run(recovered(disk, cuts))
            disk.before = None
        kept = [(acknowledged, later) for _, later in second.moments[:: max(len(second.moments) // 4, 1)]]
        second.moments = kept
        assert problems(second, tmp_path / "second") == []


async def recovered(disk: PowerCut, cuts: Cuts) -> None:
    store = open_on(disk)
    await at_once(store.submit, cuts.journal.asked)
    await store.aclose()


@contextmanager
def sync_level(level: str, monkeypatch):
    opened = store_module.open_writer

    def sabotaged(path, *, vfs=None):
        connection = opened(path, vfs=vfs)
        connection.pragma("synchronous", level)
        return connection

    with monkeypatch.context() as patched:
        patched.setattr(store_module, "open_writer", sabotaged)
        yield


@pytest.mark.parametrize("level", ["off", "normal"])
def test_syncing_too_little_is_caught(level, tmp_path, monkeypatch):
    """Guarantee 6, the mutant: with less than FULL the simulator finds lost money."""
    with sync_level(level, monkeypatch):
        cuts = watched(SEED, moments=40)
    found = problems(cuts, tmp_path, retries=False)
    assert any("lost: " in what for what in found)


def test_answering_before_the_commit_is_caught(tmp_path, monkeypatch):
    """Guarantee 6, the mutant: an answer that overtakes its sync is found, though every sync is made."""

    async def write_too_early(self, batch):
        await self._begin()
        results = self._unit.apply([operation for operation, _ in batch])
        for (_, future), result in zip(batch, results, strict=True):
            group_commit._answer(future, result)
        await asyncio.sleep(0)
        await asyncio.get_running_loop().run_in_executor(self._syncer, self._unit.commit)

    with monkeypatch.context() as patched:
        patched.setattr(group_commit.GroupCommit, "_write", write_too_early)
        cuts = watched(SEED, moments=60)
    found = problems(cuts, tmp_path, retries=False)
    assert any("lost: " in what for what in found)
