"""One HTTP connection pool to the platform: requests in, JSON or domain errors out."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2
import orjson

from modelyard.client import payload
from modelyard.client.connection import Connection, trust
from modelyard.client.problems import Unreachable, error_from

_TIMEOUT = httpx2.Timeout(10.0, read=600.0, write=600.0)


class AsyncTransport:
    """Speaks to one installation as one user."""

    def __init__(self, connection: Connection, *, http: httpx2.AsyncClient | None = None) -> None:
        self.connection = connection
        self._http = http or httpx2.AsyncClient(timeout=_TIMEOUT, verify=trust(connection))
        self._api = self._http
        if connection.socket and http is None:
            near = httpx2.AsyncHTTPTransport(uds=connection.socket)
            self._api = httpx2.AsyncClient(transport=near, timeout=_TIMEOUT)

    async def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """One API call; the decoded answer, or the error the server raised."""
        content = None if json is None else payload.encoded(json)
        kind = {"content-type": "application/json"} if content is not None else {}
        response = await self.send(
            method, path, content=content, params=params, headers={**kind, **(headers or {})}
        )
        return orjson.loads(response.content) if response.content else None

    async def send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
        **body: Any,
    ) -> httpx2.Response:
        """One request to the API or, with an absolute URL, to a service; errors are raised."""
        with self._translated():
            response = await self._way(path).request(
                method, self._url(path), headers=self._headers(headers, token), **_given(body)
            )
        if response.status_code >= 400:
            raise error_from(response.status_code, response.content, response.headers)
        return response

    @contextlib.asynccontextmanager
    async def stream(
        self, path: str, *, params: Mapping[str, Any] | None = None
    ) -> AsyncIterator[httpx2.Response]:
        """A response whose body is read as it comes."""
        with self._translated():
            async with self._way(path).stream(
                "GET", self._url(path), params=_given(params or {}), headers=self._headers(None, None)
            ) as response:
                if response.status_code >= 400:
                    body = await response.aread()
                    raise error_from(response.status_code, body, response.headers)
                yield response

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()
        if self._api is not self._http:
            await self._api.aclose()

    def _way(self, path: str) -> httpx2.AsyncClient:
        """Services answer at the front door; the API of this machine's installation at its socket."""
        return self._http if path.startswith("http") else self._api

    def _url(self, path: str) -> str:
        return path if path.startswith("http") else f"{self.connection.url}/api/v1{path}"

    def _headers(self, headers: Mapping[str, str] | None, token: str | None) -> dict[str, str]:
        bearer = token or self.connection.token
        return {**({"authorization": f"Bearer {bearer}"} if bearer else {}), **(headers or {})}

    @contextlib.contextmanager
    def _translated(self) -> Any:
        try:
            yield
        except httpx2.TransportError as error:
            raise Unreachable(
                f"no answer from {self.connection.url} ({type(error).__name__}: {error}); "
                "is it running (`modelyard up`), and is the URL right?"
            ) from None


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
