"""What `nvidia-smi -L` prints of cards, and whether that is what a node's label says."""

from __future__ import annotations

import re
from dataclasses import dataclass

LIST = ("nvidia-smi", "-L")
"""The command that names the cards one sees, and nothing else."""
_CARD = re.compile(r"GPU \d+: (?P<name>.+?) \(UUID: (?P<uuid>GPU-[0-9A-Za-z-]+)\)")
_PART = re.compile(r"\s+MIG (?P<profile>\S+)\s+Device\s+\d+: \(UUID: (?P<uuid>MIG-[0-9A-Za-z/-]+)\)")
_SUFFIX = re.compile(r"-(?:SHARED|MIG-[0-9]+g\.[0-9]+gb(?:\.me)?)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Card:
    """One card that a program sees."""

    name: str
    """As the driver calls it: `Tesla T4`."""
    uuid: str
    parts: tuple[str, ...] = ()
    """Profiles of the MIG partitions of it that are seen."""

    @property
    def words(self) -> str:
        """For people."""
        parts = f", MIG {', '.join(self.parts)}" if self.parts else ""
        return f"{self.name}{parts} ({self.uuid})"


def listed(text: str) -> tuple[Card, ...]:
    """The cards in what `nvidia-smi -L` printed; none when it printed something else."""
    found: list[Card] = []
    for line in text.splitlines():
        if card := _CARD.match(line):
            found.append(Card(card["name"], card["uuid"]))
        elif found and (part := _PART.match(line)):
            last = found[-1]
            found[-1] = Card(last.name, last.uuid, (*last.parts, part["profile"]))
    return tuple(found)


def is_product(label: str, name: str) -> bool:
    """Whether a label such as `Tesla-T4` or `NVIDIA-A100-SXM4-40GB-MIG-1g.5gb` is of a card of this name."""
    return _plain(_SUFFIX.sub("", label)) == _plain(name)


def _plain(name: str) -> str:
    """A name as labels can hold it."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name.strip()).casefold()
