"""The certificate of the HTTPS port: self-made and renewed, uploaded, or named by the settings."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from modelyard.control import addressing, authorise, kinds
from modelyard.control.certificate_files import Keyring
from modelyard.control.platform import Platform, Tls
from modelyard.domain import certificate as rules
from modelyard.domain.access import Actor, Resource, Verb
from modelyard.domain.certificate import CertificateView, Source
from modelyard.domain.errors import Conflict, Invalid, NotFound
from modelyard.gateway import authority, routes
from modelyard.gateway.base import Certificate
from modelyard.store import deployments, meta

log = logging.getLogger(__name__)

KIND = "certificate"
NAME = "https"


async def show(platform: Platform, actor: Actor) -> CertificateView:
    """The certificate in use, with what should be done about it; raises NotFound without HTTPS."""
    await authorise.require(platform, actor, Verb.READ, Resource(), kind=KIND)
    return await refresh(platform)


async def trusted(platform: Platform) -> str:
    """What clients must trust, in PEM: the platform's own authority. Raises NotFound without HTTPS."""
    return _keyring(_tls(platform)).authority(now=platform.clock()).chain


async def upload(platform: Platform, actor: Actor, given: Certificate) -> CertificateView:
    """Use this certificate from now on, in place of the self-made one; open connections stay.

    Raises Invalid for one that cannot serve, and Conflict while the settings name one.
    """
    await authorise.administrator(platform, actor, kind=KIND, name=NAME)
    tls = _tls(platform)
    _require_ours(tls)
    authority.require_usable(given, now=platform.clock())
    _keyring(tls).upload(given)
    await _note(platform, actor, "Uploaded", authority.view(given, Source.UPLOADED).subject)
    return await refresh(platform)


async def remove(platform: Platform, actor: Actor) -> CertificateView:
    """Use a self-made certificate again, in place of the uploaded one; raises as `upload` does."""
    await authorise.administrator(platform, actor, kind=KIND, name=NAME)
    tls = _tls(platform)
    _require_ours(tls)
    _keyring(tls).forget()
    await _note(platform, actor, "Removed", "back to a self-made certificate")
    return await refresh(platform)


async def refresh(platform: Platform) -> CertificateView:
    """Choose the certificate anew, renew it where it is ours to do, and have the gateway use it.

    Raises Invalid when the settings name one that cannot serve.
    """
    tls, now = _tls(platform), platform.clock()
    hosts = await wanted_hosts(platform, tls)
    shown, source = _chosen(tls, hosts, now=now)
    beside = shown if source is Source.SELF_MADE else _keyring(tls).issued(hosts, now=now, like=shown)
    await platform.gateway.present(shown, beside)
    view = _judged(shown, source, hosts, now=now)
    await _warn(platform, view)
    return view


async def wanted_hosts(platform: Platform, tls: Tls) -> tuple[str, ...]:
    """Every name that clients may call over TLS, as far as one certificate has room."""
    async with platform.database.read() as tx:
        found = await deployments.all(tx)
        domains = platform.sites.domains(await addressing.all_projects(tx))
    settled = routes.settled(found, domain=platform.domain, domains=domains)
    more = [host for host in sorted(settled) if not rules.covers(tls.hosts, (host,))]
    return (*tls.hosts, *more)[: rules.MOST_HOSTS]


def _chosen(tls: Tls, hosts: Collection[str], *, now: float) -> tuple[Certificate, Source]:
    keyring = _keyring(tls)
    if tls.certificate:
        try:
            named = Certificate(chain=Path(tls.certificate).read_text(), key=Path(tls.key).read_text())
        except (OSError, UnicodeError) as error:
            raise Invalid(f"server.certificate and server.key cannot be read: {error}") from None
        authority.require_usable(named, now=now)
        return named, Source.SETTINGS
    uploaded = keyring.uploaded()
    if uploaded is not None:
        return uploaded, Source.UPLOADED
    return keyring.issued(hosts, now=now), Source.SELF_MADE


def _judged(shown: Certificate, source: Source, hosts: Collection[str], *, now: float) -> CertificateView:
    view = authority.view(shown, source)
    return replace(view, warnings=rules.warnings(view, hosts, now=now))


async def _warn(platform: Platform, view: CertificateView) -> None:
    """Log and record what should be done, once for each thing."""
    said = "; ".join(view.warnings)
    async with platform.database.read() as tx:
        if (await meta.get(tx, kinds.CERTIFICATE_WARNED) or "") == said:
            return
    if said:
        log.warning("certificate", extra={"warnings": said})
    async with platform.database.begin() as tx:
        await meta.set(tx, kinds.CERTIFICATE_WARNED, said)
        if said:
            await authorise.note(platform, tx, None, kind=KIND, name=NAME, reason="Warning", message=said)


async def _note(platform: Platform, actor: Actor, reason: str, message: str) -> None:
    async with platform.database.begin() as tx:
        await authorise.note(platform, tx, actor, kind=KIND, name=NAME, reason=reason, message=message)


def _tls(platform: Platform) -> Tls:
    if platform.tls is None:
        raise NotFound("HTTPS is off; start with `modelyard up --https-port 8443`, or set server.https_port")
    return platform.tls


def _require_ours(tls: Tls) -> None:
    if tls.certificate:
        raise Conflict(
            f"the settings name the certificate {tls.certificate}; replace that file, which is noticed, "
            "or empty server.certificate and server.key"
        )


def _keyring(tls: Tls) -> Keyring:
    return Keyring(tls.directory, tls.name)
