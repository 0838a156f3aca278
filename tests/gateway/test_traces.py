"""Traces as a collector gets them: the request, the model call below it, and nothing of what was said (spec D5)."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.collector import Collector, attributes
from gateway.running import Gateway

PROBE = str(Path(__file__).parent / "probe.py")
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SERVER, CLIENT = 2, 3
ERROR = 2

pytestmark = pytest.mark.slow


@pytest.fixture
def collector():
    with Collector() as running:
        yield running


def test_a_request_and_its_model_call(tmp_path, collector):
    toml = f'[telemetry]\nendpoint = "{collector.url}"\nservice_name = "gateway-1"\n'
    headers = {"traceparent": PARENT, "authorization": "Bearer pp_secret", "x-request-id": "traced-1"}
    with Gateway(tmp_path, toml, program=(PROBE,)) as gateway:
        assert gateway.get("/test/slow?0.05", headers=headers).status_code == 200
    (served,) = collector.named("GET /test/slow")
    (asked,) = collector.named("chat offline")
    assert collector.services == {"gateway-1"}
    assert (served.kind, asked.kind) == (SERVER, CLIENT)
    assert served.trace_id.hex() == asked.trace_id.hex() == PARENT.split("-")[1]
    assert served.parent_span_id.hex() == PARENT.split("-")[2]
    assert asked.parent_span_id == served.span_id
    assert 50e6 <= served.end_time_unix_nano - served.start_time_unix_nano < 120e9
    assert attributes(served) == {
        "http.request.method": "GET",
        "http.route": "/test/slow",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "prepaid.request_id": "traced-1",
    }
    assert attributes(asked) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "offline",
        "gen_ai.system": "offline",
        "gen_ai.request.model": "offline",
        "gen_ai.request.stream": False,
        "gen_ai.usage.input_tokens": 5,
        "gen_ai.usage.output_tokens": 3,
        "prepaid.session_id": "ses_1",
        "prepaid.cost_base_units": 7,
    }
    assert b"pp_secret" not in collector.raw


def test_a_failure_is_marked_and_not_quoted(tmp_path, collector):
    with Gateway(tmp_path, program=(PROBE,), OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as gateway:
        assert gateway.get("/test/defect").status_code == 500
        assert gateway.get("/healthz").status_code == 200
    (failed,) = collector.named("GET /test/defect")
    assert failed.status.code == ERROR
    assert {span.status.code for span in collector.named("GET /healthz")} == {0}
    assert collector.services == {"prepaid"}
    assert b"my-most-secret-prompt" not in collector.raw


def test_a_collector_that_is_not_there_harms_nobody(tmp_path):
    with Gateway(
        tmp_path, '[telemetry]\nendpoint = "http://127.0.0.1:9"\n', OTEL_EXPORTER_OTLP_TRACES_TIMEOUT="1"
    ) as gateway:
        assert gateway.get("/healthz").status_code == 200
        gateway.process.terminate()
        gateway.process.wait(120)
    assert gateway.records()[-1]["message"] == "stopped"


def test_nothing_is_imported_where_nothing_is_traced(tmp_path):
    with Gateway(tmp_path) as gateway:
        maps = Path(f"/proc/{gateway.process.pid}/maps").read_text()
    assert "google/_upb" not in maps  # protobuf, which only the exporter needs
