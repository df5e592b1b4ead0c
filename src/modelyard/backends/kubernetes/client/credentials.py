"""Who we say that we are: tokens, renewed where they are, and programs that print some."""

from __future__ import annotations

import asyncio
import base64
import ssl
import tempfile
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx2
import orjson

from modelyard.backends.kubernetes.client.config import Access, Certificate, Exec
from modelyard.domain.errors import BackendError

_TOKEN_SECONDS = 60.0
_EXEC_SECONDS = 60.0
_EARLY_SECONDS = 30.0


def context_of(access: Access) -> ssl.SSLContext:
    """What to trust and what to show; raises BackendError for certificates that are none."""
    context = ssl.create_default_context()
    try:
        if access.ca:
            context = ssl.create_default_context(cadata=access.ca)
            # Authorities that clusters make for themselves often lack the identifiers that this asks for.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if access.certificate is not None:
            show(context, access.certificate)
    except (ssl.SSLError, ValueError) as error:
        raise _refused(f"the certificates of context {access.context} are not usable: {error}") from None
    if access.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def show(context: ssl.SSLContext, certificate: Certificate) -> None:
    """Let new connections show this certificate; only files can be given to OpenSSL."""
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as both:
        both.write(f"{certificate.chain}\n{certificate.key}\n")
        both.flush()
        context.load_cert_chain(both.name)


@dataclass(slots=True)
class Credentials(httpx2.Auth):
    """Puts our credentials on every request, and gets new ones when they are old or not accepted."""

    access: Access
    tls: ssl.SSLContext
    clock: Callable[[], float]
    _bearer: str = ""
    _until: float = float("-inf")
    """By `clock`, when what we have is to be got anew."""
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def async_auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """One try with what we have, and one more with something newer after a 401."""
        request.headers.update(self.access.impersonate)
        shown = await self._current(than="")
        self._put(request, shown)
        response = yield request
        if response.status_code == 401 and (self.access.exec or self.access.token_file):
            newer = await self._current(than=shown)
            if newer != shown:
                self._put(request, newer)
                yield request

    def _put(self, request: httpx2.Request, bearer: str) -> None:
        if bearer:
            request.headers["authorization"] = f"Bearer {bearer}"
        elif self.access.basic is not None:
            both = base64.b64encode(":".join(self.access.basic).encode()).decode()
            request.headers["authorization"] = f"Basic {both}"

    async def _current(self, *, than: str) -> str:
        """The token to show; one that differs from `than`, which was not accepted, if there is one."""
        if self.access.token_file is None and self.access.exec is None:
            return self.access.token
        async with self._turn:
            worn = self.clock() >= self._until or (than and than == self._bearer)
            if worn and self.access.exec is not None:
                await self._run(self.access.exec)
            elif worn:
                self._read()
            return self._bearer

    def _read(self) -> None:
        """The token file; what was in it before when it cannot be read just now."""
        assert self.access.token_file is not None  # noqa: S101 - the caller saw to it
        try:
            self._bearer = self.access.token_file.read_text().strip()
        except OSError as error:
            if not self._bearer:
                raise _refused(f"the token file cannot be read: {error}") from None
        self._until = self.clock() + _TOKEN_SECONDS

    async def _run(self, plugin: Exec) -> None:
        found = await _printed(plugin)
        status = found.get("status")
        if found.get("kind") != "ExecCredential" or not isinstance(status, dict):
            raise _refused(f"{plugin.command[0]} did not print an ExecCredential with a status")
        chain, key = status.get("clientCertificateData"), status.get("clientKeyData")
        if chain and key:
            try:
                show(self.tls, Certificate(chain=chain, key=key))
            except (ssl.SSLError, ValueError) as error:
                raise _refused(f"{plugin.command[0]} printed a bad certificate: {error}") from None
        if not status.get("token") and not chain:
            raise _refused(f"{plugin.command[0]} printed neither a token nor a certificate")
        self._bearer = str(status.get("token") or "")
        self._until = _expires(status.get("expirationTimestamp"))


def _expires(said: Any) -> float:
    """A little before the time that a plugin prints; never, when it prints none."""
    if not said:
        return float("inf")
    try:
        return datetime.fromisoformat(str(said)).timestamp() - _EARLY_SECONDS
    except ValueError:
        raise _refused(f"the expirationTimestamp {said} of the exec plugin is no time") from None


async def _printed(plugin: Exec) -> dict[str, Any]:
    """What a credential plugin says; raises BackendError with its own words when it fails."""
    spec: dict[str, Any] = {"interactive": False}
    if plugin.cluster_info is not None:
        spec["cluster"] = dict(plugin.cluster_info)
    asked = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec}
    env = {**plugin.env, "KUBERNETES_EXEC_INFO": orjson.dumps(asked).decode()}
    name = plugin.command[0]
    try:
        process = await asyncio.create_subprocess_exec(
            *plugin.command,
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        hint = f". {plugin.install_hint.strip()}" if plugin.install_hint else ""
        raise _refused(f"the credential plugin {name} cannot be started: {error}{hint}") from None
    try:
        async with asyncio.timeout(_EXEC_SECONDS):
            out, err = await process.communicate()
    except TimeoutError:
        raise _refused(f"the credential plugin {name} took longer than {_EXEC_SECONDS:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        said = err.decode(errors="replace").strip()[-500:]
        raise _refused(f"the credential plugin {name} failed with {process.returncode}: {said}")
    try:
        found = orjson.loads(out)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise _refused(f"the credential plugin {name} did not print JSON")
    return found


def _refused(message: str) -> BackendError:
    return BackendError(message, reason="ClusterUnauthenticated")
