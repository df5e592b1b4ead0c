"""What a pickle's instructions leave on the stack when nothing is imported or called."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Global:
    """A name that the pickle would import."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(slots=True, eq=False)
class Instance:
    """What calling a global would have made."""

    made_by: Global
    args: tuple[object, ...] = ()
    state: object = None
    built: bool = False
    items: dict[str, object] = field(default_factory=dict)
    """Entries that were set on it with text keys."""


@dataclass(frozen=True, slots=True, eq=False)
class Blob:
    """A byte string, of which only the beginning is kept."""

    length: int
    head: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Opaque:
    """A value that is known to be data but not kept: a long text, a set, an old byte string."""

    kind: str


@dataclass(slots=True, eq=False)
class Array:
    """A NumPy array of known shape; elements only when they are few."""

    dtype: str
    shape: tuple[int, ...]
    values: tuple[object, ...] | None = None


class Malformed(Exception):
    """The bytes are not a pickle that could be followed; the text says why, without the file's name."""
