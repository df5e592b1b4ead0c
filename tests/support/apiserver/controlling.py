"""Starts `kube-controller-manager` and `kube-scheduler` beside an API server, where a directory has them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.support.apiserver.launching import Launched, NotStarted, Program, running

MANAGER, SCHEDULER = "kube-controller-manager", "kube-scheduler"
_QUICK = {"kube-api-qps": "300", "kube-api-burst": "600", "leader-elect": "false", "profiling": "false"}
"""Tests do not want to wait for a client's politeness, and there is nobody to be elected against."""


def has_all(assets: Path) -> bool:
    """Whether the directory has more of a control plane than its API server."""
    return all((assets / name).is_file() for name in (MANAGER, SCHEDULER))


@contextlib.contextmanager
def controlled(assets: Path, there: Launched, home: Path) -> Iterator[list[Program]]:
    """A cluster's own controllers and its scheduler at work, until the block ends."""
    chosen = ((MANAGER, manager_flags(there)), (SCHEDULER, scheduler_flags(there)))
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(running(assets / name, flags, home)) for name, flags in chosen]


def require_alive(programs: list[Program]) -> None:
    """NotStarted when one of them ended."""
    for each in programs:
        code = each.process.poll()
        if code is not None:
            raise NotStarted(f"{each.name} ended with {code}; it said last:\n{each.last_words()}")


def manager_flags(there: Launched) -> dict[str, str]:
    """What the controllers are told: nodes are watched closely, and autoscalers look often."""
    _, private = there.papers.accounts
    return {
        **_QUICK,
        "kubeconfig": str(there.kubeconfig),
        "secure-port": "0",
        "root-ca-file": str(there.papers.authority),
        "service-account-private-key-file": str(private),
        "use-service-account-credentials": "false",
        "node-monitor-period": "1s",
        "node-monitor-grace-period": "4s",
        "horizontal-pod-autoscaler-sync-period": "2s",
        "horizontal-pod-autoscaler-initial-readiness-delay": "1s",
        "horizontal-pod-autoscaler-cpu-initialization-period": "1s",
    }


def scheduler_flags(there: Launched) -> dict[str, str]:
    """What the scheduler is told."""
    return {**_QUICK, "kubeconfig": str(there.kubeconfig), "secure-port": "0"}
