"""Names that every kind accepts, and that differ when what they name differs."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from modelyard.backends.kubernetes import names
from modelyard.domain.deployment import Key, Stage

DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
KEYS = st.builds(Key, NAMES, NAMES, st.sampled_from(Stage))


@given(st.lists(st.text(max_size=80), min_size=1, max_size=4), st.integers(20, 63))
def test_any_parts_make_a_name(parts: list[str], limit: int) -> None:
    name = names.k8s_name(*parts, limit=limit)
    assert DNS_1035.fullmatch(name)
    assert len(name) <= limit


@given(
    st.lists(KEYS, min_size=2, max_size=6, unique_by=lambda key: (key.name, key.stage)), st.integers(1, 10**6)
)
def test_deployments_of_a_project_never_share_a_name(keys: list[Key], number: int) -> None:
    keys = [Key("default", key.name, key.stage) for key in keys]
    found = [names.revision_name(key, number) for key in keys]
    assert len(set(found)) == len(found)
    assert all(DNS_1035.fullmatch(name) and len(name) <= 63 for name in found)
    assert all(len(names.anchor_name(key)) <= 63 for key in keys)


def test_a_name_that_begins_with_a_stage_is_not_that_stage() -> None:
    one, other = Key("default", "test-churn"), Key("default", "churn", Stage.TEST)
    assert names.deployment_label(one) == "test-churn"
    assert names.deployment_label(other) != names.deployment_label(one)


@given(KEYS, st.integers(1, 10**9))
def test_labels_say_which_deployment_it_is(key: Key, number: int) -> None:
    found = names.labels(key, number)
    assert names.key_of(found) == key
    assert names.revision_of(found) == number
    assert all(len(value) <= 63 for value in found.values())
    assert names.key_of({**found, names.MANAGED_BY: "helm"}) is None


def test_no_project_lives_in_the_namespace_of_the_platform() -> None:
    assert names.namespace("vision", prefix="modelyard", system="modelyard-system") == "modelyard-vision"
    assert names.namespace("system", prefix="modelyard", system="modelyard-system") == "modelyard--system"
    one = names.namespace("system-project", prefix="modelyard", system="modelyard-system")
    assert one == "modelyard-system-project", "as it ever was"


@given(
    st.lists(NAMES, min_size=1, max_size=4, unique=True),
    st.sampled_from(["modelyard", "ml", "a-b", "m" * 63, "1st"]),
    st.booleans(),
)
def test_projects_share_no_namespace_with_one_another_or_the_platform(
    projects: list[str], prefix: str, plain: bool
) -> None:
    first = projects[0]
    system = f"{prefix}-{first}" if plain else names.k8s_name(prefix, first)
    beside = [f"{first}-project", f"project-{first}", f"system-{first}"]
    everyone = {*projects, *(each for each in beside if len(each) <= 63)}
    found = {each: names.namespace(each, prefix=prefix, system=system) for each in everyone}
    assert len(set(found.values())) == len(found)
    assert system not in found.values()
    assert all(DNS_1035.fullmatch(name) and len(name) <= 63 for name in found.values())
    same = {each: name for each, name in found.items() if names.k8s_name(prefix, each) != system}
    assert all(name == names.k8s_name(prefix, each) for each, name in same.items())
