"""One inference request from bytes to bytes, in any dialect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import isfinite
from time import monotonic

from modelyard.oip.errors import Rejected
from modelyard.oip.form import is_form, parse_fields
from modelyard.oip.infer_request import parse_infer
from modelyard.oip.model import Query, Rendered, ServedModel
from modelyard.oip.regions import Regions
from modelyard.oip.rows import parse_rows
from modelyard.serving.answers import document_of, identified
from modelyard.serving.bodies import with_body
from modelyard.serving.errors import Problem
from modelyard.serving.hosted import HostedModel
from modelyard.serving.http.coding import COMPRESS_BYTES, compress, wanted_coding
from modelyard.serving.http.messages import Exchange, Response
from modelyard.serving.jobs import Job, Prediction
from modelyard.serving.statistics import Stages, rows_in
from modelyard.serving.streaming import EventStream

LONGEST_TIMEOUT_SECONDS = 86_400.0

Parse = Callable[[Exchange, bytes, ServedModel], Query]
Finish = Callable[[Exchange, str, Response | Problem | Rejected], None]
"""Answers an exchange and counts it under a protocol."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """A way to ask for predictions."""

    protocol: str
    """Its name in metrics."""
    parse: Parse


def parse_v2(
    exchange: Exchange, body: bytes, model: ServedModel, *, name: str = "", regions: Regions | None = None
) -> Query:
    """Open Inference Protocol v2; the header says where JSON ends and binary data begins."""
    length = exchange.headers.get(b"inference-header-content-length")
    if length is None:
        return parse_infer(body, None, model, name=name, regions=regions)
    text = length.strip()
    if not text.isdigit():
        shown = text[:40].decode("latin-1")
        message = f"inference header size should be in range (0, {len(body)}), got: {shown}"
        raise Rejected("headers.Inference-Header-Content-Length", message)
    return parse_infer(body, int(text[:19]), model, name=name, regions=regions)


def parse_table(exchange: Exchange, body: bytes, model: ServedModel) -> Query:
    """Rows, in the orientation in which the answer goes back; or a form, whose files are inputs too."""
    kind = exchange.headers.get(b"content-type")
    if kind is not None and is_form(kind):
        return parse_fields(kind, body, model)
    return parse_rows(body, model)


@dataclass(slots=True, eq=False)
class _Call:
    """One request on its way."""

    exchange: Exchange
    dialect: Dialect
    query: Query
    job: Job | None = None
    stream: EventStream | None = None


class Inference:
    """Answers inference requests with a model's predictions."""

    def __init__(self, hosted: HostedModel, finish: Finish) -> None:
        self._hosted = hosted
        self._dispatcher = hosted.dispatcher
        self._metrics = hosted.metrics
        self._finish = finish
        self._timeout_seconds = hosted.config.limits.request_timeout_seconds
        self._limit = hosted.config.limits.max_body_bytes

    def begin(self, exchange: Exchange, dialect: Dialect) -> None:
        """Take a request and answer it later; raises Problem and Rejected for what never begins."""
        with_body(
            exchange,
            self._limit,
            partial(self.submit, exchange, dialect),
            partial(self._finish, exchange, dialect.protocol),
        )

    def submit(self, exchange: Exchange, dialect: Dialect, body: bytes) -> None:
        """Predict for a body that is inflated already; raises like `begin`."""
        if exchange.answered:
            return  # the client has gone
        query = dialect.parse(exchange, body, self._hosted.model)
        timeout = self._timeout(exchange, query)
        call = _Call(exchange, dialect, query)
        parameters = query.parameters
        if query.outputs:
            parameters = {**parameters, "requested_outputs": query.outputs}
        job = Job(
            inputs=query.inputs,
            parameters=parameters,
            deadline=exchange.received_at + timeout,
            timeout_seconds=timeout,
            submitted_at=monotonic(),
            done=partial(self._done, call),
        )
        call.job = job
        if query.events is not None:
            headers = identified(self._hosted.headers, exchange)
            call.stream = EventStream(exchange, query.events, headers, partial(document_of, exchange))
            job.on_part = partial(self._part, call)
        exchange.on_gone = partial(self._dispatcher.cancel, job)
        try:
            self._dispatcher.submit(job)
        except Problem as problem:
            self._metrics.count_shed(problem.reason or "Unavailable")
            raise

    def _timeout(self, exchange: Exchange, query: Query) -> float:
        header = exchange.headers.get(b"x-request-timeout")
        asked = [] if query.timeout_seconds is None else [query.timeout_seconds]
        if header is not None:
            asked.append(_seconds(header))
        return min(*asked, LONGEST_TIMEOUT_SECONDS) if asked else self._timeout_seconds

    def _done(self, call: _Call, outcome: Prediction | Problem) -> None:
        if isinstance(outcome, Problem):
            self._fail(call, outcome)
            return
        now = monotonic()
        job = call.job
        assert job is not None  # noqa: S101 - set before the dispatcher saw it
        self._metrics.queue_seconds.observe(job.begun_at - job.submitted_at)
        self._metrics.inference_seconds.observe(outcome.infer_seconds)
        self._metrics.batch_size.observe(rows_in(outcome.outputs))
        self._hosted.statistics.executed(rows_in(outcome.outputs), outcome.infer_seconds)
        if call.stream is not None:
            self._last(call, call.stream, outcome)
            return
        try:
            rendered = call.query.render(outcome.outputs)
        except Rejected as error:
            self._fail(call, error)
            return
        self._count(call, job, outcome, since=now)
        timing = b"Server-Timing: queue;dur=%.3f, infer;dur=%.3f, total;dur=%.3f\r\n" % (
            (job.begun_at - job.submitted_at) * 1e3,
            outcome.infer_seconds * 1e3,
            (now - call.exchange.received_at) * 1e3,
        )
        self._finish(call.exchange, call.dialect.protocol, _response(rendered, call.exchange, timing))

    def _count(self, call: _Call, job: Job, outcome: Prediction, *, since: float) -> None:
        """Count a success; its answer is being written since then."""
        now = monotonic()
        stages = Stages(
            total=now - call.exchange.received_at,
            queue=job.begun_at - job.submitted_at,
            input=job.submitted_at - call.exchange.received_at,
            infer=outcome.infer_seconds,
            output=now - since,
        )
        self._hosted.statistics.succeeded(stages, rows=rows_in(outcome.outputs))

    def _part(self, call: _Call, prediction: Prediction) -> None:
        """Send a part; an answer that cannot go on is given up."""
        if call.stream is None or call.job is None:
            return
        try:
            call.stream.part(prediction)
        except (Problem, Rejected) as error:
            self._dispatcher.cancel(call.job)
            self._fail(call, error)

    def _last(self, call: _Call, stream: EventStream, outcome: Prediction) -> None:
        """End a stream; an answer that came at once is its one part."""
        if outcome.outputs and not stream.has_begun:
            self._part(call, outcome)
        else:
            stream.begin()
        if stream.has_begun:
            begun_at = monotonic()
            stream.last()
            self._ended(call, 200)
            if call.job is not None:
                self._count(call, call.job, outcome, since=begun_at)

    def _fail(self, call: _Call, error: Problem | Rejected) -> None:
        if call.stream is not None and call.stream.has_begun:
            self._hosted.statistics.failed(monotonic() - call.exchange.received_at)
            call.stream.fail(error)
            self._ended(call, error.status if isinstance(error, Problem) else 400)
        else:
            self._finish(call.exchange, call.dialect.protocol, error)

    def _ended(self, call: _Call, status: int) -> None:
        """Count an answer that went out in parts."""
        self._metrics.count(call.dialect.protocol, status)
        self._metrics.request_seconds.observe(monotonic() - call.exchange.received_at)


def _response(rendered: Rendered, exchange: Exchange, headers: bytes) -> Response:
    parts = rendered.parts
    if rendered.json_length is not None:
        headers += b"Inference-Header-Content-Length: %d\r\n" % rendered.json_length
    accept = exchange.headers.get(b"accept-encoding")
    if accept is not None and sum(map(len, parts)) >= COMPRESS_BYTES:
        coding = wanted_coding(accept)
        if coding:
            headers += b"Content-Encoding: %b\r\nVary: Accept-Encoding\r\n" % coding
            parts = (compress(parts, coding),)
    return Response(200, parts, content_type=rendered.content_type, headers=headers)


def _seconds(header: bytes) -> float:
    text = header.decode("latin-1").strip()
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not isfinite(seconds) or seconds <= 0:
        raise Rejected("headers.X-Request-Timeout", f'expected seconds such as 2.5, got "{text[:40]}"')
    return seconds
