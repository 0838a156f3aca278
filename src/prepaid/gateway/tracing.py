"""OpenTelemetry traces (spec D5), by the GenAI semantic conventions. Imported only where they are configured.

Each request is a server span; one that a model answered has a client span below it. Neither carries a key, a
prompt or an answer.
"""

from __future__ import annotations

import time
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from prepaid.config import TelemetrySettings
from prepaid.gateway.asgi import Request

__all__ = ["Tracing"]

_OPERATIONS: Final = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "chat",
    "/v1/embeddings": "embeddings",
}
_BROKEN: Final = 500


class Tracing:
    """Tells a collector of every request, in batches, from a thread of its own.

    Headers, sampling and time limits are read from OpenTelemetry's own variables.
    """

    def __init__(self, settings: TelemetrySettings) -> None:
        endpoint = None if settings.endpoint is None else f"{settings.endpoint}/v1/traces"
        resource = Resource.create({SERVICE_NAME: settings.service_name})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
        self._tracer = self._provider.get_tracer("prepaid.gateway")
        self._propagator = TraceContextTextMapPropagator()

    def note(self, request: Request, seconds: float) -> None:
        """A request is answered. Its parent is whatever its ``traceparent`` names."""
        ended_ns = time.time_ns()
        began_ns = ended_ns - int(seconds * 1e9)
        carried = {
            name: value.decode("latin-1")
            for name in ("traceparent", "tracestate")
            if (value := request.header(name.encode())) is not None
        }
        served = self._tracer.start_span(
            f"{request.method} {request.route or 'unknown'}",
            self._propagator.extract(carried),
            SpanKind.SERVER,
            _served(request),
            start_time=began_ns,
        )
        if request.status >= _BROKEN or not request.status:
            _fail(served, request)
        if request.model is not None:
            operation = _OPERATIONS.get(request.route, "chat")
            asked = self._tracer.start_span(
                f"{operation} {request.model}",
                set_span_in_context(served),
                SpanKind.CLIENT,
                _asked(request, operation, request.model),
                start_time=began_ns,
            )
            if request.error is not None:
                _fail(asked, request)
            asked.end(ended_ns)
        served.end(ended_ns)

    def close(self) -> None:
        """Send what was not sent yet. Blocks, at most for as long as the exporter may take."""
        self._provider.shutdown()


def _fail(span: Span, request: Request) -> None:
    """Mark it with our error's code, which quotes nothing."""
    span.set_status(Status(StatusCode.ERROR))
    span.set_attribute("error.type", request.error or "_OTHER")


def _served(request: Request) -> dict[str, AttributeValue]:
    told: dict[str, AttributeValue] = {
        "http.request.method": request.method,
        "http.route": request.route or "unknown",
        "url.scheme": "http",
        "prepaid.request_id": request.id,
    }
    if request.status:
        told["http.response.status_code"] = request.status
    return told


def _asked(request: Request, operation: str, model: str) -> dict[str, AttributeValue]:
    told: dict[str, AttributeValue] = {
        "gen_ai.operation.name": operation,
        "gen_ai.request.model": model,
        "gen_ai.request.stream": request.is_stream,
    }
    if request.provider is not None:
        told["gen_ai.provider.name"] = told["gen_ai.system"] = request.provider
    if request.usage is not None:
        told["gen_ai.usage.input_tokens"] = request.usage.input_tokens
        told["gen_ai.usage.output_tokens"] = request.usage.output_tokens
    if request.session_id is not None:
        told["prepaid.session_id"] = request.session_id
    if request.cost is not None:
        told["prepaid.cost_base_units"] = request.cost
    return told
