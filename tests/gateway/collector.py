"""An OpenTelemetry collector: takes traces over HTTP as protobuf, and keeps them."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class Collector:
    """A context manager; ``spans`` and ``raw`` are what came so far."""

    def __init__(self):
        self.spans = []
        self.services = set()
        self.raw = b""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def named(self, beginning):
        return [span for span in self.spans if span.name.startswith(beginning)]

    def _take(self, path, body):
        assert path == "/v1/traces", path
        self.raw += body
        for each in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.services |= {attributes(each.resource)["service.name"]}
            for scope in each.scope_spans:
                self.spans += scope.spans

    def _handler(self):
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                collector._take(self.path, self.rfile.read(int(self.headers["content-length"])))
                told = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(told)))
                self.end_headers()
                self.wfile.write(told)

            def log_message(self, *_):
                pass

        return Handler


def attributes(holder):
    """What a span or a resource says, by name."""
    values = {each.key: each.value for each in holder.attributes}
    return {name: getattr(value, value.WhichOneof("value")) for name, value in values.items()}
