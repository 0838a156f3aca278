"""Numbers for Prometheus (spec D5): counted where things happen, added up over all worker processes.

With several workers, ``prepaid serve`` sets ``PROMETHEUS_MULTIPROC_DIR`` before they start: each writes its
numbers to files there, and whoever is asked adds up all of them, those of workers that died included.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from prepaid.gateway.asgi import CLIENT_GONE, Request
from prepaid.store.operations import Release, Settle, Settled

if TYPE_CHECKING:
    from prepaid.gateway.parts import Parts

__all__ = ["FOLDER_VARIABLE", "Metrics"]

FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """One worker's numbers. Make one in each process: names are registered once."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, of no use
        registry = self._registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"prepaid_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"prepaid_{name}", text, labels, registry=registry, multiprocess_mode="livesum")

        seconds = Histogram(
            "prepaid_http_request_seconds",
            "From the first byte of a request's body to the last of its reply.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        requests = counter("http_requests", "Requests answered.", "method", "route", "status")
        captured = counter("captured_base_units", "What requests cost.", "model")
        shortfall = counter(
            "shortfall_base_units", "Billed by providers above what was paid: the operator's loss.", "model"
        )
        exposure = counter(
            "exposure_base_units", "What providers may bill and nobody pays: the operator's loss.", "model"
        )
        units = counter("model_units", "Tokens or bytes paid for.", "model", "direction")
        # Looking a label up costs twice what counting does, and every request counts six times.
        self._requests = functools.cache(requests.labels)
        self._seconds = functools.cache(seconds.labels)
        self._captured = functools.cache(captured.labels)
        self._shortfall = functools.cache(shortfall.labels)
        self._exposure = functools.cache(exposure.labels)
        self._units = functools.cache(units.labels)
        self._upstream_failures = counter("upstream_failures", "Attempts that failed.", "upstream")
        self._odd_usages = counter("upstream_odd_usages", "Usages told that cannot be.", "upstream")
        self._circuit_open = gauge("upstream_circuit_open", "1 where an upstream is left alone.", "upstream")
        self._in_flight = gauge("http_requests_in_flight", "Requests being answered.")
        self._streams = gauge("http_streams_in_flight", "Those of them that stream.")
        self._connections = gauge("http_connections", "Open connections.")
        self._holds = gauge("holds_running", "Holds with a model call behind them.")
        self._queue = gauge("store_queue", "Changes waiting for the database.")
        self._failures_told: dict[str, int] = {}
        self._odd_usages_told: dict[str, int] = {}

    def note(self, request: Request, seconds: float) -> None:
        """A request is answered. A reply that never began, or that nobody waited for, has status 499."""
        route = request.route or "(none)"
        self._requests(request.method, route, str(request.status or CLIENT_GONE)).inc()
        self._seconds(route).observe(seconds)

    def note_settled(self, model: str, work: Settle | Release | None, settled: Settled) -> None:
        """A model call has cost something, or failed, or was settled by the sweep (without ``work``)."""
        self._exposure(model).inc(settled.exposure)
        if isinstance(work, Release):
            return
        self._captured(model).inc(settled.captured)
        self._shortfall(model).inc(settled.shortfall)
        if work is not None:
            self._units(model, "input").inc(work.input_units)
            self._units(model, "output").inc(work.output_units)

    def sample(self, parts: Parts, running: Collection[Request], connections: int) -> None:
        """What is read off rather than counted, as it is now."""
        self._in_flight.set(len(running))
        self._streams.set(sum(request.is_stream for request in running))
        self._connections.set(connections)
        self._holds.set(len(parts.workspace.meter.running))
        self._queue.set(parts.workspace.store.queued)
        for upstream in parts.workspace.catalogue.upstreams:
            name, circuit = upstream.name, upstream.circuit
            self._circuit_open.labels(name).set(circuit.is_open)
            self._upstream_failures.labels(name).inc(circuit.failures - self._failures_told.get(name, 0))
            self._failures_told[name] = circuit.failures
            self._odd_usages.labels(name).inc(upstream.odd_usages - self._odd_usages_told.get(name, 0))
            self._odd_usages_told[name] = upstream.odd_usages

    def told(self) -> bytes:
        """All numbers of all workers in Prometheus' text format. Reads files; run it in a thread."""
        folder = os.environ.get(FOLDER_VARIABLE)
        if folder is None:
            return generate_latest(self._registry)
        _forget_the_dead(Path(folder))
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


def _forget_the_dead(folder: Path) -> None:
    """What a killed worker had in flight is not in flight any more; what it counted stays."""
    pids = {int(path.stem.rsplit("_", 1)[1]) for path in folder.glob("gauge_live*_*.db")}
    for pid in pids:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid, path=str(folder))  # type: ignore[no-untyped-call]
