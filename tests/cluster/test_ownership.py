"""Server-side apply: who owns what, what conflicts, and what goes when nobody wants it any more."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cluster.manifests import config, deployment
from tests.support.cluster import fieldsets, schemas, verbs
from tests.support.cluster.refusals import Refusal
from tests.support.cluster.verbs import Cluster, Options

NAME = ("default", "demo-r1")
DATA = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("12"), max_size=4)


def cluster() -> Cluster:
    return Cluster(schemas.load("1.37"), clock=lambda: 0.0)


def apply(to: Cluster, value: dict[str, Any], manager: str = "modelyard", *, force: bool = False) -> Any:
    kind = to.kind(value["kind"])
    name = ("default", value["metadata"]["name"])
    return to.patch(kind, name, verbs.APPLY, value, Options(manager=manager, force=force))


def test_a_field_of_another_is_a_conflict_until_it_is_forced() -> None:
    there = cluster()
    apply(there, deployment(replicas=2))
    with pytest.raises(Refusal) as told:
        apply(there, deployment(replicas=3), "hpa")
    assert told.value.message == 'Apply failed with 1 conflict: conflict with "modelyard": .spec.replicas'
    assert apply(there, deployment(replicas=3), "hpa", force=True)["spec"]["replicas"] == 3
    with pytest.raises(Refusal):
        apply(there, deployment(replicas=2))


def test_the_same_value_is_shared_and_stays_until_the_last_owner_drops_it() -> None:
    there = cluster()
    apply(there, deployment(replicas=2))
    apply(there, deployment(replicas=2), "hpa")
    assert apply(there, deployment())["spec"]["replicas"] == 2
    assert apply(there, deployment(), "hpa")["spec"]["replicas"] == 1, "the default comes back"


def test_an_item_that_is_applied_no_more_goes_and_others_items_stay() -> None:
    there = cluster()
    apply(there, deployment())
    side = {"name": "side", "image": "y:1"}
    kind = there.kind("Deployment")
    patch = {"spec": {"template": {"spec": {"containers": [side]}}}}
    there.patch(kind, NAME, verbs.STRATEGIC, patch, Options(manager="kubectl-edit"))
    mine = deployment()
    mine["spec"]["template"]["spec"]["containers"][0]["env"].pop()
    containers = apply(there, mine)["spec"]["template"]["spec"]["containers"]
    assert {c["name"]: [e["name"] for e in c.get("env", ())] for c in containers} == {
        "main": ["A"],
        "side": [],
    }


def test_what_an_update_changes_belongs_to_who_updated() -> None:
    there = cluster()
    made = copy.deepcopy(apply(there, config(a="1", b="2")))
    made["data"]["a"] = "9"
    there.replace(there.kind("ConfigMap"), ("default", "settings"), made, Options(manager="editor"))
    with pytest.raises(Refusal, match=r"conflict with \"editor\": .data.a"):
        apply(there, config(a="1", b="2"))


def test_an_apply_that_changes_nothing_makes_no_new_version() -> None:
    there = cluster()
    first = apply(there, deployment(replicas=2))
    again = apply(there, deployment(replicas=2))
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert again["metadata"]["generation"] == 1
    assert apply(there, deployment(replicas=3))["metadata"]["generation"] == 2


def test_a_stale_version_in_an_apply_is_refused() -> None:
    there = cluster()
    old = apply(there, config(a="1"))["metadata"]["resourceVersion"]
    apply(there, config(a="2"))
    late = config(a="3")
    late["metadata"]["resourceVersion"] = old
    with pytest.raises(Refusal, match="has been modified"):
        apply(there, late)


def test_the_status_is_apart() -> None:
    there = cluster()
    wanted = deployment()
    wanted["status"] = {"replicas": 9}
    assert "status" not in apply(there, wanted)
    kind = there.kind("Deployment")
    status = Options(manager="controller", subresource="status")
    there.patch(kind, NAME, verbs.MERGE, {"status": {"replicas": 1}, "spec": {"replicas": 7}}, status)
    found = there.read(kind, NAME)
    assert (found["status"], found["spec"]["replicas"]) == ({"replicas": 1}, 1)


@given(st.lists(st.tuples(st.sampled_from(("one", "two")), DATA), min_size=1, max_size=6))
def test_forced_applies_leave_what_the_last_word_of_each_manager_says(applies: list[Any]) -> None:
    there = cluster()
    last: dict[str, dict[str, str]] = {}
    value: dict[str, str] = {}
    for manager, data in applies:
        found = apply(there, config(**data), manager, force=True)
        given_up = last.get(manager, {}).keys() - data.keys()
        others = {k for m, d in last.items() if m != manager for k in d}
        value = {k: v for k, v in value.items() if k not in given_up or k in others} | data
        # A forced apply takes what it changes away from others.
        last = {m: {k: v for k, v in d.items() if data.get(k, v) == v} for m, d in last.items()}
        last[manager] = data
        assert found.get("data", {}) == value


@given(st.sampled_from(schemas.VERSIONS))
def test_fields_survive_the_way_they_are_shown(version: str) -> None:
    known = schemas.load(version)
    node = known.kinds["apps", "v1", "Deployment"]
    paths = fieldsets.of(known, node, deployment(replicas=2))
    assert frozenset(fieldsets.parse(fieldsets.tree(paths))) == paths
