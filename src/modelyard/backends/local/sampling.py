"""What replicas use at this moment, from /proc and from what their fronts say; blocking."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from modelyard.backends import process, reports
from modelyard.backends.local import files, record, spawn
from modelyard.backends.local.places import Places
from modelyard.domain.deployment import Key
from modelyard.domain.tallies import Sample

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_LOOKS = 6
"""So many times a replica's processes are taken to be those that were found before."""


class Sampling:
    """Looks at the replicas of one data directory; knows their processes from one look to the next."""

    def __init__(self, places: Places, *, gpu_ratios: Callable[[], Mapping[int, float]]) -> None:
        self._places = places
        self._gpu_ratios = gpu_ratios
        self._families: dict[Path, tuple[int, list[int]]] = {}

    def samples(self, keys: Iterable[Key]) -> tuple[Sample, ...]:
        """One for every replica that runs."""
        homes = [
            (key, name, self._places.replica(key, name)) for key in keys for name in self._places.names(key)
        ]
        self._families = {h: self._families[h] for _, _, h in homes if h in self._families}
        kept = {home: record.load(home) for _, _, home in homes}
        ratios = self._gpu_ratios() if any(each and each.gpus for each in kept.values()) else {}
        found = (self._sample(key, name, home, kept[home], ratios) for key, name, home in homes)
        return tuple(sample for sample in found if sample is not None)

    def _sample(
        self, key: Key, name: str, home: Path, kept: record.Record | None, ratios: Mapping[int, float]
    ) -> Sample | None:
        born = process.birth(home / spawn.BIRTH)
        if kept is None or born is None or not process.alive(born):
            return None
        state = files.read_json(home / "state.json") or {}
        lines = [fields for pid in self._family(home, born.pid) if (fields := _stat(pid))]
        known = [ratios[gpu] for gpu in kept.gpus if gpu in ratios]
        return Sample(
            service=str(key),
            replica=name,
            revision=kept.revision,
            started_at=kept.started_at,
            cpu_seconds={f"{f[0]} {f[20]}": (int(f[12]) + int(f[13])) / _TICKS for f in lines},
            memory_bytes=sum(int(fields[22]) for fields in lines) * _PAGE,
            inflight=reports.count(state, "inflight"),
            queue=reports.count(state, "queue"),
            gpu_ratio=sum(known) / len(known) if known else None,
        )

    def _family(self, home: Path, pid: int) -> list[int]:
        """The replica's processes; looking for children costs more than looking at them."""
        looks, known = self._families.get(home, (0, []))
        if looks == 0 or pid not in known:
            looks, known = _LOOKS, [stat.pid for stat in process.family(pid)]
        self._families[home] = (looks - 1, known)
        return known


def _stat(pid: int) -> list[str]:
    """The number of a process and the fields of its stat line behind its name; empty when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    fields = [str(pid), *text.rpartition(")")[2].split()]
    return fields if len(fields) > 22 else []
