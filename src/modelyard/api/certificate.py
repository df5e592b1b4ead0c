"""The certificate of the HTTPS port."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from fastapi import APIRouter, Response

from modelyard.api.request import ActorDep, PlatformDep
from modelyard.api.verbs import states
from modelyard.control import certificates
from modelyard.domain import wire
from modelyard.domain.access import Verb
from modelyard.domain.certificate import CertificateView
from modelyard.gateway.base import Certificate

router = APIRouter(prefix="/certificate", tags=["certificate"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A certificate to serve with."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    certificate: str
    """PEM: the server's own certificate first, then those that issued it."""
    key: str
    """PEM: its private key, without a password."""


@router.get("", openapi_extra=states(Verb.READ))
async def show_certificate(platform: PlatformDep, actor: ActorDep) -> CertificateView:
    """The certificate in use, and what should be done about it."""
    return await certificates.show(platform, actor)


@router.put("", openapi_extra=states(Verb.ADMINISTER))
async def put_certificate(platform: PlatformDep, actor: ActorDep, body: Upload) -> CertificateView:
    """Use this certificate from now on; no connection is dropped."""
    given = Certificate(chain=body.certificate, key=body.key)
    return await certificates.upload(platform, actor, given)


@router.delete("", openapi_extra=states(Verb.ADMINISTER))
async def delete_certificate(platform: PlatformDep, actor: ActorDep) -> CertificateView:
    """Forget the uploaded certificate and use a self-made one again."""
    return await certificates.remove(platform, actor)


@router.get("/ca", openapi_extra=states(Verb.ANYONE), response_class=Response)
async def get_authority(platform: PlatformDep) -> Response:
    """What clients must trust, in PEM; no secret."""
    return Response(await certificates.trusted(platform), media_type="application/x-pem-file")
