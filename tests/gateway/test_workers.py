"""Several processes on one port: a dead one is replaced, none is left alone, and their numbers add up (spec D5)."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import time

import httpx
import pytest

from cli_running import console_script, environment
from gateway.running import Gateway

pytestmark = pytest.mark.slow

OPEN = '[gateway]\nmetrics = "anyone"\n'
CLOSE = {"connection": "close"}


@pytest.fixture
def gateway(tmp_path):
    """To be ended."""
    yield from two_workers(tmp_path)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory):
    """One for all tests that leave it with two workers."""
    yield from two_workers(tmp_path_factory.mktemp("workers"))


def two_workers(folder):
    with Gateway(folder, OPEN, workers=2) as running:
        running.wait_until(lambda: len(ready(running)) == 2)
        yield running


def ready(gateway):
    """The workers that have said so and live."""
    said = {record["process"] for record in gateway.records() if record["message"] == "ready"}
    return said & set(gateway.workers())


def ask(gateway, count):
    """Each on a connection of its own, so that all workers get some."""
    for _ in range(count):
        assert httpx.get(f"{gateway.url}/healthz", headers=CLOSE).status_code == 200


def number(gateway, name):
    """The sum of a metric's samples that begin with ``name``."""
    text = httpx.get(f"{gateway.url}/metrics", headers=CLOSE).text
    return sum(float(value) for value in re.findall(rf"^{re.escape(name)}[^ ]* (\S+)$", text, re.MULTILINE))


def served_by(gateway):
    return {record["process"] for record in gateway.records() if record.get("route") == "/healthz"}


def test_all_workers_serve_and_their_numbers_add_up(lasting):
    asked = 0

    def all_have_served():
        nonlocal asked
        ask(lasting, 20)
        asked += 20
        return len(served_by(lasting)) == 2

    lasting.wait_until(all_have_served)
    assert number(lasting, 'prepaid_http_requests_total{method="GET",route="/healthz"') == asked
    assert number(lasting, 'prepaid_http_request_seconds_count{route="/healthz"') == asked


def test_a_worker_that_is_killed_is_replaced_and_what_it_counted_stays(lasting):
    ask(lasting, 40)
    before = set(lasting.workers())
    counted = number(lasting, 'prepaid_http_requests_total{method="GET",route="/healthz"')
    assert counted >= 40
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    lasting.wait_until(lambda: len(ready(lasting)) == 2 and victim not in ready(lasting))
    assert len(set(lasting.workers()) & before) == 1
    ask(lasting, 40)
    assert number(lasting, 'prepaid_http_requests_total{method="GET",route="/healthz"') == counted + 40
    connections = lasting.wait_until(lambda: number(lasting, "prepaid_http_connections"))
    assert connections < 10


def test_a_worker_that_says_nothing_for_a_while_is_no_dead_one(lasting):
    before = set(lasting.workers())
    os.kill(min(before), signal.SIGSTOP)
    time.sleep(6)  # uvicorn itself gives up after five seconds, and a busy machine takes them to start one
    os.kill(min(before), signal.SIGCONT)
    ask(lasting, 20)
    assert set(lasting.workers()) == before


def test_sighup_replaces_all_while_they_serve(lasting):
    before = set(lasting.workers())
    lasting.process.send_signal(signal.SIGHUP)

    def replaced():
        ask(lasting, 5)
        return len(ready(lasting)) == 2 and not before & set(lasting.workers())

    lasting.wait_until(replaced)


def test_workers_whose_parent_is_killed_end(gateway):
    workers = gateway.workers()
    gateway.process.kill()
    gateway.process.wait()
    gateway.http.close()
    for pid in workers:
        wait_for_end(pid)


def wait_for_end(pid, seconds=120):
    fd = os.pidfd_open(pid)
    try:
        ended, _, _ = select.select([fd], [], [], seconds)
        assert ended, f"{pid} goes on"
    finally:
        os.close(fd)


def test_ctrl_c_reaches_all_of_a_terminal_and_ends_them_once(gateway):
    workers = set(gateway.workers())
    os.killpg(gateway.process.pid, signal.SIGINT)
    assert gateway.process.wait(120) == 0
    told = [record for record in gateway.records() if record["message"] in {"ready", "stopped"}]
    assert {record["process"] for record in told} == workers
    assert len(told) == 4
    assert "Traceback" not in gateway.log


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_that_cannot_start_end_it_with_an_error(tmp_path, workers):
    """What only a worker finds out: here, an extra that is not installed."""
    hidden = "import sys\nsys.modules['opentelemetry.exporter'] = None\n"
    (tmp_path / "sitecustomize.py").write_text(hidden, encoding="utf-8")
    (tmp_path / "prepaid.toml").write_text('[telemetry]\nendpoint = "http://127.0.0.1:9"\n', encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [console_script(), "serve", "--port", "0", "--workers", str(workers)],
        cwd=tmp_path,
        env=environment(tmp_path) | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 3
    assert 'pip install \\"prepaid[telemetry]\\"' in done.stderr
    assert "Traceback" not in done.stderr


def test_all_end_at_once_on_sigterm_and_leave_nothing(gateway):
    (folder,) = gateway.folder.glob("prepaid-metrics-*")
    assert gateway.stop() == 0
    assert not folder.exists()
    assert sum(record["message"] == "stopped" for record in gateway.records()) == 2
