"""Whatever is deployed, what is rendered of it keeps the rules."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from posixpath import normpath

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from modelyard.backends.kubernetes.capabilities import Capabilities
from modelyard.backends.kubernetes.kinds import Manifest
from modelyard.backends.kubernetes.render import pod
from modelyard.backends.kubernetes.render.desired import Desired, Settings
from modelyard.domain.deployment import DeploymentSpec, Key, Resources, Stage
from modelyard.domain.mounts import Mount, MountKind
from modelyard.domain.server import Server, ServerKind
from modelyard.settings import Kubernetes
from tests.cluster.test_clients import kubectl
from tests.kubernetes.render.cases import CASES, NEWEST, OWN, as_yaml, desired, objects
from tests.support.cluster import schemas, semantics, validation, verbs
from tests.support.cluster.running import running
from tests.support.cluster.verbs import Cluster, Options

OURS = ("/dev/shm", "/tmp/", "/config", "/home//modelyard")
"""What a pod has already, and a user may have otherwise."""
MARK = "hunter2-\u00fc-$(K8S_POD_IP)"
_names = st.from_regex(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True)
_letters = st.characters(codec="utf-8", exclude_characters="\x00")
_texts = st.text(_letters, max_size=30)
_variables = (
    st.from_regex(r"[A-Z][A-Z_]{0,8}", fullmatch=True)
    | st.sampled_from(
        ["PORT", "HOME", "TMPDIR", "LANG", "OMP_NUM_THREADS", "K8S_POD_IP", "RESOURCE_CPU", "KUBEFLOW_AREA"]
    )
    | st.sampled_from(["CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "creator"])
)
_files = st.from_regex(r"[a-z]{1,8}\.conf", fullmatch=True)
_mounts = st.sampled_from(
    [
        (),
        (Mount(kind=MountKind.MEMORY, path="/fast", size="64Mi"),),
        (
            Mount(kind=MountKind.SECRET, path="/keys", source="keys"),
            Mount(kind=MountKind.MEMORY, path="/fast"),
        ),
    ]
) | st.sets(st.sampled_from(OURS), max_size=3).map(
    lambda paths: tuple(Mount(kind=MountKind.MEMORY, path=path, size="2Gi") for path in sorted(paths))
)


@st.composite
def wishes(draw: st.DrawFn) -> Desired:
    """Any server in any stage, with anything in its environment and its files."""
    kind = draw(st.sampled_from(ServerKind))
    serving = kind is ServerKind.SERVING
    spec = DeploymentSpec(
        model="" if serving else "churn@3",
        server=Server(kind=kind, command="serve" if serving else "", image="a/b:1" if serving else ""),
        env={"MARK": MARK} | draw(st.dictionaries(_variables, _texts, max_size=3)),
        config_files=draw(st.dictionaries(_files, _texts, max_size=2)),
        resources=Resources(cpu=draw(st.sampled_from(["0", "0.5"])), gpu=draw(st.sampled_from(["0", "2"]))),
        mounts=draw(_mounts),
        drain_seconds=draw(st.floats(0, 300)),
    )
    return desired(spec, key=Key(draw(_names), draw(_names), draw(st.sampled_from(Stage))))


@settings(deadline=None, max_examples=40)
@given(wishes(), st.sampled_from(schemas.VERSIONS))
def test_every_object_is_valid_and_means_something(wish: Desired, version: str) -> None:
    known, there = schemas.load(version), Cluster(schemas.load(version), clock=lambda: 0.0)
    major, minor = map(int, version.split("."))
    for each in objects(wish, Capabilities(version=(major, minor))):
        kind = there.kind(each["kind"])
        assert not list(validation.unknown_fields(known, known.of(kind), each))
        assert not list(validation.invalid_values(known, known.of(kind), each))
        assert not list(semantics.problems(kind, each, None))


@settings(deadline=None, max_examples=40)
@given(wishes())
def test_a_cluster_takes_whatever_is_wished_for(wish: Desired) -> None:
    there = Cluster(schemas.load(schemas.VERSIONS[-1]), clock=lambda: 0.0)
    for each in objects(wish):
        place = (each["metadata"].get("namespace", ""), each["metadata"]["name"])
        there.patch(there.kind(each["kind"]), place, verbs.APPLY, each, Options(manager="modelyard"))


@settings(deadline=None, max_examples=40)
@given(wishes())
def test_what_a_user_has_laid_somewhere_is_all_that_is_there(wish: Desired) -> None:
    (deployment,) = (each for each in objects(wish) if each["kind"] == "Deployment")
    spec = deployment["spec"]["template"]["spec"]
    mounts = spec["containers"][0]["volumeMounts"]
    laid = [normpath(each["mountPath"]) for each in mounts]
    assert len(laid) == len(set(laid))
    for number, mount in enumerate(wish.launch.spec.mounts):
        (found,) = (each["name"] for each in mounts if normpath(each["mountPath"]) == normpath(mount.path))
        assert found == f"mount-{number}"


@settings(deadline=None, max_examples=40)
@given(wishes())
def test_the_same_wish_is_rendered_the_same_and_shares_nothing_secret(wish: Desired) -> None:
    once = objects(wish)
    assert json.dumps(once) == json.dumps(objects(wish))
    assert not any("hunter2" in json.dumps(each) for each in once)


@settings(deadline=None, max_examples=40)
@given(wishes(), _texts)
def test_names_change_when_contents_do_and_only_then(wish: Desired, text: str) -> None:
    launch = wish.launch
    if launch.program is not None:
        return
    spec = replace(launch.spec, env={**launch.spec.env, "MARK": text + "."})
    other = replace(wish, launch=replace(launch, spec=spec))
    before, after = _named(objects(wish)), _named(objects(other))
    if launch.spec.env["MARK"] == text + ".":
        assert before == after
        return
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert {name.split("/")[0] for name in changed} <= {"Secret", "Deployment"}
    assert not any(name in before and name in after for name in changed if name.startswith("Secret"))


async def test_kubectl_finds_nothing_wrong_at_a_server(tmp_path: Path) -> None:
    async with running() as there:
        at = there.kubeconfig(tmp_path)
        namespace = objects(desired(OWN))[0]
        assert (await kubectl(at, "apply", "--server-side", "-f", "-", given=namespace))[0] == 0
        everything = tmp_path / "everything.yaml"
        everything.write_text("---\n".join(as_yaml(made()) for made in CASES.values()))
        how = ("apply", "--server-side", "--dry-run=server", "-f", str(everything))
        code, said = await kubectl(at, *how)
        assert code == 0, said
        assert "unknown field" not in said


def _named(found: tuple[Manifest, ...]) -> dict[str, str]:
    return {f"{each['kind']}/{each['metadata']['name']}": json.dumps(each) for each in found}


@pytest.mark.parametrize("capabilities", [NEWEST, Capabilities(version=(1, 29))])
@pytest.mark.parametrize("wait", [0, 10, 15])
def test_a_pod_has_time_to_answer_on_and_then_to_end(capabilities: Capabilities, wait: int) -> None:
    made = desired(replace(OWN, drain_seconds=30.0), settings=Settings(drain_wait_seconds=wait))
    (deployment,) = (each for each in objects(made, capabilities) if each["kind"] == "Deployment")
    template = deployment["spec"]["template"]["spec"]
    assert template["terminationGracePeriodSeconds"] == wait + 30 + 5
    container = template["containers"][0]
    assert pod.waits_before_stop(container) == wait
    assert ("lifecycle" in container) is bool(wait), "no version before 1.33 sleeps for nothing"


def test_a_cluster_behind_no_balancer_waits_ten_seconds() -> None:
    assert Settings().drain_wait_seconds == Kubernetes().drain_wait_seconds == 10
