"""One inference request from bytes to bytes, in any dialect."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from time import monotonic
from typing import Any, NamedTuple

from modelyard.oip.errors import Rejected, shown
from modelyard.oip.form import is_form, parse_fields
from modelyard.oip.infer_request import parse_infer
from modelyard.oip.model import Query, Rendered, ServedModel
from modelyard.oip.regions import Regions
from modelyard.oip.rows import parse_rows
from modelyard.serving.answers import document_of, identified
from modelyard.serving.batching.merging import check_pad, rows_of
from modelyard.serving.bodies import with_body
from modelyard.serving.caching import COLLAPSED, HIT
from modelyard.serving.comparing import HEADER
from modelyard.serving.errors import Problem
from modelyard.serving.hosted import HostedModel
from modelyard.serving.http.coding import COMPRESS_BYTES, compress, wanted_coding
from modelyard.serving.http.messages import Exchange, Response
from modelyard.serving.jobs import LOWEST_PRIORITY, USUAL_PRIORITY, Job, Prediction
from modelyard.serving.metrics import STAGES
from modelyard.serving.statistics import Stages
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


class Asked(NamedTuple):
    """What a request asks for besides its inputs."""

    parameters: Mapping[str, Any]
    timeout_seconds: float
    priority: int
    cacheable: bool


@dataclass(slots=True, eq=False)
class Call:
    """One request on its way."""

    exchange: Exchange
    dialect: Dialect
    query: Query
    job: Job | None = None
    stream: EventStream | None = None


class Inference:
    """Answers inference requests with a model's predictions."""

    def __init__(self, hosted: HostedModel, finish: Finish) -> None:
        self.hosted = hosted
        self._dispatcher = hosted.dispatcher
        self._metrics = hosted.metrics
        self.finish = finish
        self._timeout_seconds = hosted.config.limits.request_timeout_seconds
        self._limit = hosted.config.limits.max_body_bytes

    def begin(self, exchange: Exchange, dialect: Dialect) -> None:
        """Take a request and answer it later; raises Problem and Rejected for what never begins."""
        with_body(
            exchange,
            self._limit,
            partial(self.submit, exchange, dialect),
            partial(self.finish, exchange, dialect.protocol),
        )

    def submit(self, exchange: Exchange, dialect: Dialect, body: bytes) -> None:
        """Predict for a body that is inflated already; raises like `begin`."""
        if exchange.answered:
            return  # the client has gone
        query = dialect.parse(exchange, body, self.hosted.model)
        call = Call(exchange, dialect, query)
        done: Callable[[Prediction | Problem], None] = partial(self.done, call)
        mark, kept = exchange.headers.get(HEADER), self.hosted.comparisons
        if mark is not None and kept is not None and query.events is None:
            done = kept.watching(mark, query.inputs, exchange.received_at, done)
        asked = self.asked(exchange, query)
        job = Job(
            inputs=query.inputs,
            parameters=asked.parameters,
            deadline=exchange.received_at + asked.timeout_seconds,
            timeout_seconds=asked.timeout_seconds,
            submitted_at=monotonic(),
            done=done,
            priority=asked.priority,
            cacheable=asked.cacheable,
        )
        call.job = job
        if query.events is not None:
            headers = identified(self.hosted.headers, exchange)
            call.stream = EventStream(exchange, query.events, headers, partial(document_of, exchange))
            job.on_part = partial(self._part, call)
        exchange.on_gone = partial(self._dispatcher.cancel, job)
        try:
            self._dispatcher.submit(job)
        except Problem as problem:
            self.turned_away(problem)
            raise

    def cancel(self, job: Job) -> None:
        """Forget a job whose client has gone."""
        self._dispatcher.cancel(job)

    def turned_away(self, problem: Problem) -> None:
        """Count a job that was not taken."""
        self._metrics.count_shed(problem.reason or "Unavailable")

    def asked(self, exchange: Exchange, query: Query) -> Asked:
        """What a request's headers and parameters ask for; raises Rejected."""
        parameters = query.parameters
        if query.outputs:
            parameters = {**parameters, "requested_outputs": query.outputs}
        timeout = self._timeout(exchange, query)
        priority = _priority(exchange, parameters)
        cacheable = not _wants_fresh(exchange, parameters)
        check_pad(parameters)
        return Asked(parameters, timeout, priority, cacheable)

    def _timeout(self, exchange: Exchange, query: Query) -> float:
        header = exchange.headers.get(b"x-request-timeout")
        asked = [] if query.timeout_seconds is None else [query.timeout_seconds]
        if header is not None:
            asked.append(_seconds(header))
        return min(*asked, LONGEST_TIMEOUT_SECONDS) if asked else self._timeout_seconds

    def done(self, call: Call, outcome: Prediction | Problem) -> None:
        """Answer a call."""
        if isinstance(outcome, Problem):
            if outcome.safe:
                self._metrics.count_shed(outcome.reason or "Unavailable")
            self._fail(call, outcome)
            return
        job = call.job
        assert job is not None  # noqa: S101 - set before the dispatcher saw it
        self._metrics.queue_seconds.observe(job.begun_at - job.submitted_at)
        job.answered_at = job.answered_at or monotonic()
        if call.stream is not None:
            self._last(call, call.stream, outcome)
            return
        try:
            rendered = call.query.render(outcome.outputs)
        except Rejected as error:
            self._fail(call, error)
            return
        self._count(call, job, outcome, since=job.answered_at)
        response = _response(rendered, call.exchange)
        stages = _stages(call.exchange.received_at, job, outcome, monotonic())
        self._metrics.observe_stages(stages)
        response.headers += _timing(stages)
        if job.cache_status:
            response.headers += b"Cache-Status: modelyard; %b\r\n" % job.cache_status.encode()
        self.finish(call.exchange, call.dialect.protocol, response)

    def _count(self, call: Call, job: Job, outcome: Prediction, *, since: float) -> None:
        """Count a success; its answer is being written since then."""
        now = monotonic()
        shared = job.cache_status in (HIT, COLLAPSED)
        stages = Stages(
            total=now - call.exchange.received_at,
            queue=job.begun_at - job.submitted_at,
            input=job.submitted_at - call.exchange.received_at,
            infer=0.0 if shared else outcome.infer_seconds,
            output=now - since,
        )
        self.hosted.statistics.succeeded(stages, rows=max(rows_of(job.inputs), 1))
        if job.cache_status:
            self.hosted.statistics.looked_up(hit=shared, seconds=since - job.submitted_at)

    def _part(self, call: Call, prediction: Prediction) -> None:
        """Send a part; an answer that cannot go on is given up."""
        if call.stream is None or call.job is None:
            return
        try:
            call.stream.part(prediction)
        except (Problem, Rejected) as error:
            self._dispatcher.cancel(call.job)
            self._fail(call, error)

    def _last(self, call: Call, stream: EventStream, outcome: Prediction) -> None:
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

    def _fail(self, call: Call, error: Problem | Rejected) -> None:
        if call.stream is not None and call.stream.has_begun:
            self.hosted.statistics.failed(monotonic() - call.exchange.received_at)
            call.stream.fail(error)
            self._ended(call, error.status if isinstance(error, Problem) else 400)
        else:
            self.finish(call.exchange, call.dialect.protocol, error)

    def _ended(self, call: Call, status: int) -> None:
        """Count an answer that went out in parts."""
        self._metrics.count(call.dialect.protocol, status)
        self._metrics.request_seconds.observe(monotonic() - call.exchange.received_at)


def _stages(received_at: float, job: Job, outcome: Prediction, now: float) -> Sequence[float]:
    """Seconds of each of STAGES; together they are the time from the request's last byte until now."""
    answered = job.answered_at
    inside = min(outcome.infer_seconds, max(answered - job.begun_at - job.merge_seconds, 0.0))
    if job.cache_status in (HIT, COLLAPSED):
        # Another request's call, or none, was what it waited for.
        inside = 0.0
    return (
        job.submitted_at - received_at,
        job.begun_at - job.submitted_at,
        job.merge_seconds,
        max(answered - job.begun_at - job.merge_seconds - inside, 0.0),
        min(outcome.preprocess_seconds, inside),
        max(inside - outcome.preprocess_seconds, 0.0),
        now - answered,
    )


def _timing(stages: Sequence[float]) -> bytes:
    spans = ", ".join(f"{name};dur={seconds * 1e3:.3f}" for name, seconds in zip(STAGES, stages, strict=True))
    return f"Server-Timing: {spans}, total;dur={sum(stages) * 1e3:.3f}\r\n".encode()


def _response(rendered: Rendered, exchange: Exchange) -> Response:
    parts, headers = rendered.parts, b""
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


def _priority(exchange: Exchange, parameters: Mapping[str, Any]) -> int:
    """1 first, 9 last; 0 and nothing mean the usual 5. The header is for clients without parameters."""
    asked, path = parameters.get("priority"), "parameters.priority"
    header = exchange.headers.get(b"x-request-priority")
    if asked is None and header is not None:
        path = "headers.X-Request-Priority"
        text = header.strip().decode("latin-1")
        asked = int(text) if text.isdecimal() and len(text) < 20 else text
    if asked is None or asked == 0:
        return USUAL_PRIORITY
    if isinstance(asked, bool) or not isinstance(asked, int) or not 0 < asked <= LOWEST_PRIORITY:
        raise Rejected(path, f"expected 1 (first) to {LOWEST_PRIORITY} (last), or 0, got {shown(asked)}")
    return asked


def _wants_fresh(exchange: Exchange, parameters: Mapping[str, Any]) -> bool:
    """Whether the client wants no answer that was kept."""
    asked = parameters.get("cache")
    if asked is not None and not isinstance(asked, bool):
        raise Rejected("parameters.cache", f"expected true or false, got {shown(asked)}")
    control = exchange.headers.get(b"cache-control", b"").lower()
    return asked is False or b"no-cache" in control or b"no-store" in control
