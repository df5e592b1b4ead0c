"""Judges a replica from what was found on disk and in /proc; pure."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelyard.backends import reports
from modelyard.backends.local.record import Record
from modelyard.domain.deployment import Failure, Phase, Replica

_PHASES = {
    "starting": Phase.STARTING,
    "ready": Phase.READY,
    "unready": Phase.UNREADY,
    "draining": Phase.DRAINING,
    "failed": Phase.FAILED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was found."""

    record: Record
    alive: bool
    """Whether its front runs, or is being started at this moment."""
    pid: int = 0
    exit_code: int | None = None
    """Of a front that ended; negative is a signal; None when nobody was there to see."""
    state: Mapping[str, Any] | None = None
    """What the front says of itself, `state.json`."""
    silent_seconds: float = 0.0
    """Since the front last touched its state, or since this was first looked for."""
    draining_since: float = 0.0
    stopping_since: float = 0.0
    resident_bytes: int = 0
    """Memory of the front's process, for when it says nothing."""


def judge(facts: Facts, *, patience: float) -> Replica:
    """The replica as it is; `patience` is how many seconds a front may be silent."""
    phase, failure = _phase(facts, patience)
    record, state = facts.record, facts.state or {}
    return Replica(
        name=record.replica,
        revision=record.revision,
        phase=phase,
        address=record.address,
        second_address=record.second_address,
        metrics_address=record.metrics_address,
        pid=facts.pid if facts.alive else 0,
        started_at=record.started_at,
        draining_since=facts.draining_since,
        stopping_since=facts.stopping_since,
        failure=failure,
        worker_restarts=reports.count(state, "worker_restarts"),
        memory_bytes=(reports.count(state, "memory_bytes") or facts.resident_bytes) if facts.alive else 0,
        loaded_bytes=reports.of_model(state, "memory_bytes"),
        peak_bytes=reports.of_model(state, "peak_bytes"),
        gpus=record.gpus,
        cpu_millis=record.cpu_millis,
        memory_reserved=record.memory_bytes,
        variant=str(state.get("variant") or ""),
        inline=state.get("inline") is True,
    )


def _phase(facts: Facts, patience: float) -> tuple[Phase, Failure | None]:
    said = _PHASES.get(str((facts.state or {}).get("phase")), Phase.STARTING)
    reported = reports.failure(facts.state, "failure")
    if not facts.alive:
        told = reported if said is Phase.FAILED else None
        return Phase.FAILED, told or _ended(facts.exit_code)
    if facts.stopping_since:
        return Phase.STOPPING, reported
    if facts.draining_since:
        return Phase.DRAINING, reported
    if _silent(facts, patience):
        return Phase.UNREADY, _unresponsive(facts)
    if said is Phase.FAILED:
        return said, reported or Failure(reason="StartFailed", message="the front gave no reason")
    if said is Phase.READY:
        return said, reported or reports.failure(facts.state, "last_failure")
    return said, reported


def _silent(facts: Facts, patience: float) -> bool:
    """A front that never said anything may still be importing: it has as long as its model has to load."""
    return facts.silent_seconds > (patience if facts.state else max(patience, facts.record.start_seconds))


def _unresponsive(facts: Facts) -> Failure:
    return Failure(
        reason="FrontUnresponsive",
        message=f"the serving process has given no sign of life for {facts.silent_seconds:.0f} seconds",
    )


def _ended(exit_code: int | None) -> Failure:
    if exit_code is None:
        how = "ended while no control plane watched"
    elif exit_code >= 0:
        how = f"ended by itself with exit code {exit_code}"
    else:
        how = f"was ended by signal {-exit_code} ({_signal_name(-exit_code)})"
    return Failure(reason="FrontCrashed", message=f"the serving process {how}; its log may say why")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
