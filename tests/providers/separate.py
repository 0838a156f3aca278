"""The fake provider in a process of its own: what it served is counted where nobody of ours can touch it.

with SeparateOpenAI() as upstream:
    upstream.behave(delay_seconds=0.3)
    ...  # ask upstream.base_url
    assert upstream.counts()["served"] == 50
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from providers.fake_openai import Behaviour, FakeOpenAI

TESTS = Path(__file__).parents[1]


class SeparateOpenAI:
    """A context manager. The process ends with us, however we end: its standard input does."""

    def __enter__(self):
        command = [sys.executable, "-m", "providers.separate"]
        self.process = subprocess.Popen(
            command, cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.base_url = json.loads(self.process.stdout.readline())
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(120)
        self.process.stdout.close()

    def behave(self, **behaviour):
        """Forget what was served, and answer every request so from now on."""
        self._tell({"behave": behaviour})

    def counts(self):
        """``served``: requests that came. ``answered``: to the end. ``dropped``: streams that the client left."""
        return self._tell({})

    def requests(self):
        """The bodies of the requests that came."""
        return self._tell({"requests": True})

    def ports(self):
        """Of the connections that the requests came on."""
        return self._tell({"ports": True})

    def open_gate(self):
        """Answer what ``is_gated``."""
        self._tell({"open": True})

    def _tell(self, order):
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def main():
    def say(value):
        sys.stdout.write(json.dumps(value) + "\n")
        sys.stdout.flush()

    with FakeOpenAI() as fake:
        say(fake.base_url)
        for line in sys.stdin:
            order = json.loads(line)
            if "behave" in order:
                fake.reset()
                fake.default = Behaviour(**order["behave"])
            if "open" in order:
                fake.gate.set()
            counts = {"served": fake.served, "answered": fake.answered, "dropped": fake.dropped}
            told = {"requests": fake.requests, "ports": fake.ports}
            say(next((told[name] for name in told if name in order), counts))


if __name__ == "__main__":
    main()
