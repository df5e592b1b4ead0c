"""What a TLS certificate says, when it is replaced, and what is said about one that nears its end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from modelyard.domain import wire

SELF_MADE_DAYS = 90.0
"""How long a certificate of the platform's own authority is good."""
AUTHORITY_DAYS = 3650.0
RENEW_DAYS = 30.0
"""A self-made certificate is replaced when it has so little time left."""
WARN_DAYS = 21.0
"""From so little time left on, somebody must replace one that is not self-made."""
MOST_HOSTS = 1000
"""Names in one self-made certificate."""
_DAY = 86_400.0


class Source(StrEnum):
    """Where the certificate in use comes from."""

    SELF_MADE = "self-made"
    UPLOADED = "uploaded"
    SETTINGS = "settings"


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateView:
    """The certificate of the HTTPS port, without its key."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    source: Source
    subject: str
    issuer: str
    hosts: tuple[str, ...]
    """Names and IP addresses that clients accept it for."""
    not_before: datetime
    not_after: datetime
    sha256: str
    """Fingerprint, hex digits."""
    warnings: tuple[str, ...] = ()


def is_due(view: CertificateView, wanted: Iterable[str], *, now: float) -> bool:
    """Whether a self-made certificate is to be replaced: little time left, or a host that it lacks."""
    left = view.not_after.timestamp() - now
    return left < RENEW_DAYS * _DAY or view.not_before.timestamp() > now or not covers(view.hosts, wanted)


def covers(hosts: Iterable[str], wanted: Iterable[str]) -> bool:
    """Whether each wanted name is among the hosts, or matches a wildcard's one label."""
    known = frozenset(hosts)
    return all(name in known or f"*.{name.partition('.')[2]}" in known for name in wanted)


def warnings(view: CertificateView, wanted: Iterable[str], *, now: float) -> tuple[str, ...]:
    """What somebody should do about it, in sentences."""
    said = []
    left = (view.not_after.timestamp() - now) / _DAY
    replace = "replace it with `modelyard certificate set`, or the files that the settings name"
    if left <= 0:
        said.append(f"the certificate ended on {view.not_after:%Y-%m-%d}; {replace}")
    elif left < WARN_DAYS and view.source is not Source.SELF_MADE:
        said.append(f"the certificate ends in {left:.0f} days, on {view.not_after:%Y-%m-%d}; {replace}")
    missing = [name for name in sorted(set(wanted)) if not covers(view.hosts, (name,))]
    if missing and view.source is not Source.SELF_MADE:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        said.append(
            f"it does not name {', '.join(missing[:3])}{more}; clients there are shown a self-made one"
        )
    return tuple(said)
