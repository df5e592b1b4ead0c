"""What the embedded backend can be told beyond where to keep its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Programs, patience and bounds; the defaults are what an installation wants."""

    front: tuple[str, ...] = ()
    """Command of the serving front, before `--config`; empty means `INTERPRETER -m modelyard.serving`."""
    worker: str = ""
    """Directory of the guest's host; empty means the installed `modelyard_worker`."""
    heartbeat_seconds: float = 10.0
    """A front that has not touched its state for so long is unresponsive."""
    kill_seconds: float = 5.0
    """How long a killed process may take to be gone."""
    log_bytes: int = 32 << 20
    """A replica's log is rotated above this size; one older part is kept."""
    kept_logs: int = 5
    """Logs of how many dead replicas of a deployment are kept."""
    kept_seconds: float = 7 * 86_400.0
    """For how long after its last line a dead replica's log is kept."""
    max_body_bytes: int = 64 << 20
    """The largest inference request."""
    shared_memory: bool = False
    """Let clients name shared memory of this machine."""
    output_bytes: int = 1 << 20
    """How much a task's stdout and stderr may each say."""
    keeper: tuple[str, ...] = ()
    """Command of what keeps other servers; empty means `INTERPRETER -m modelyard.backends.keeper`."""
    programs: Mapping[str, str] = field(default_factory=dict)
    """Kind of server to the place of its program, for those that are not on the PATH."""
    path: str = ""
    """PATH of servers and shells; empty means that of the platform."""
    secrets: str = ""
    """Directory that holds PROJECT/NAME directories of secrets; empty means that there are none."""
    memory: str = "/dev/shm"  # noqa: S108 - directories of our own in it, readable by nobody else
    """A directory that lives in memory; where there is none the disk does."""
    lowest_port: int = 20_000
    """Servers listen on ports of loopback from here on."""
    highest_port: int = 29_999
    isolate_tasks: bool = True
    """Run tasks without network where the machine permits it."""
