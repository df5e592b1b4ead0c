"""How a service's addresses are shown."""

from __future__ import annotations

from modelyard.cli import output

COLUMNS: list[output.Column] = [
    ("host", lambda v: v.addresses.host),
    ("open", lambda v: v.addresses.link),
    ("https", lambda v: v.addresses.https_url),
    ("own ports", lambda v: ", ".join(v.addresses.port_urls)),
    ("second port", lambda v: v.addresses.second_url),
    ("hosts file", lambda v: v.addresses.hosts_line),
]
"""Of whatever has addresses: a deployment or an endpoint; what it lacks is left out."""
