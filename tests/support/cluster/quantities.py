"""Amounts as Kubernetes writes them."""

from __future__ import annotations

import re
from decimal import Decimal

_FORM = re.compile(r"^([+-]?[0-9.]+)(([KMGTPE]i)|[numkMGTPE]|[eE]([+-]?[0-9]+))?$")
_SUFFIXES = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "k": Decimal(10**3),
    **{s: Decimal(1000**n) for n, s in enumerate("MGTPE", 2)},
    **{f"{s}i": Decimal(1024**n) for n, s in enumerate("KMGTPE", 1)},
}  # fmt: skip


def parse(value: object) -> Decimal:
    """The amount; ValueError for what is none."""
    found = _FORM.match(str(value))
    if not found or not any(c.isdigit() for c in found[1]) or found[1].count(".") > 1:
        raise ValueError(f"quantities must match the regular expression '{_FORM.pattern}'")
    number, suffix, exponent = Decimal(found[1]), found[2] or "", found[4]
    return number * (Decimal(10) ** int(exponent) if exponent else _SUFFIXES.get(suffix, Decimal(1)))


def shown(value: Decimal) -> str:
    """The amount in its plainest form."""
    if value == value.to_integral_value():
        return str(int(value))
    return f"{int((value * 1000).to_integral_value(rounding='ROUND_CEILING'))}m"
