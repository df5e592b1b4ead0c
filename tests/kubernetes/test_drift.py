"""What others changed of ours is found by who owns which field."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from modelyard.backends.kubernetes import drift
from modelyard.backends.kubernetes.drift import Loss
from tests.cluster.manifests import config, deployment
from tests.support.cluster import schemas, verbs
from tests.support.cluster.verbs import Cluster, Options

DATA = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("12"), min_size=1, max_size=4)
SERVICE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "demo-r1", "labels": {"app": "demo"}, "annotations": {}},
    "spec": {"selector": {"app": "demo"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
}


class Place:
    """A cluster, with a short way to apply and to change."""

    def __init__(self) -> None:
        self.time = 0.0
        self.cluster = Cluster(schemas.load("1.37"), clock=lambda: self.time)

    def patch(self, value: dict[str, Any], how: str, patch: dict[str, Any], who: str) -> dict[str, Any]:
        self.time += 1
        name = ("default", value["metadata"]["name"])
        options = Options(manager=who, force=True)
        found: dict[str, Any] = self.cluster.patch(
            self.cluster.kind(value["kind"]), name, how, copy.deepcopy(patch), options
        )
        return found

    def apply(self, value: dict[str, Any], who: str = "modelyard") -> dict[str, Any]:
        return self.patch(value, verbs.APPLY, value, who)

    def edit(self, value: dict[str, Any], who: str = "kubectl-edit", **patch: Any) -> dict[str, Any]:
        return self.patch(value, verbs.STRATEGIC, patch, who)


def test_what_was_just_applied_is_wholly_ours() -> None:
    place = Place()
    for value in (deployment(replicas=2, minReadySeconds=0), SERVICE, config(a="1")):
        assert drift.lost(value, place.apply(value)) == ()


def test_a_changed_field_is_found_with_who_changed_it() -> None:
    place, value = Place(), deployment()
    place.apply(value)
    containers = [{"name": "main", "image": "evil:2", "env": [{"name": "A", "value": "9"}]}]
    live = place.edit(value, spec={"template": {"spec": {"containers": containers}}})
    within = "spec.template.spec.containers[name=main]"
    assert set(drift.lost(value, live)) == {
        Loss(f"{within}.image", "kubectl-edit"),
        Loss(f"{within}.env[name=A].value", "kubectl-edit"),
    }
    assert drift.lost(value, place.apply(value)) == ()


def test_a_removed_item_and_a_removed_label_are_found() -> None:
    place = Place()
    place.apply(SERVICE)
    live = place.edit(SERVICE, metadata={"labels": {"app": None}}, spec={"selector": {"app": None, "x": "y"}})
    assert {loss.path for loss in drift.lost(SERVICE, live)} == {"metadata.labels.app", "spec.selector.app"}
    gone = {"ports": [{"port": 80, "$patch": "delete"}, {"port": 81}]}
    live = place.edit(SERVICE, spec=gone)
    assert any(loss.path.startswith("spec.ports") for loss in drift.lost(SERVICE, live))


def test_what_others_add_and_what_controllers_own_is_not_drift() -> None:
    place, value = Place(), deployment()
    place.apply(value)
    place.apply({**deployment(), "spec": {"replicas": 3}}, "modelyard-scale")
    live = place.edit(value, "istio", metadata={"annotations": {"istio": "1"}}, spec={"minReadySeconds": 3})
    assert drift.lost(value, live) == ()


def test_what_is_owned_as_a_whole_is_not_looked_into() -> None:
    place, value = Place(), config(a="1")
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "anchor", "uid": "u-1"}
    value["metadata"]["ownerReferences"] = [owner]
    place.apply(value)
    assert drift.lost(value, place.edit(value, metadata={"labels": {"x": "y"}})) == ()


def test_the_sentence_names_who_and_what() -> None:
    losses = [Loss(f"spec.a{number}", "kubectl-edit") for number in range(7)]
    assert drift.told("Service churn-r1", losses).startswith("kubectl-edit had changed spec.a0, ")
    assert "and 2 more of Service churn-r1" in drift.told("Service churn-r1", losses)


@given(ours=DATA, theirs=DATA)
def test_exactly_the_fields_that_others_set_otherwise_are_lost(
    ours: dict[str, str], theirs: dict[str, str]
) -> None:
    place, value = Place(), config(**ours)
    place.apply(value)
    live = place.edit(value, data=theirs)
    changed = {name for name in ours if name in theirs and theirs[name] != ours[name]}
    assert {loss.path for loss in drift.lost(value, live)} == {f"data.{name}" for name in changed}
    assert drift.lost(value, place.apply(value)) == ()
