"""Sends calls to one API server, again where that is safe, and says what came of them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import random
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2
import orjson

from modelyard.backends.kubernetes.client import credentials, fencing, refusals
from modelyard.backends.kubernetes.client.calls import Again, Call
from modelyard.backends.kubernetes.client.config import Access
from modelyard.backends.kubernetes.client.observing import Observer, Unobserved
from modelyard.backends.kubernetes.client.queue import Limits, Queue
from modelyard.backends.kubernetes.client.refusals import Exists
from modelyard.domain.errors import Unavailable

_CONNECT_SECONDS = 5.0
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 30.0
_MOST_TRIES = 4
_LARGE = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a client needs beside the server: time, chance, and who measures."""

    clock: Callable[[], float]
    """The wall clock, for credentials that expire."""
    dice: Callable[[], float] = random.random
    observer: Observer = field(default_factory=Unobserved)
    limits: Limits = field(default_factory=Limits)
    wire: httpx2.AsyncBaseTransport | None = None
    """What carries requests instead of connections of its own."""
    answer_seconds: float = 30.0
    """For one answer."""
    patience_seconds: float = 60.0
    """After which nothing is tried again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said."""

    code: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def pause(self) -> float | None:
        """When it wants to be asked again."""
        return refusals.seconds_of(self.headers, refusals.status_of(self.content))

    @property
    def is_untyped(self) -> bool:
        """Whether it refuses what was sent, whatever its code says."""
        return refusals.is_untyped(self.code, str(refusals.status_of(self.content).get("message")))


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The server said nothing; `sent` unless it certainly never heard the question."""

    sent: bool
    why: str


def pause(call: Call, came: Answer | NoAnswer, tries: int, chance: float) -> float | None:
    """How long to wait before the same is sent once more; None for no more."""
    match came:
        case NoAnswer(sent=False) | Answer(code=429):
            safe = True  # it was not carried out
        case Answer(code=500) if came.is_untyped:
            safe = False
        case NoAnswer() | Answer(code=500 | 502 | 503 | 504):
            safe = call.again is not Again.NO
        case _:
            safe = False
    if not safe or tries >= _MOST_TRIES:
        return None
    own = chance * min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0**tries)
    asked = came.pause if isinstance(came, Answer) else None
    return own if asked is None else asked + own


class Transport:
    """One API server, reached over one pool of connections."""

    def __init__(self, access: Access, surroundings: Surroundings) -> None:
        self.access = access
        self.guard: Callable[[], None] = _allow
        """Raises what refuses a write; asked just before each try of each."""
        self._with = surroundings
        self._queue = Queue(surroundings.limits)
        tls = credentials.context_of(access)
        auth = credentials.Credentials(access, tls, surroundings.clock)
        self._client = httpx2.AsyncClient(
            base_url=access.server,
            auth=auth,
            verify=tls,
            transport=surroundings.wire,
            proxy=access.proxy or None,
            trust_env=not access.proxy and not _is_here(access.server),
            limits=httpx2.Limits(keepalive_expiry=60.0),
            timeout=httpx2.Timeout(surroundings.answer_seconds, connect=_CONNECT_SECONDS, pool=None),
            headers={
                "user-agent": "modelyard",
                "accept-encoding": "gzip" if access.compression else "identity",
            },
        )

    async def ask(self, call: Call) -> Any:
        """The document that a call is answered with; raises what `refusals` knows."""
        now = asyncio.get_running_loop().time
        end = now() + self._with.patience_seconds
        tries, unsure = 0, False
        while True:
            came = await self._try(call)
            tries += 1
            if isinstance(came, Answer) and came.code < 300:
                return decoded(came.content)
            wait = pause(call, came, tries, self._with.dice())
            if wait is None or now() + wait > end:
                raise self._error(came, unsure=unsure)
            unsure = unsure or not isinstance(came, Answer) or came.code != 429
            await asyncio.sleep(wait)

    @contextlib.asynccontextmanager
    async def open(
        self,
        call: Call,
        *,
        idle: float | None,
        headers: Mapping[str, str] | None = None,
        begins_within: float | None = None,
    ) -> AsyncIterator[httpx2.Response]:
        """An answer that is read as it comes, and breaks off after `idle` seconds without anything.

        It begins within as many seconds as any other answer takes, or as said.
        """
        await self._queue.pace()
        request = self._request(call, idle, headers or {})
        response = await self._opened(call, request, begins_within or self._with.answer_seconds)
        try:
            yield response
        except httpx2.HTTPError as error:
            raise self._error(NoAnswer(sent=True, why=_words(error))) from None
        finally:
            await response.aclose()

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()

    async def _try(self, call: Call) -> Answer | NoAnswer:
        async with contextlib.nullcontext() if call.urgent else self._queue.turn():
            if call.writes and not call.urgent:
                fencing.pass_or_raise()
                self.guard()
            request = self._request(call, self._with.answer_seconds, {})
            return await self._measured(call, self._whole(request))

    async def _whole(self, request: httpx2.Request) -> Answer | NoAnswer:
        try:
            async with asyncio.timeout(2 * self._with.answer_seconds):
                response = await self._client.send(request)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError) as error:
            return NoAnswer(sent=False, why=_words(error))
        except (httpx2.HTTPError, TimeoutError) as error:
            return NoAnswer(sent=True, why=_words(error))
        return Answer(response.status_code, response.headers, response.content)

    async def _opened(self, call: Call, request: httpx2.Request, seconds: float) -> httpx2.Response:
        """The response, as soon as it begins with success."""
        opened: list[httpx2.Response] = []

        async def begin() -> Answer | NoAnswer:
            try:
                async with asyncio.timeout(seconds):
                    response = await self._client.send(request, stream=True)
                    if response.status_code < 300:
                        opened.append(response)
                        return Answer(response.status_code, response.headers, b"")
                    try:
                        return Answer(response.status_code, response.headers, await response.aread())
                    finally:
                        await response.aclose()
            except (httpx2.HTTPError, TimeoutError) as error:
                return NoAnswer(sent=True, why=_words(error))

        came = await self._measured(call, begin())
        if not opened:
            raise self._error(came)
        return opened[0]

    async def _measured(self, call: Call, coming: Any) -> Answer | NoAnswer:
        now = asyncio.get_running_loop().time
        began = now()
        came: Answer | NoAnswer = await coming
        code = str(came.code) if isinstance(came, Answer) else "none"
        self._with.observer.cluster_called(call.verb, call.kind, code, now() - began)
        return came

    def _request(self, call: Call, idle: float | None, headers: Mapping[str, str]) -> httpx2.Request:
        extensions: dict[str, Any] = {
            "timeout": {
                "connect": _CONNECT_SECONDS,
                "read": idle,
                "write": self._with.answer_seconds,
                "pool": None,
            }
        }
        if self.access.tls_server_name:
            extensions["sni_hostname"] = self.access.tls_server_name
        sent = {"accept": call.accept, **headers}
        if call.body is not None:
            sent["content-type"] = call.content_type
        return self._client.build_request(
            call.method, call.path, params=call.query, content=call.body, headers=sent, extensions=extensions
        )

    def _error(self, came: Answer | NoAnswer, *, unsure: bool = False) -> Exception:
        if isinstance(came, NoAnswer):
            return Unavailable(f"the cluster's API server {self.access.server} does not answer: {came.why}")
        status = refusals.status_of(came.content)
        error = refusals.refused(came.code, status, came.pause)
        if isinstance(error, Exists):
            error.ours = unsure
        return error


def _allow() -> None:
    """Refuse nothing."""


def decoded(content: bytes) -> Any:
    """The document in an answer.

    What is large makes so many objects that collecting garbage meanwhile would take longer than decoding.
    """
    paused = len(content) > _LARGE and gc.isenabled()
    if paused:
        gc.disable()
    try:
        return orjson.loads(content) if content else {}
    except orjson.JSONDecodeError:
        raise Unavailable("the cluster's API server answered with something that is not JSON") from None
    finally:
        if paused:
            gc.enable()


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}{f' ({error})' if str(error) else ''}"


def _is_here(server: str) -> bool:
    """Whether a server is on this machine, where no proxy of the environment leads."""
    host = httpx2.URL(server).host
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
