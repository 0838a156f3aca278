"""A real node for tests: anvil from npm, on a port of its own, as long as somebody needs it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = ROOT / "contracts"


class Anvil:
    """A node that runs; ``rpc`` asks it anything, its own methods too."""

    def __init__(self, *arguments):
        install()
        (binary,) = (CONTRACTS / "node_modules" / "@foundry-rs").glob("anvil-*/bin/anvil*")
        self._process = subprocess.Popen(
            [str(binary), "--port", "0", *arguments], stdout=subprocess.PIPE, text=True, bufsize=1
        )
        for line in self._process.stdout:
            if found := re.search(r"Listening on 127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
                break
        else:
            raise AssertionError(f"anvil ended with {self._process.wait()}")
        self._reading = threading.Thread(target=self._process.stdout.read)  # it logs, and waits to be read
        self._reading.start()
        self.url = f"http://127.0.0.1:{self.port}"
        self.socket_url = f"ws://127.0.0.1:{self.port}"

    def rpc(self, method, *params):
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as reply:
            answer = json.load(reply)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def give_ether(self, address, ether=100):
        self.rpc("anvil_setBalance", address, hex(ether * 10**18))

    def later(self, seconds):
        """Let time pass, and a block be made of it."""
        self.rpc("evm_increaseTime", seconds)
        self.rpc("evm_mine")

    def stop(self):
        self._process.kill()
        self._process.wait()
        self._reading.join()
        self._process.stdout.close()


def install():
    """The locked packages of npm, by the script that the contracts are built with."""
    program = "import sys; sys.path.insert(0, 'scripts'); import node; node.install(node.ROOT / 'contracts')"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True)
