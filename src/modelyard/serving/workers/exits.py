"""Why a worker's process ended, in words that lead to a remedy."""

from __future__ import annotations

import signal

from modelyard.serving.errors import Failure

NEAR = 0.9
"""A process killed from outside with this share of its memory in use was killed for that."""

_MEANINGS = {
    signal.SIGSEGV: "a fault in native code",
    signal.SIGBUS: "a fault in native code, or a file that shrank while it was mapped",
    signal.SIGABRT: "native code gave up",
    signal.SIGILL: "an instruction that this processor does not have",
    signal.SIGFPE: "an arithmetic fault in native code",
}


def explain_exit(status: int, *, resident: int, memory_bytes: int, loading: bool) -> Failure:
    """The failure for an exit status as Python has it: negative for a signal.

    `resident` is the memory last seen in use, in bytes.
    """
    while_ = " while the model was loading" if loading else ""
    if status == -signal.SIGKILL:
        if memory_bytes and resident >= NEAR * memory_bytes:
            return out_of_memory(resident, memory_bytes)
        message = (
            f"the model's process was killed by SIGKILL{while_}, from outside; the system kills like this"
        )
        message += f" when memory runs out. It used {_mib(resident)} when last seen"
        return Failure("WorkerCrashed", message)
    if status < 0:
        return Failure("WorkerCrashed", f"the model's process ended with {_named(-status)}{while_}")
    message = f"the model's process exited with code {status}{while_}: see the log; a model must stay running"
    return Failure("WorkerCrashed", message)


def out_of_memory(resident: int, memory_bytes: int) -> Failure:
    """The failure of a process that outgrew its memory."""
    return Failure(
        "OutOfMemory",
        f"the model's process used {_mib(resident)} of the {_mib(memory_bytes)} it may have: "
        "give the deployment more memory",
    )


def load_timeout(seconds: float) -> Failure:
    """The failure of a model that took too long to load."""
    message = f"the model was not loaded within {seconds:g} s: raise start_timeout_seconds, or see in the log"
    return Failure("LoadTimeout", message + " where it waits")


def hung(what: str) -> Failure:
    """The failure of a process that does not answer."""
    return Failure("WorkerHung", f"the model's process {what}; it was ended and started again")


def _named(number: int) -> str:
    try:
        known = signal.Signals(number)
    except ValueError:
        return f"signal {number}"
    meaning = _MEANINGS.get(known)
    return f"{known.name} ({meaning})" if meaning else known.name


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.0f} MiB"
