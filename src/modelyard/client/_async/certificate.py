"""The certificate of the platform's HTTPS port."""

from __future__ import annotations

from pathlib import Path

from modelyard.client import decode
from modelyard.client._async.transport import AsyncTransport
from modelyard.domain.certificate import CertificateView

_PATH = "/certificate"


class AsyncCertificate:
    """What the HTTPS port proves itself with; NotFound where there is none."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def show(self) -> CertificateView:
        """The certificate in use, and what should be done about it."""
        return decode.one(CertificateView, await self._transport.call("GET", _PATH))

    async def set(self, certificate: Path | str, key: Path | str) -> CertificateView:
        """Serve with this chain and private key, files or their text, from now on; administrators only."""
        body = {"certificate": _text(certificate), "key": _text(key)}
        return decode.one(CertificateView, await self._transport.call("PUT", _PATH, json=body))

    async def reset(self) -> CertificateView:
        """Serve with a self-made certificate again."""
        return decode.one(CertificateView, await self._transport.call("DELETE", _PATH))

    async def authority(self) -> str:
        """What clients must trust while a self-made certificate is in use, in PEM."""
        return (await self._transport.send("GET", f"{_PATH}/ca")).text


def _text(given: Path | str) -> str:
    return given.read_text(encoding="utf-8", errors="replace") if isinstance(given, Path) else given
