"""Foundry's anvil as a process of ours: found, started on a free port, ended with the block."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from prepaid.errors import ChainError

__all__ = ["find_anvil", "running_anvil"]

_CHECKOUT: Final = Path(__file__).resolve().parents[4]
_LISTENING: Final = re.compile(rb"Listening on 127\.0\.0\.1:(\d+)")
_START_SECONDS: Final = 30.0
_SAID_MAX: Final = 400


def find_anvil() -> Path | None:
    """On PATH; else the one that a checkout of this project has from npm."""
    found = shutil.which("anvil")
    if found is not None:
        return Path(found)
    packages = _CHECKOUT / "contracts" / "node_modules" / "@foundry-rs"
    return next((path for path in sorted(packages.glob("anvil-*/bin/anvil*")) if path.is_file()), None)


@asynccontextmanager
async def running_anvil(binary: Path, port: int, chain_id: int, *options: str) -> AsyncGenerator[int]:
    """Anvil, as long as the block lasts; the port it listens on. It hears no Ctrl-C of ours.

    ``options`` are more of its command line's.

    Raises:
        ChainError: it does not start.
    """
    process = await asyncio.create_subprocess_exec(
        *(str(binary), "--host", "127.0.0.1", "--port", str(port), "--chain-id", str(chain_id), *options),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        start_new_session=True,
    )
    reading: asyncio.Task[None] | None = None
    try:
        listening = await _port_of(process)
        reading = asyncio.create_task(_drain(process))
        yield listening
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        if reading is not None:
            await reading


async def _port_of(process: Process) -> int:
    assert process.stdout is not None
    said = b""
    try:
        async with asyncio.timeout(_START_SECONDS):
            async for line in process.stdout:
                found = _LISTENING.search(line)
                if found is not None:
                    return int(found[1])
                said += line
    except TimeoutError:
        pass
    raise ChainError(
        f"anvil does not start: {said.decode(errors='replace').strip()[-_SAID_MAX:]}",
        remedy="Free the port, or name another.",
    )


async def _drain(process: Process) -> None:
    """It logs, and waits until that is read."""
    assert process.stdout is not None
    while await process.stdout.read(65_536):
        pass
