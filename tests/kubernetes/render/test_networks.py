"""Who is closed in, and whom they still reach."""

from __future__ import annotations

from typing import Any

import pytest

from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.backend import KubernetesBackend, Options
from modelyard.backends.kubernetes.render import networks
from modelyard.backends.kubernetes.render.desired import Settings
from tests.kubernetes.render.cases import task

INSIDE = ("http://modelyard.modelyard-system:8081/x", "https://modelyard.modelyard-system.svc.cluster.local")
PLAIN = ("http://10.1.2.3:8080/x", "http://[fd00::7]:8080")
OUTSIDE = (
    "https://models.example.org/x",
    "http://modelyard.another-namespace.svc:8080",
    "http://modelyard",
    "",
)


def egress(url: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = networks.policy("a", "modelyard-a", Settings(artifact_url=url))["spec"][
        "egress"
    ]
    return found


@pytest.mark.parametrize("url", INSIDE)
def test_the_platforms_namespace_is_reached_and_names_are_looked_up(url: str) -> None:
    platform, lookup = egress(url)
    labels = {"kubernetes.io/metadata.name": "modelyard-system"}
    assert platform["to"] == [{"namespaceSelector": {"matchLabels": labels}}]
    assert {each["port"] for each in lookup["ports"]} == {53}


@pytest.mark.parametrize(("url", "block"), zip(PLAIN, ("10.1.2.3/32", "fd00::7/128"), strict=True))
def test_an_address_needs_no_names_so_none_can_be_looked_up(url: str, block: str) -> None:
    assert egress(url) == [{"to": [{"ipBlock": {"cidr": block}}]}]


@pytest.mark.parametrize("url", [*INSIDE, *PLAIN])
def test_a_pod_that_tries_a_model_is_closed_in(url: str) -> None:
    policy, _, job = task(Settings(artifact_url=url))
    assert policy["spec"]["podSelector"]["matchLabels"] == {names.NETWORK: networks.CLOSED}
    assert job["spec"]["template"]["metadata"]["labels"][names.NETWORK] == networks.CLOSED
    assert policy["metadata"]["namespace"] == job["metadata"]["namespace"]


def test_one_that_must_install_packages_first_is_not() -> None:
    *_, job = task(lock="numpy==2.1.0\n")
    assert names.NETWORK not in job["spec"]["template"]["metadata"]["labels"]


@pytest.mark.parametrize("url", OUTSIDE)
async def test_what_no_policy_can_say_closes_nothing_in_and_is_told(url: str) -> None:
    settings = Settings(artifact_url=url)
    *_, job = task(settings)
    assert names.NETWORK not in job["spec"]["template"]["metadata"]["labels"]
    assert _told(settings).startswith("not enforced: kubernetes.artifact_url")


async def test_what_is_enforced_is_told_with_its_conditions() -> None:
    assert _told(Settings()).startswith("by NetworkPolicy, if the cluster's network enforces them")


def _told(settings: Settings) -> str:
    nobody: Any = None
    backend = KubernetesBackend(nobody, Options(settings=settings), clock=lambda: 0.0)
    return backend.enforcement()["network of validation and tests"]
