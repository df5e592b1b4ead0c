"""One router as the control plane knows it: what it should work by, and what it last said."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import httpx2
from pydantic import TypeAdapter, ValidationError

from modelyard.domain.errors import Unavailable
from modelyard.domain.tallies import Reading
from modelyard.gateway.base import Copies
from modelyard.gateway.remote import proof, wire
from modelyard.gateway.remote.proof import Shown
from modelyard.gateway.remote.wire import News

_T = TypeVar("_T")
_CONNECT_SECONDS = 2.0
_ANSWER_SECONDS = 3.0
_TAKE_SECONDS = 20.0
"""A router answers a publication when its Envoy works by it."""
_POLL_SECONDS = 1.0
"""A router that has no news says so after so long."""
_AGAIN_SECONDS = (0.1, 2.0)
"""Between two tries with one that does not answer: at first, and at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """One router that there should be."""

    name: str
    """Another one for each that was ever started, such as a pod's."""
    address: str
    """`IP:PORT` of its face."""
    plain: bool = False
    """It is of a release whose routers knew no TLS, and is spoken to without until it is replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """A publication as it is sent."""

    version: int
    body: bytes
    replicas: frozenset[str]


class Link:
    """Sends one router what it should have until it has it, and listens to its news."""

    def __init__(
        self,
        router: Router,
        *,
        shown: Shown,
        before: frozenset[str],
        heard: Callable[[News], None],
        outrun: Callable[[int], None],
    ) -> None:
        self.router = router
        self.reading: Reading | None = None
        """What it counted when it was last asked."""
        self.copied: tuple[Copies, ...] = ()
        self.ports: frozenset[int] = frozenset()
        self.news = News(identity="")
        self.trouble = "it did not answer yet"
        """Why it cannot be relied on; empty when it does as it should."""
        self._heard, self._outrun = heard, outrun
        self._routed = before
        self._attempted: dict[int, frozenset[str]] = {}
        self._wanted: Sending | None = None
        self._due, self._settled = asyncio.Event(), asyncio.Event()
        self._client = httpx2.AsyncClient(
            base_url=f"{'http' if router.plain else 'https'}://{router.address}",
            headers={"authorization": f"Bearer {shown.token}"},
            timeout=httpx2.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS),
            verify=shown.tls,
            trust_env=False,
        )
        self._tasks = [
            asyncio.create_task(self._deliver(), name=f"publish to {router.name}"),
            asyncio.create_task(self._listen(), name=f"listen to {router.name}"),
        ]

    @property
    def is_current(self) -> bool:
        """Whether it works by what it should."""
        return self._wanted is not None and self.news.version == self._wanted.version

    @property
    def _is_silent(self) -> bool:
        """Whether it did not answer when it was asked for news; nobody waits for it then."""
        return bool(self.trouble) and not self.news.identity

    def want(self, sending: Sending) -> None:
        """Have it work by this, as soon as it can."""
        self._wanted = sending
        self._settled.clear()
        self._due.set()

    async def settled(self) -> None:
        """Wait until it works by what it should, or the try to tell it failed."""
        await self._settled.wait()

    async def routed(self) -> frozenset[str]:
        """Names of the replicas that it may still send requests to, as far as can be known."""
        if not self.trouble:
            with suppress(Unavailable):  # then what it had when it was heard last
                self._routed = await self._ask(wire.ROUTED, wire.NAMES)
        return self._routed.union(*self._attempted.values())

    async def look(self) -> None:
        """Ask what it counted; what it said before stands while it does not answer."""
        if not self._is_silent:
            with suppress(Unavailable):
                self.reading = await self._ask(wire.STATISTICS, wire.READING) or self.reading

    async def look_at_copies(self) -> None:
        """The same of copies."""
        self.copied = ()
        if not self._is_silent:
            with suppress(Unavailable):
                self.copied = await self._ask(wire.COPIES, wire.COPIES_OF)

    async def look_at_ports(self) -> None:
        """The same of ports that somebody listens on there."""
        if not self._is_silent:
            with suppress(Unavailable):
                self.ports = await self._ask(wire.PORTS, wire.NUMBERS)

    async def close(self) -> None:
        """Let go of it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._settled.set()
        await self._client.aclose()

    async def _deliver(self) -> None:
        pause = _AGAIN_SECONDS[0]
        while True:
            await self._due.wait()
            self._due.clear()
            sending = self._wanted
            if sending is None:
                continue
            tried = True
            try:
                tried = await self._send(sending)
                pause = _AGAIN_SECONDS[0]
            except Unavailable as error:
                self.trouble = error.message
                self._due.set()
            if tried and sending is self._wanted:
                self._settled.set()
            if self._due.is_set() and sending is self._wanted:
                await asyncio.sleep(pause)
                pause = min(pause * 2, _AGAIN_SECONDS[1])

    async def _send(self, sending: Sending) -> bool:
        """Whether the router works by it now; it does not when it has a newer one. Raises Unavailable."""
        self._attempted[sending.version] = sending.replicas
        timeout = httpx2.Timeout(_TAKE_SECONDS, connect=_CONNECT_SECONDS)
        answer = await self._request("PUT", wire.ROUTES, content=sending.body, timeout=timeout)
        if answer.status_code == 409:
            refusal = _read(answer.content, wire.REFUSAL)
            self._forget(refusal.version)
            self._outrun(refusal.version)
            return False
        if answer.status_code != 200:
            raise Unavailable(f"it did not take the routes: {_reason(answer)}")
        self._forget(sending.version)
        self._routed |= sending.replicas
        self.trouble = ""
        self._hear(_read(answer.content, wire.NEWS_OF))
        return True

    def _forget(self, version: int) -> None:
        """It has this version or a later one, and takes none that is older."""
        self._attempted = {v: names for v, names in self._attempted.items() if v > version}

    async def _listen(self) -> None:
        pause, serial = _AGAIN_SECONDS[0], 0
        while True:
            query: Mapping[str, str] = {"after": str(serial), "seconds": f"{_POLL_SECONDS:g}"}
            try:
                said = await self._ask(wire.NEWS, wire.NEWS_OF, query)
            except Unavailable as error:
                self.trouble, self.news = error.message, News(identity="", version=self.news.version)
                self._settled.set()  # nobody waits for one that is silent
                await asyncio.sleep(pause)
                pause = min(pause * 2, _AGAIN_SECONDS[1])
                continue
            pause, restarted = _AGAIN_SECONDS[0], said.identity != self.news.identity
            serial = 0 if restarted and said.serial < serial else said.serial
            self._hear(said)
            if self._wanted is not None and not self.is_current:
                self._due.set()
            elif self.trouble != said.failure:
                self.trouble = said.failure

    def _hear(self, said: News) -> None:
        self.news = said
        self._heard(said)

    async def _ask(self, path: str, adapter: TypeAdapter[_T], query: Mapping[str, str] | None = None) -> _T:
        answer = await self._request("GET", path, params=query)
        if answer.status_code != 200:
            raise Unavailable(f"it does not say what it should: {_reason(answer)}")
        return _read(answer.content, adapter)

    async def _request(self, method: str, path: str, **more: object) -> httpx2.Response:
        # The certificate is for a name that all routers have; addresses come and go.
        named = {"sni_hostname": proof.ROUTER}
        try:
            return await self._client.request(method, path, extensions=named, **more)  # type: ignore[arg-type]
        except (httpx2.HTTPError, OSError) as error:
            said = _distrust(error) or "it does not answer"
            raise Unavailable(f"{said} at {self.router.address}") from error


def _distrust(error: BaseException | None) -> str:
    """What is wrong with who either of both is; empty when it is about something else."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"it does not prove that it is a router of this platform ({error.verify_message})"
        if isinstance(error, ssl.SSLError):
            return f"there is no TLS with it ({error.reason or error})"
        error = error.__cause__ or error.__context__
    return ""


def _read(document: bytes, adapter: TypeAdapter[_T]) -> _T:
    try:
        return adapter.validate_json(document)
    except ValidationError as error:
        raise Unavailable(f"it does not answer as a router does: {error.errors()[0]['msg']}") from error


def _reason(answer: httpx2.Response) -> str:
    try:
        return wire.REFUSAL.validate_json(answer.content).error
    except ValidationError:
        return f"status {answer.status_code}"
