"""Starts workers, lets them begin together, and reads what they tell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]


class Worker:
    """One process; ``told`` is what it said so far."""

    def __init__(self, work: str, path: object, *arguments: object) -> None:
        command = [sys.executable, "-m", "store.worker", work, str(path), *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": str(TESTS)}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        )
        self.told: list[list] = []

    def await_ready(self) -> None:
        assert self.read() == ["ready"]

    def begin(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("begin\n")
        self.process.stdin.flush()

    def read(self) -> list | None:
        """The next line, or ``None`` at the end."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.endswith("\n"):
            return None
        self.told.append(json.loads(line))
        return self.told[-1]

    def kill(self) -> None:
        """SIGKILL; what it had told before is still read."""
        self.process.kill()

    def finish(self) -> list | None:
        """Everything it has yet to tell; its last line."""
        while self.read() is not None:
            pass
        self.process.wait(120)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        return self.told[-1] if self.told else None


def together(*workers: Worker) -> list[list]:
    """Let them all begin at once, and wait; the last line of each."""
    try:
        for worker in workers:
            worker.await_ready()
        for worker in workers:
            worker.begin()
        ends = [worker.finish() for worker in workers]
    except BaseException:
        for worker in workers:
            worker.kill()
            worker.finish()
        raise
    assert [worker.process.returncode for worker in workers] == [0] * len(workers)
    return [end for end in ends if end is not None]
