"""What the control plane and its routers prove themselves with: TLS, and one authority for both.

The authority follows from a secret that every control plane of an installation has, so it is nowhere stored,
and all of them are believed by the same routers. What it issues says what it is good for: a router's
certificate lets nobody in at another router.
"""

from __future__ import annotations

import ssl
import tempfile
from dataclasses import dataclass

from modelyard.domain.certificate import Source, is_due
from modelyard.domain.errors import Invalid
from modelyard.gateway import authority
from modelyard.gateway.authority import Purpose
from modelyard.gateway.base import Certificate

ROUTER = "router.modelyard.internal"
"""The name by which every router is known, whatever its address is."""
PLATFORM = "control-plane.modelyard.internal"
CERTIFICATE_FILE, KEY_FILE, AUTHORITY_FILE = "tls.crt", "tls.key", "ca.crt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What one side shows, and whom it believes."""

    shown: Certificate
    believed: str
    """Certificate of the authority, in PEM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What the control plane shows to every router."""

    token: str
    tls: ssl.SSLContext


def authority_of(secret: bytes, *, now: float) -> Certificate:
    """The authority that follows from a secret: the same key at any time, good for ten years from now."""
    return authority.make_authority("routers", now=now, key=authority.key_from(secret, "routers"))


def of_router(issuer: Certificate, *, now: float) -> Proof:
    """What routers show to whoever calls them."""
    return Proof(shown=authority.issue(issuer, [ROUTER], now=now), believed=issuer.chain)


def of_platform(issuer: Certificate, *, now: float) -> Proof:
    """What a control plane shows to routers that it calls."""
    made = authority.issue(issuer, [PLATFORM], now=now, purpose=Purpose.CALL)
    return Proof(shown=made, believed=issuer.chain)


def must_be_renewed(proof: Proof, issuer: Certificate, name: str, *, now: float) -> bool:
    """Whether to show another: it is not this authority's, of another name, or has little time left."""
    try:
        view = authority.view(proof.shown, Source.SELF_MADE)
        if not authority.belongs(proof.shown):
            return True
        known = authority.signed_by(proof.shown, issuer) and authority.same_authority(
            proof.believed, issuer.chain
        )
    except Invalid:
        return True
    return not known or is_due(view, [name], now=now)


def calling(proof: Proof) -> ssl.SSLContext:
    """For connections to routers; who calls gives `ROUTER` as the name of the server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return _both_proved(context, proof)


def answering(proof: Proof) -> ssl.SSLContext:
    """For a router's own port, which nobody is let in at without a control plane's certificate.

    Raises Invalid for a proof that is none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    return _both_proved(context, proof)


def show(context: ssl.SSLContext, certificate: Certificate) -> None:
    """Let new connections show this certificate; those that are there go on. Raises Invalid for none."""
    try:
        # Tried elsewhere first: half of one would be left in the context.
        for each in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), context):
            _load(each, certificate)
    except (ssl.SSLError, ValueError) as error:
        raise Invalid(f"certificate and key cannot be used: {error}") from error


def _both_proved(context: ssl.SSLContext, proof: Proof) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    show(context, proof.shown)
    try:
        context.load_verify_locations(cadata=proof.believed)
    except (ssl.SSLError, ValueError) as error:
        raise Invalid(f"the authority's certificate cannot be used: {error}") from error
    return context


def _load(context: ssl.SSLContext, certificate: Certificate) -> None:
    # OpenSSL takes files only.
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as both:
        both.write(f"{certificate.chain}\n{certificate.key}\n")
        both.flush()
        context.load_cert_chain(both.name)
