"""Plays the demo's scenes in order, on a database of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prepaid.cli.demo.burst import FIRED, fire_a_burst
from prepaid.cli.demo.crash import kill_a_worker
from prepaid.cli.demo.ending import check_the_statement, close_and_refund, sum_up
from prepaid.cli.demo.sharing import pause_and_resume, share_in_the_pool
from prepaid.cli.demo.stage import PRICE, Outcome, Stage
from prepaid.cli.demo.story import Story
from prepaid.cli.demo.talking import ask_too_much, fund_a_session, switch_chats, two_chats, use_a_tool
from prepaid.config import SessionSettings, Settings
from prepaid.models.offline import OfflineModel
from prepaid.money import USD
from prepaid.sessions.manager import SessionManager

__all__ = ["as_object", "play"]

_SCENES = (
    fund_a_session,
    two_chats,
    switch_chats,
    use_a_tool,
    ask_too_much,
    fire_a_burst,
    share_in_the_pool,
    pause_and_resume,
    kill_a_worker,
    close_and_refund,
    check_the_statement,
    sum_up,
)
_SWEEP_SECONDS = 600
"""This manager settles nothing of others': the one that opens the database after the crash does."""


async def play(folder: Path, story: Story, token_seconds: float) -> Outcome:
    """All scenes; what came out."""
    database = folder / "demo.db"
    settings = Settings(
        database=str(database),
        sweep_seconds=_SWEEP_SECONDS,
        sessions=SessionSettings(max_chats_per_session=FIRED),
    )
    model = OfflineModel(price=PRICE, delay_seconds=token_seconds)
    async with SessionManager(settings=settings, models=[model]) as manager:
        stage = Stage(manager, story, folder, database)
        for scene in _SCENES:
            await scene(stage)
        return stage.outcome


def as_object(outcome: Outcome) -> dict[str, Any]:
    """What ``prepaid demo --json`` prints."""
    return {
        "funded": outcome.funded,
        "spent": outcome.spent,
        "refunded": outcome.refunded,
        "currency": USD.code,
        "burst": {
            "fired": outcome.fired,
            "affordable": outcome.affordable,
            "succeeded": outcome.succeeded,
        },
        "recovered": outcome.recovered,
        "statement_verified": outcome.statement_verified,
    }
