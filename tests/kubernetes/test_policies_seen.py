"""What `doctor kubernetes` says of whoever enforces policies of the network: what was seen, and no more."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from modelyard.installing import examining, policies
from modelyard.installing.running import Target
from tests.kubernetes.worlds import world
from tests.support.cluster.verbs import Options
from tests.support.patience import PATIENCE


def daemon(name: str, *containers: str) -> dict[str, Any]:
    spec = {"containers": [{"name": each, "image": "x"} for each in containers or ("main",)]}
    return {"metadata": {"name": name}, "spec": {"template": {"spec": spec}}}


def node(version: str = "v1.34.1") -> dict[str, Any]:
    return {"metadata": {"name": "n"}, "status": {"nodeInfo": {"kubeletVersion": version}}}


@pytest.mark.parametrize(
    ("daemons", "version", "words"),
    [
        (
            (daemon("calico-node"), daemon("kube-proxy")),
            "v1.34.1",
            "Calico enforces them, unless told not",
        ),
        ((daemon("kube-flannel-ds"), daemon("canal")), "v1.34.1", "Canal enforces them"),
        (
            (daemon("aws-node", "aws-node", "aws-eks-nodeagent"),),
            "v1.34.1",
            "the agent of the Amazon VPC",
        ),
        ((daemon("aws-node"),), "v1.34.1", "nothing known was seen that enforces them; only a request"),
        ((), "v1.34.1+k3s1", "k3s enforces them, unless told not to"),
        (
            (daemon("kube-flannel-ds"),),
            "v1.34.1",
            "Flannel does not enforce them, and nothing",
        ),
        ((), "v1.34.1", "nothing known was seen that enforces them; only a request"),
    ],
)
def test_what_was_seen_is_named(daemons: tuple[dict[str, Any], ...], version: str, words: str) -> None:
    found = policies.check(daemons, [node(version)])
    assert (found.name, found.ok) == ("network policies", True)
    assert found.message.startswith(words)


async def test_a_cluster_is_asked(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        target = Target(environ={}, kubeconfig=str(here.kubeconfig), timeout_seconds=20.0)
        found = {each.name: each for each in await examining.asked(target, gpus=False)}
        assert found["network policies"].message.startswith("nothing known was seen")
        cluster, labels = here.there.cluster, {"app": "cilium"}
        spec = {"containers": [{"name": "c", "image": "cilium"}]}
        template = {"metadata": {"labels": labels}, "spec": spec}
        made = {
            "metadata": {"name": "cilium"},
            "spec": {"selector": {"matchLabels": labels}, "template": template},
        }
        cluster.create(cluster.kind("DaemonSet"), "kube-system", made, Options(manager="somebody"))
        end = time.monotonic() + PATIENCE
        while not found["network policies"].message.startswith("Cilium enforces them"):
            assert time.monotonic() < end, found["network policies"]
            found = {each.name: each for each in await examining.asked(target, gpus=False)}
