"""The API server that tests of the real thing talk to, and what it can be asked for."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.support.apiserver import controlling, standin
from tests.support.apiserver.launching import Launched, launched

GIVEN, ASSETS = "SCENARIOS_KUBECONFIG", "KUBEBUILDER_ASSETS"
"""Not `KUBECONFIG`: whoever has a cluster of their own does not want tests in it unasked."""
KUBECTL = Path(sys.executable).parent / "kubectl"
LACKS = {
    "controllers": "nothing runs there but the API server: no kube-controller-manager",
    "kubelet": "no node is ready there: pods do not run",
    "an API server alone": "controllers run there, and the scenarios ask for the same with pods that run",
    "a server of our own": "it is somebody's, and what the whole cluster has is left as it is",
}
"""What a server may not offer, and why not."""


@dataclass(frozen=True, slots=True)
class Reached:
    """An API server that answers whoever has this file, who may do everything."""

    what: str
    """For people."""
    kubeconfig: Path
    offers: frozenset[str]
    """Of what `LACKS` names."""

    def acting_as(self, user: str, home: Path) -> Path:
        """A kubeconfig with the rights of somebody else."""
        document = yaml.safe_load(self.kubeconfig.read_text())
        for each in document["users"]:
            each["user"] = {**(each["user"] or {}), "as": user}
        path = home / "impersonating.yaml"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(document))
        return path


@contextlib.contextmanager
def reached(home: Path) -> Iterator[Reached]:
    """The cluster that is given, else a server out of the assets, else what stands in for them."""
    given, assets = os.environ.get(GIVEN), os.environ.get(ASSETS)
    if given:
        runs = frozenset({"controllers", "kubelet"} if ready_nodes(Path(given)) else ())
        yield Reached(f"the cluster of {given}", Path(given), runs)
        return
    place = Path(assets) if assets else standin.made(home / "assets")
    what = f"kube-apiserver of {assets}" if assets else f"what stands in for kube-apiserver, without {ASSETS}"
    with launched(place, home / "server") as found, _controlled(place, found, home / "server") as offered:
        yield Reached(what, found.kubeconfig, frozenset({"a server of our own", *offered}))


@contextlib.contextmanager
def _controlled(assets: Path, there: Launched, home: Path) -> Iterator[tuple[str, ...]]:
    """With controllers, where the directory has them; what they bring."""
    if not controlling.has_all(assets):
        yield ("an API server alone",)
        return
    with controlling.controlled(assets, there, home):
        yield ("controllers",)


def ready_nodes(kubeconfig: Path) -> int:
    """How many nodes of a cluster run pods."""
    command = [str(KUBECTL), "--kubeconfig", str(kubeconfig), "get", "nodes", "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{kubeconfig}: {done.stderr}"
    conditions = [each.get("status", {}).get("conditions", ()) for each in json.loads(done.stdout)["items"]]
    good = {"type": "Ready", "status": "True"}.items()
    return sum(any(good <= condition.items() for condition in each) for each in conditions)
