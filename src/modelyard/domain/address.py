"""Where a service answers beside its automatic addresses, and the site that gives these their names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar

from modelyard.domain import hosts, wire
from modelyard.domain.errors import FieldError, Invalid
from modelyard.domain.hosts import Wish

_IP = re.compile(r"[0-9a-fA-F:.]{2,45}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """What a user says about a service's addresses; its path stays in any case."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    host: str = ""
    """A domain to answer at in place of the automatic one; a URL, whose domain that is and which people open;
    or a path that people open at the automatic one (`:PORT/PATH` opens the second port). Stages have `test.`
    or `debug.` in front. Of several services with one host the newest that is ready has it."""
    own_port: bool = False
    """Listen on a port that leads to this service alone, in HTTP/1.1, HTTP/2 and gRPC."""
    second_port: bool = False
    """A port for the service's second port too; there are no more than two."""

    def __post_init__(self) -> None:
        hosts.parse(self.host, "spec.address.host")
        if self.second_port and not self.own_port:
            message = "needs `own_port`: the second port stands beside the first"
            path = "spec.address.second_port"
            raise Invalid(f"{path}: {message}", errors=(FieldError(path, message),))

    @property
    def wish(self) -> Wish:
        """The host, understood."""
        return hosts.parse(self.host, "spec.address.host")

    @property
    def port_count(self) -> int:
        """How many ports of its own the service wants."""
        return self.own_port + self.second_port


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What names and numbers clients know the machine by: the installation's, or a project's own."""

    domain: str = "localhost"
    """Services answer at `NAME.service.DOMAIN`."""
    external_ip: str = ""
    """An IP address or name, or `internal|public`: clients outside are shown the second."""

    @property
    def shown(self) -> str:
        """The address that clients are told; empty when nobody said one."""
        return self.external_ip.rpartition("|")[2]

    def with_own(self, *, domain: str, external_ip: str) -> Site:
        """This site where a project says nothing of its own."""
        return Site(domain=domain or self.domain, external_ip=external_ip or self.external_ip)


def require_external(text: str, path: str) -> None:
    """Nothing when `text` is empty, an address, or `internal|public`; raises Invalid that names `path`."""
    parts = text.split("|")
    if text and (len(parts) > 2 or not all(map(_is_address, parts))):
        message = f"{text[:70]!a} is neither an IP address or name, nor two of them as `internal|public`"
        raise Invalid(f"{path}: {message}", errors=(FieldError(path, message),))


def _is_address(text: str) -> bool:
    if _IP.fullmatch(text):
        return True
    try:
        hosts.require_domain(text, "")
    except Invalid:
        return False
    return True
