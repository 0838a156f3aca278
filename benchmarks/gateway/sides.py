"""Starts who is compared: each a server process on core 0, and what asks and answers them on core 1."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.filling import opened_manager

CORE, OTHER_CORE = 0, 1
LITELLM = "litellm[proxy]==1.106.2"
_HERE = Path(__file__).parent
_TICK = os.sysconf("SC_CLK_TCK")
_PREPAID = """
default_model = "fast"

[gateway]
log_level = "warning"

[upstreams.fake]
base_url = "{upstream}/v1"
api_key = "sk-bench"
models = ["fast"]

[prices.fast]
input_per_million = "0.15"
output_per_million = "0.60"
"""
_LITELLM = """
model_list:
  - model_name: fast
    litellm_params:
      model: openai/fast
      api_base: {upstream}/v1
      api_key: sk-bench
      input_cost_per_token: 0.00000015
      output_cost_per_token: 0.0000006
general_settings:
  master_key: sk-{secret}
  custom_auth: litellm_auth.authenticate
  custom_auth_run_common_checks: true
litellm_settings:
  set_verbose: false
  telemetry: false
"""


@dataclass
class Side:
    """One server: where it is asked, with which key, and its processes. ``direct`` has none: it is the upstream."""

    name: str
    url: str
    key: str
    process: subprocess.Popen | None

    def cpu_seconds(self) -> float:
        """What it has used so far, in user and kernel mode."""
        return sum(map(cpu_seconds, self._pids()))

    def resident_mb(self) -> float:
        """All of its processes together."""
        return sum(map(resident_mb, self._pids()))

    def wait_until_idle(self) -> None:
        """Until it uses less than a tenth of its core, at most half a minute."""
        for _ in range(60):
            before = self.cpu_seconds()
            time.sleep(0.5)
            if self.cpu_seconds() - before < 0.05:
                return

    def _pids(self):
        if self.process is None:
            return []
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]


@contextmanager
def sides(folder: Path, say: Callable[[str], None]):
    """All sides, by name. LiteLLM's is missing where it cannot be installed."""
    with ExitStack() as stack:
        upstream = _url(port := _free_port())
        _started(
            stack,
            folder,
            "upstream",
            [sys.executable, "-m", "benchmarks.gateway.upstream", str(port)],
            OTHER_CORE,
        )
        _wait(upstream, post=True)
        found = [
            Side("direct", upstream, "none", None),
            _passthrough(stack, folder, upstream, "pass-through"),
            _passthrough(stack, folder, upstream, "with two commits", folder / "by-hand.db"),
            _prepaid(stack, folder, upstream),
        ]
        program = litellm_program(say)
        if program is not None:
            found.append(_litellm(stack, folder, upstream, program))
        yield {side.name: side for side in found}


def _passthrough(stack, folder, upstream, name, *database):
    port = _free_port()
    command = [
        sys.executable,
        "-m",
        "benchmarks.gateway.passthrough",
        str(port),
        upstream,
        *map(str, database),
    ]
    process = _started(stack, folder, name, command, CORE)
    _wait(_url(port) + "/readyz")
    return Side(name, _url(port), "none", process)


def postgres_sides(stack: ExitStack, folder: Path, url: str, keys: dict[str, str]) -> list[Side]:
    """``prepaid serve`` on one database, once for each key, on any core."""
    upstream = _url(port := _free_port())
    _started(
        stack, folder, "upstream", [sys.executable, "-m", "benchmarks.gateway.upstream", str(port)], None
    )
    _wait(upstream, post=True)
    (folder / "prepaid.toml").write_text(f'database = "{url}"\n{_PREPAID.format(upstream=upstream)}')
    found = []
    for name, key in keys.items():
        port = _free_port()
        process = _started(
            stack, folder, name, [sys.executable, "-m", "prepaid", "serve", "--port", str(port)], None
        )
        _wait(_url(port) + "/readyz")
        found.append(Side(name, _url(port), key, process))
    return found


def _prepaid(stack, folder, upstream):
    (folder / "prepaid.toml").write_text(_PREPAID.format(upstream=upstream))
    port, database = _free_port(), folder / "gateway.db"
    command = [sys.executable, "-m", "prepaid", "serve", "--port", str(port), "--database", str(database)]
    process = _started(stack, folder, "prepaid", command, CORE)
    _wait(_url(port) + "/readyz")
    return Side("prepaid", _url(port), funded_key(database), process)


def offline_side(stack: ExitStack, folder: Path) -> Side:
    """``prepaid serve`` with nothing configured, on any core."""
    port = _free_port()
    command = [sys.executable, "-m", "prepaid", "serve", "--port", str(port), "--database", "gateway.db"]
    (folder / "prepaid.toml").write_text('[gateway]\nlog_level = "warning"\n')
    process = _started(stack, folder, "prepaid", command, None)
    _wait(_url(port) + "/readyz")
    return Side("prepaid", _url(port), "", process)


def funded_key(database: Path, amount="1000000 USD") -> str:
    """A new session's API key."""
    import asyncio

    async def work():
        async with opened_manager(database) as manager:
            return (await manager.create_session("bench", amount)).api_key

    return asyncio.run(work())


def _litellm(stack, folder, upstream, program):
    (folder / "litellm.yaml").write_text(_LITELLM.format(upstream=upstream, secret=secrets.token_hex(32)))
    shutil.copy(_HERE / "litellm_auth.py", folder)
    port = _free_port()
    command = [
        str(program),
        "--config",
        str(folder / "litellm.yaml"),
        "--port",
        str(port),
        "--host",
        "127.0.0.1",
    ]
    process = _started(stack, folder, "litellm", command, CORE)
    _wait(_url(port) + "/health/liveliness", seconds=120)
    return Side("LiteLLM", _url(port), "sk-bench-client", process)


def litellm_program(say: Callable[[str], None]) -> Path | None:
    """LiteLLM's proxy in an environment of its own, made once; ``None`` where it cannot be had."""
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "prepaid-bench" / "litellm"
    program = home / "bin" / "litellm"
    if not program.exists():
        say(f"installing {LITELLM} into {home}")
        uv = shutil.which("uv") or "uv"
        try:
            subprocess.run([uv, "venv", "--quiet", "--clear", home], check=True)
            pip = [uv, "pip", "install", "--quiet", "--python", home / "bin" / "python", LITELLM]
            subprocess.run(pip, check=True, timeout=600)
        except (OSError, subprocess.SubprocessError) as error:
            say(f"LiteLLM cannot be had, so its rows are missing: {error}")
            return None
    return program


def _started(stack, folder, name, command, core):
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("PREPAID_")}
    surroundings |= {
        "PYTHONPATH": str(_HERE.parents[1]),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
    }
    out = stack.enter_context((folder / f"{name}.out").open("wb"))
    log = stack.enter_context((folder / f"{name}.log").open("wb"))
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    process = subprocess.Popen([*pinned, *command], cwd=folder, env=surroundings, stdout=out, stderr=log)
    stack.callback(_stop, process)
    return process


def _stop(process):
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait(url, *, post=False, seconds=60):
    deadline = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, data=b"{}" if post else None, timeout=5).close()
        except (urllib.error.URLError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _url(port):
    return f"http://127.0.0.1:{port}"


def _free_port():
    """One that the system gives nobody by itself before whoever is told it listens there."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


def cpu_seconds(pid: int) -> float:
    """What a process has used so far, in user and kernel mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def ended_cpu_seconds(pid: int) -> float:
    """What those of its child processes used that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / _TICK


def resident_mb(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) * 1024 / 1e6


def body(*, stream: bool) -> bytes:
    """The request that all are asked."""
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Say hello to the reader."},
    ]
    asked = {"model": "fast", "messages": messages, "max_tokens": 64, "stream": stream}
    return json.dumps(asked).encode()
