"""What all faces of a front share: finding the endpoint, one answer for each request, counting."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, Protocol

import orjson

from modelyard.oip.errors import Rejected
from modelyard.serving.answers import identified, problem_response
from modelyard.serving.bodies import with_body
from modelyard.serving.catalog import ALIAS, Catalog
from modelyard.serving.errors import Failure, Problem
from modelyard.serving.hosted import HostedModel
from modelyard.serving.http.messages import Exchange, Response
from modelyard.serving.inference import Dialect, Inference
from modelyard.serving.logs import Log
from modelyard.serving.quick.answers import Answers, JsonAnswers
from modelyard.serving.quick.identities import Identities
from modelyard.serving.quick.lane import Way
from modelyard.serving.quick.plan import Plan, is_plain
from modelyard.serving.regions import SharedRegions
from modelyard.serving.remembering import Remembering
from modelyard.serving.routing import Endpoint, Named, Route, Router

Offer = Callable[[], tuple[Mapping[str, Route], Mapping[str, Named]]]
"""The paths that are answered, and beginnings of paths that go on with a name."""

CONTROL = "control"
"""Protocol under which requests that predict nothing are counted."""


class Status(Protocol):
    """What faces ask of the front."""

    @property
    def is_ready(self) -> bool:
        """Whether every model that is wanted can answer now."""

    @property
    def obstacle(self) -> Failure | None:
        """Why not, when it is not."""

    @property
    def connections(self) -> int:
        """Open connections."""

    @property
    def document(self) -> bytes:
        """What the front says of itself to the platform, JSON."""


class Application:
    """Answers exchanges with the endpoints that faces offer."""

    def __init__(
        self, catalog: Catalog, status: Status, log: Log, *, shared_memory: bool, aliases: bool = False
    ) -> None:
        """`aliases` is whether only the gateway asks, which may say as which service it was asked."""
        self.catalog = catalog
        self.status = status
        self.regions = SharedRegions(offered=shared_memory)
        self._log = log
        self._identities = Identities()
        self._inferences = {
            hosted: Inference(hosted, partial(self.finish, hosted)) for hosted in catalog.models
        }
        self._aliases = aliases
        self._offer: Offer = lambda: ({}, {})
        self._ways: dict[tuple[HostedModel, str], Way] = {}
        self._router = Router({}, nothing_at=catalog.nothing_at)

    @property
    def limit_bytes(self) -> int:
        """The largest body that is taken."""
        return self.catalog.default.config.limits.max_body_bytes

    def offer(self, offer: Offer) -> None:
        """Answer these paths; they are asked for again when the models get another name."""
        self._offer = offer
        routes, named = offer()
        self._router = Router(routes, named=named, nothing_at=self.catalog.nothing_at)

    def __call__(self, exchange: Exchange) -> None:
        """Answer a request, now or later."""
        self.run(exchange, self._route)

    def run(self, exchange: Exchange, endpoint: Endpoint) -> None:
        """Answer a request with this endpoint; whatever goes wrong becomes the answer."""
        exchange.identity = self._identities.of(exchange.headers.get(b"x-request-id"))
        try:
            endpoint(exchange)
        except (Problem, Rejected) as error:
            self.finish(self.catalog.default, exchange, CONTROL, error)
        except Exception as error:  # noqa: BLE001 - a fault of ours must cost one request, never the replica
            self._fault(exchange, error)

    def plan(self, first: Exchange) -> Plan | None:
        """The quick way for requests that have the head of this one; None when there is none."""
        if not is_plain(first):
            return None
        try:
            endpoint = self._found(first)
        except Problem:
            return None
        if not isinstance(endpoint, Predicting) or not isinstance(endpoint.dialect.parse, Remembering):
            return None
        way = self.way(endpoint.inference.hosted, endpoint.dialect, JsonAnswers)
        return None if way is None else Plan(way, endpoint.dialect.parse, first)

    def way(self, hosted: HostedModel, dialect: Dialect, answers: type[Answers]) -> Way | None:
        """Where requests for a model go the quick way; None when its answers are kept for others."""
        if hosted.dispatcher.cache is not None:
            return None
        found = self._ways.get((hosted, dialect.protocol))
        if found is None:
            made = answers(hosted, dialect.protocol, self._identities)
            found = self._ways[hosted, dialect.protocol] = Way(
                self._inferences[hosted], dialect, made, self._fault
            )
        return found

    def _fault(self, exchange: Exchange, error: Exception) -> None:
        self._log.error(
            "fault", request_id=exchange.identity, trace="".join(traceback.format_exception(error))
        )
        fault = Problem(500, "internal", "the inference server has a fault; see its log")
        self.finish(self.catalog.default, exchange, CONTROL, fault)

    def learn(self, exchange: Exchange) -> bool:
        """Answer as the services that the gateway was asked for from now on; says whether that is new."""
        said = exchange.headers.get(ALIAS, b"") if self._aliases else b""
        if not any([self.catalog.learn(alias) for alias in said.decode("latin-1").split(",")]):
            return False
        self.offer(self._offer)
        return True

    def find(self, exchange: Exchange, name: str, version: str = "") -> HostedModel:
        """The model that a message names; raises Problem 404."""
        if not self.catalog.versions(name):
            self.learn(exchange)
        return self.catalog.find(name, version)

    def _route(self, exchange: Exchange) -> None:
        self._found(exchange)(exchange)

    def _found(self, exchange: Exchange) -> Endpoint:
        """The endpoint for a request; raises Problem 404 and 405."""
        try:
            return self._router.find(exchange)
        except Problem:
            if not self.learn(exchange):
                raise
            return self._router.find(exchange)

    def refuse(self, problem: Problem, exchange: Exchange) -> Response:
        """The answer to a request that was never read to its end."""
        exchange.identity = self._identities.of(exchange.headers.get(b"x-request-id"))
        default = self.catalog.default
        default.metrics.count(CONTROL, problem.status)
        return _completed(default, exchange, problem_response(problem, exchange))

    def finish(
        self, hosted: HostedModel, exchange: Exchange, protocol: str, answer: Response | Problem | Rejected
    ) -> None:
        """Answer an exchange for a model, count it and log what went wrong."""
        if exchange.answered:
            return
        if isinstance(answer, Rejected):
            answer = Problem(400, "invalid", str(answer), path=answer.path)
        if isinstance(answer, Problem):
            if answer.status >= 500 or protocol != CONTROL:
                self._log.request(
                    "refused",
                    request_id=exchange.identity,
                    code=answer.status,
                    reason=answer.reason or answer.code,
                    message=answer.message if answer.status >= 500 else "",
                )
            answer = problem_response(answer, exchange)
        hosted.metrics.count(protocol, answer.status)
        if protocol != CONTROL:
            seconds = monotonic() - exchange.received_at
            hosted.metrics.request_seconds.observe(seconds)
            if answer.status >= 400:
                hosted.statistics.failed(seconds)
        exchange.answer(_completed(hosted, exchange, answer))

    # What faces make their endpoints of.

    def infer(self, hosted: HostedModel, dialect: Dialect) -> Endpoint:
        """An endpoint that predicts with a model in a dialect."""
        return Predicting(self._inferences[hosted], dialect)

    def infer_chosen(self, choose: Callable[[bytes], HostedModel], dialect: Dialect) -> Endpoint:
        """An endpoint that predicts with the model that a request's body names."""
        default = self.catalog.default

        def endpoint(exchange: Exchange) -> None:
            refuse = partial(self.finish, default, exchange, dialect.protocol)

            def take(body: bytes) -> None:
                self.learn(exchange)
                hosted = choose(body)
                self._inferences[hosted].submit(exchange, dialect, body)

            try:
                with_body(exchange, default.config.limits.max_body_bytes, take, refuse)
            except (Problem, Rejected) as error:
                refuse(error)

        return endpoint

    def predict(self, hosted: HostedModel, exchange: Exchange, dialect: Dialect) -> None:
        """Predict for a request whose body is inflated already."""
        try:
            self._inferences[hosted].submit(exchange, dialect, exchange.body)
        except (Problem, Rejected) as error:
            self.finish(hosted, exchange, dialect.protocol, error)

    def identified(self, given: bytes | None) -> bytes:
        """Header lines that say who answers a request for no model in particular, and which request."""
        identity = self._identities.of(given).encode("latin-1")
        return b"%bX-Request-Id: %b\r\n" % (self.catalog.default.headers, identity)

    def fixed(self, document: Mapping[str, Any]) -> Endpoint:
        """An endpoint whose answer is always the same."""
        body = orjson.dumps(document)

        def endpoint(exchange: Exchange) -> None:
            self.reply(exchange, Response(200, (body,)))

        return endpoint

    def reply(
        self, exchange: Exchange, response: Response | Problem, hosted: HostedModel | None = None
    ) -> None:
        """Answer a request that predicts nothing."""
        self.finish(hosted or self.catalog.default, exchange, CONTROL, response)


@dataclass(frozen=True, slots=True)
class Predicting:
    """The endpoint that predicts with one model in one dialect."""

    inference: Inference
    dialect: Dialect

    def __call__(self, exchange: Exchange) -> None:
        """Begin a prediction, or answer why there is none."""
        try:
            self.inference.begin(exchange, self.dialect)
        except (Problem, Rejected) as error:
            self.inference.finish(exchange, self.dialect.protocol, error)


def _completed(hosted: HostedModel, exchange: Exchange, response: Response) -> Response:
    response.headers += identified(hosted.headers, exchange)
    return response
