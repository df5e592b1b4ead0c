"""Everything a replica answers over HTTP."""

from __future__ import annotations

import secrets
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from time import monotonic
from typing import Any, Protocol

import orjson

from modelyard.oip.errors import Rejected
from modelyard.oip.metadata import model_metadata, repository_index, server_metadata
from modelyard.oip.model import ServedModel
from modelyard.serving.config import ReplicaConfig
from modelyard.serving.errors import Failure, Problem, unavailable
from modelyard.serving.http.messages import Exchange, Response, json_response
from modelyard.serving.inference import Dialect, Inference, parse_table, parse_v2
from modelyard.serving.logs import Log
from modelyard.serving.metrics import CONTENT_TYPE, Metrics
from modelyard.serving.routing import Endpoint, Route, Router

SERVER_NAME = "modelyard"
CONTROL = "control"
"""Protocol under which requests that predict nothing are counted."""


class Status(Protocol):
    """What the application asks of the front."""

    model: ServedModel

    @property
    def is_ready(self) -> bool:
        """Whether requests can be answered now."""

    @property
    def obstacle(self) -> Failure | None:
        """Why not, when it is not."""

    def gauges(self) -> Mapping[str, float]:
        """Metrics that go up and down, by name."""

    def counters(self) -> Mapping[str, float]:
        """Metrics that only go up, by name."""


class Application:
    """Answers exchanges: probes, metadata, metrics and inference."""

    def __init__(
        self, config: ReplicaConfig, status: Status, metrics: Metrics, log: Log, *, version: str
    ) -> None:
        self._config = config
        self._status = status
        self._metrics = metrics
        self._log = log
        self._server_version = version
        self._fixed = (
            f"X-Modelyard-Model-Version: {config.version}\r\nX-Modelyard-Revision: {config.revision}\r\n"
        ).encode("latin-1", "replace")
        self._identity_prefix = secrets.token_hex(6)
        self._identities = 0
        self._inference: Inference | None = None
        self._router = Router(self._routes(), models=config.names, version=config.version)

    def serve_with(self, inference: Inference) -> None:
        """Know who predicts."""
        self._inference = inference

    def __call__(self, exchange: Exchange) -> None:
        """Answer a request, now or later."""
        exchange.identity = self._identity(exchange.headers.get(b"x-request-id"))
        try:
            self._router.find(exchange)(exchange)
        except (Problem, Rejected) as error:
            self.finish(exchange, CONTROL, error)
        except Exception as error:  # noqa: BLE001 - a fault of ours must cost one request, never the replica
            self._log.error(
                "fault", request_id=exchange.identity, trace="".join(traceback.format_exception(error))
            )
            self.finish(
                exchange, CONTROL, Problem(500, "internal", "the inference server has a fault; see its log")
            )

    def refuse(self, problem: Problem, exchange: Exchange) -> Response:
        """The answer to a request that was never read to its end."""
        exchange.identity = self._identity(exchange.headers.get(b"x-request-id"))
        self._metrics.count(CONTROL, problem.status)
        return self._completed(exchange, _problem_response(problem, exchange))

    def finish(self, exchange: Exchange, protocol: str, answer: Response | Problem | Rejected) -> None:
        """Answer an exchange, count it and log what went wrong."""
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
            answer = _problem_response(answer, exchange)
        self._metrics.count(protocol, answer.status)
        if protocol != CONTROL:
            self._metrics.request_seconds.observe(monotonic() - exchange.received_at)
        exchange.answer(self._completed(exchange, answer))

    def _completed(self, exchange: Exchange, response: Response) -> Response:
        response.headers += b"%bX-Request-Id: %b\r\n" % (self._fixed, exchange.identity.encode("latin-1"))
        return response

    def _identity(self, given: bytes | None) -> str:
        if given is not None and 0 < len(given) <= 128 and given.isascii():
            text = given.decode()
            if text.isprintable():
                return text
        self._identities += 1
        return f"{self._identity_prefix}-{self._identities:x}"

    # Routes.

    def _routes(self) -> dict[str, Route]:
        routes = {
            "/v2": Route({"GET": self._fixed_json(server_metadata(SERVER_NAME, self._server_version))}),
            "/v2/health/live": Route({"GET": self._fixed_json({"live": True})}, probe=True),
            "/v2/health/ready": Route({"GET": self._ready({"live": True})}, probe=True),
            "/livez": Route({"GET": self._fixed_json({"live": True})}, probe=True),
            "/metrics": Route({"GET": self._exposition}, probe=True),
            "/v2/repository/index": Route({"POST": self._index}),
            "/predict": Route({"POST": partial(self._infer, Dialect("rows", parse_table))}),
        }
        routes["/v2/"] = routes["/v2"]
        routes["/healthz"] = routes["/livez"]
        for path in ("/readyz", "/ping"):
            routes[path] = routes["/v2/health/ready"]
        for name in self._config.names:
            routes |= self._model_routes(name)
        return routes

    def _model_routes(self, name: str) -> dict[str, Route]:
        infer = partial(self._infer, Dialect("v2", partial(parse_v2, name=name)))
        routes: dict[str, Route] = {}
        bases = [f"/v2/models/{name}"]
        if self._config.version:
            bases.append(f"{bases[0]}/versions/{self._config.version}")
        for base in bases:
            routes[base] = Route({"GET": partial(self._metadata, name)})
            routes[f"{base}/ready"] = Route({"GET": self._ready({"name": name})}, probe=True)
            routes[f"{base}/infer"] = Route({"POST": infer})
            routes[f"{base}/predict"] = Route({"POST": partial(self._infer, Dialect("rows", parse_table))})
        return routes

    def _infer(self, dialect: Dialect, exchange: Exchange) -> None:
        if self._inference is None:
            raise unavailable("the replica is starting", reason="Starting", safe=True)
        try:
            self._inference.begin(exchange, dialect, self._status.model)
        except (Problem, Rejected) as error:
            self.finish(exchange, dialect.protocol, error)

    def _fixed_json(self, document: Mapping[str, Any]) -> Endpoint:
        body = orjson.dumps(document)

        def endpoint(exchange: Exchange) -> None:
            self.finish(exchange, CONTROL, Response(200, (body,)))

        return endpoint

    def _ready(self, more: Mapping[str, Any]) -> Callable[[Exchange], None]:
        def endpoint(exchange: Exchange) -> None:
            ready = self._status.is_ready
            answer: dict[str, Any] = {**more, "ready": ready}
            obstacle = self._status.obstacle
            if not ready and obstacle is not None:
                answer |= {"error": obstacle.message, "reason": obstacle.reason}
            self.finish(exchange, CONTROL, json_response(answer, 200 if ready else 503))

        return endpoint

    def _metadata(self, name: str, exchange: Exchange) -> None:
        self.finish(exchange, CONTROL, json_response(model_metadata(self._status.model, name)))

    def _index(self, exchange: Exchange) -> None:
        ready = self._status.is_ready
        obstacle = self._status.obstacle
        reason = "" if ready or obstacle is None else f"{obstacle.reason}: {obstacle.message}"
        only_ready = _asks_only_ready(exchange.body)
        entries = repository_index(self._status.model, ready=ready, reason=reason)
        self.finish(exchange, CONTROL, json_response(entries if ready or not only_ready else []))

    def _exposition(self, exchange: Exchange) -> None:
        body = self._metrics.render(self._status.gauges(), self._status.counters())
        self.finish(exchange, CONTROL, Response(200, (body,), content_type=CONTENT_TYPE))


def _asks_only_ready(body: bytes) -> bool:
    if not body:
        return False
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Rejected("", f"the body is not JSON: {error}; leave it empty or send {{}}") from None
    return isinstance(document, dict) and document.get("ready") is True


def _problem_response(problem: Problem, exchange: Exchange) -> Response:
    document = {"error": problem.message, "code": problem.code, "request_id": exchange.identity}
    if problem.reason:
        document["reason"] = problem.reason
    if problem.path:
        document["path"] = problem.path
    headers = "".join(f"{name}: {value}\r\n" for name, value in problem.headers.items())
    response = json_response(document, problem.status)
    response.headers = headers.encode()
    return response
