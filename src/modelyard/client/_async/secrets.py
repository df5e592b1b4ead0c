"""Secrets of a project: set, listed without values, deleted."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping

from modelyard.client import decode
from modelyard.client._async.transport import AsyncTransport
from modelyard.domain.secret import Secret


class AsyncSecrets:
    """The secrets of one project; nothing here reads a value back."""

    def __init__(self, transport: AsyncTransport, project: str) -> None:
        self._transport = transport
        self._path = f"/projects/{project}/secrets"

    async def list(self) -> tuple[Secret, ...]:
        """All secrets, with the names of their values and who uses them."""
        return decode.items(Secret, await self._transport.call("GET", self._path, params={"limit": 1000}))

    async def get(self, name: str) -> Secret:
        """One secret, with the names of its values."""
        return decode.one(Secret, await self._transport.call("GET", f"{self._path}/{name}"))

    async def set(
        self,
        name: str,
        values: Mapping[str, str | bytes] | None = None,
        *,
        remove: Collection[str] = (),
        replace: bool = False,
    ) -> Secret:
        """Create it, or change these values and leave the others; with `replace` the others go.

        Deployments that read what changed get a new revision.
        """
        body: dict[str, object] = {"values": {}, "encoded": {}, "remove": [*remove]}
        texts = {key: value for key, value in (values or {}).items() if isinstance(value, str)}
        coded = {
            key: base64.b64encode(value).decode()
            for key, value in (values or {}).items()
            if isinstance(value, bytes)
        }
        body |= {"values": texts, "encoded": coded}
        method = "PUT" if replace else "PATCH"
        return decode.one(Secret, await self._transport.call(method, f"{self._path}/{name}", json=body))

    async def delete(self, name: str, *, force: bool = False) -> None:
        """Forget it; refused while a deployment uses it, unless forced."""
        params = {"force": "true"} if force else {}
        await self._transport.call("DELETE", f"{self._path}/{name}", params=params)
