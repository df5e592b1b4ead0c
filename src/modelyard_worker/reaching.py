"""Which addresses code may connect to for a host that a request names, by the list `FETCH_HOSTS`.

- Another port than the scheme's own only where the entry has it.
- Loopback, link-local and multicast addresses, those of clouds' metadata, and whatever tunnels or translates
  to others unseen, only if the entry is that address itself.
- An address of a private network by an entry without `*` only, as others may choose names below a `*`.
- All addresses of a name are judged, and the connection goes to one of these, not to the name.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, List, Sequence, Union

VARIABLE = "FETCH_HOSTS"
_METADATA = frozenset(
    map(ip_address, ("168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"))
)
"""Of Azure, Alibaba, Oracle, AWS and Google, beside the link-local one of all."""
_THIS_NETWORK = ip_network("0.0.0.0/8")
_TRANSLATED = ip_network("64:ff9b::/96")
"""NAT64, of which the last four bytes are the address meant (RFC 6052)."""
_PRIVATE_6 = ip_network("fc00::/7")
_GLOBAL_6 = ip_network("2000::/3")
_TUNNELS_6 = (ip_network("2001::/32"), ip_network("2002::/16"))
"""Teredo and 6to4."""

_Address = Union[IPv4Address, IPv6Address]


def addresses(host: str, port: int, *, usual: int, seconds: float) -> List[str]:
    """The addresses of a host that may be connected to; `usual` is the port that no entry need name.

    Raises ValueError for a host that is not listed, is not known within `seconds`, or leads where it may not.
    """
    allowed = [entry.strip() for entry in os.environ.get(VARIABLE, "").split(",") if entry.strip()]
    entries = [entry for entry in allowed if _covers(entry, host, port, usual)]
    if not entries:
        where = host if port == usual else f"{host}:{port}"
        listed = ", ".join(allowed) or "nothing"
        raise ValueError(
            f"{where} is not among the hosts to fetch from ({listed}): set {VARIABLE} on the deployment"
        )
    found = _resolved(host, port, seconds)
    is_named = _is_address(host) and host in map(_bare, entries)
    is_exact = any("*" not in entry for entry in entries)
    for address in found:
        if not (is_named or _may_be(address, is_exact)):
            raise ValueError(f"{host} is at {address}, an address that is not fetched from")
    return [str(address) for address in found]


def plain(host: str) -> str:
    """A host as it is compared: lower-case ASCII (IDNA), no dot at its end. Raises ValueError for others."""
    return host.rstrip(".").lower().encode("idna").decode("ascii")


def _covers(entry: str, host: str, port: int, usual: int) -> bool:
    """Whether an entry of the list means this host and port."""
    bare = _bare(entry)
    if (_port(entry) or str(usual)) != str(port):
        return False
    return host == bare or (bare.startswith("*.") and host.endswith(bare[1:]))


def _port(entry: str) -> str:
    """That of an entry; empty when it has none."""
    rest = entry.partition("]")[2] if entry.startswith("[") else entry
    return rest.partition(":")[2] if rest.count(":") == 1 else ""


def _bare(entry: str) -> str:
    """An entry without its port: `10.0.0.5:9000`, `[::1]:80`, `example.com`."""
    if entry.startswith("["):
        return entry[1:].partition("]")[0].lower()
    try:
        return plain(entry if entry.count(":") > 1 else entry.partition(":")[0])
    except ValueError:
        return entry  # which is no host's name, and so covers none


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _resolved(host: str, port: int, seconds: float) -> Sequence[_Address]:
    """All addresses of a name, asked for aside: a name server that is silent has patience of its own."""
    answers: "queue.Queue[Any]" = queue.Queue()

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        found = answers.get(timeout=max(seconds, 0))
    except queue.Empty:
        found = "it took too long"
    if not isinstance(found, list):
        raise ValueError(f"{host} is not known: {found}")
    return [ip_address(str(each[4][0]).partition("%")[0]) for each in found]


def _may_be(address: _Address, is_exact: bool) -> bool:
    """Whether a connection to an address is meant by who wrote a name into the list."""
    if address in _METADATA:
        return False
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or (_inner(address) if address in _TRANSLATED else None)
        if inner is not None:
            return _may_be(inner, is_exact)
        if address in _PRIVATE_6:
            return is_exact
        return address in _GLOBAL_6 and address.is_global and not any(address in each for each in _TUNNELS_6)
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_reserved:
        return False
    return address not in _THIS_NETWORK and (address.is_global or is_exact)


def _inner(address: IPv6Address) -> IPv4Address:
    return IPv4Address(int(address) & 0xFFFFFFFF)
