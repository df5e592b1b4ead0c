"""One inference request from bytes to bytes, in any dialect."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from time import monotonic

from modelyard.oip.errors import Rejected
from modelyard.oip.infer_request import parse_infer
from modelyard.oip.model import Query, Rendered, ServedModel
from modelyard.oip.rows import parse_rows
from modelyard.serving.errors import Problem
from modelyard.serving.hosted import HostedModel
from modelyard.serving.http.coding import (
    COMPRESS_BYTES,
    QUICK_BYTES,
    compress,
    inflate,
    wanted_coding,
    window_of,
)
from modelyard.serving.http.messages import Exchange, Response
from modelyard.serving.jobs import Job, Prediction

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


def parse_v2(exchange: Exchange, body: bytes, model: ServedModel, *, name: str = "") -> Query:
    """Open Inference Protocol v2; the header says where JSON ends and binary data begins."""
    length = exchange.headers.get(b"inference-header-content-length")
    if length is None:
        return parse_infer(body, None, model, name=name)
    text = length.strip()
    if not text.isdigit():
        shown = text[:40].decode("latin-1")
        message = f"inference header size should be in range (0, {len(body)}), got: {shown}"
        raise Rejected("headers.Inference-Header-Content-Length", message)
    return parse_infer(body, int(text[:19]), model, name=name)


def parse_table(exchange: Exchange, body: bytes, model: ServedModel) -> Query:
    """Rows, in the orientation in which the answer goes back."""
    del exchange
    return parse_rows(body, model)


@dataclass(slots=True, eq=False)
class _Call:
    """One request on its way."""

    exchange: Exchange
    dialect: Dialect
    query: Query
    job: Job | None = None


class Inference:
    """Answers inference requests with a model's predictions."""

    def __init__(self, hosted: HostedModel, finish: Finish) -> None:
        self._hosted = hosted
        self._dispatcher = hosted.dispatcher
        self._metrics = hosted.metrics
        self._finish = finish
        self._timeout_seconds = hosted.config.limits.request_timeout_seconds
        self._limit = hosted.config.limits.max_body_bytes
        self._loop = asyncio.get_running_loop()

    def begin(self, exchange: Exchange, dialect: Dialect) -> None:
        """Take a request and answer it later; raises Problem and Rejected for what never begins."""
        coding = exchange.headers.get(b"content-encoding")
        window = window_of(coding) if coding is not None else 0
        if not window or len(exchange.body) <= QUICK_BYTES:
            body = inflate(exchange.body, window, self._limit) if window else exchange.body
            self._submit(exchange, dialect, body)
            return
        # zlib lets go of the interpreter, so other requests go on meanwhile.
        inflating = self._loop.run_in_executor(None, inflate, exchange.body, window, self._limit)
        inflating.add_done_callback(partial(self._inflated, exchange, dialect))

    def _inflated(self, exchange: Exchange, dialect: Dialect, inflating: asyncio.Future[bytes]) -> None:
        try:
            self._submit(exchange, dialect, inflating.result())
        except (Problem, Rejected) as error:
            self._finish(exchange, dialect.protocol, error)

    def _submit(self, exchange: Exchange, dialect: Dialect, body: bytes) -> None:
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
            self._finish(call.exchange, call.dialect.protocol, outcome)
            return
        now = monotonic()
        job = call.job
        assert job is not None  # noqa: S101 - set before the dispatcher saw it
        self._metrics.queue_seconds.observe(job.begun_at - job.submitted_at)
        self._metrics.inference_seconds.observe(outcome.infer_seconds)
        self._metrics.batch_size.observe(_rows(outcome.outputs))
        try:
            rendered = call.query.render(outcome.outputs)
        except Rejected as error:
            self._finish(call.exchange, call.dialect.protocol, error)
            return
        timing = b"Server-Timing: queue;dur=%.3f, infer;dur=%.3f, total;dur=%.3f\r\n" % (
            (job.begun_at - job.submitted_at) * 1e3,
            outcome.infer_seconds * 1e3,
            (now - call.exchange.received_at) * 1e3,
        )
        self._finish(call.exchange, call.dialect.protocol, _response(rendered, call.exchange, timing))


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


def _rows(outputs: Sequence[object]) -> float:
    shape = getattr(outputs[0], "shape", ()) if outputs else ()
    return float(shape[0]) if shape else 1.0


def _seconds(header: bytes) -> float:
    text = header.decode("latin-1").strip()
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not isfinite(seconds) or seconds <= 0:
        raise Rejected("headers.X-Request-Timeout", f'expected seconds such as 2.5, got "{text[:40]}"')
    return seconds
