"""Cards that are claimed by type or memory: what is rendered, and that pods get them and give them back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from modelyard.backends.base import Launch
from modelyard.backends.kubernetes.capabilities import Capabilities, Gpus
from modelyard.backends.kubernetes.client import cluster as kube
from modelyard.backends.kubernetes.client import config
from modelyard.backends.kubernetes.gpus import claims
from modelyard.backends.kubernetes.gpus.claims import with_devices
from modelyard.backends.kubernetes.gpus.fragment import Fragment, Refusal, told
from modelyard.backends.kubernetes.gpus.strategies import pods_of
from modelyard.backends.kubernetes.nodes import node_of
from modelyard.backends.kubernetes.probe import probe
from modelyard.backends.kubernetes.render.revision import revision
from modelyard.backends.kubernetes.upkeep import applied
from modelyard.domain import gpu
from modelyard.domain.deployment import DeploymentSpec, Phase, Resources
from modelyard.domain.program import Subject, program
from modelyard.domain.server import Server, ServerKind
from tests.backends.things import KEY
from tests.kubernetes.render import cases
from tests.kubernetes.worlds import World, world
from tests.support.cluster import schemas, verbs
from tests.support.cluster.gpus import add_claimed_node
from tests.support.cluster.running import running
from tests.support.cluster.verbs import Cluster, Options
from tests.support.patience import PATIENCE

NEW = [each for each in schemas.VERSIONS if tuple(map(int, each.split("."))) >= (1, 34)]
SERVED = frozenset({"resource.k8s.io/v1/deviceclasses"})


def known(*nodes: tuple[str, bool], version: tuple[int, int] = (1, 37)) -> Capabilities:
    """A cluster whose nodes have one card each, of such a product, divisible or not."""
    there = Cluster(schemas.load("1.37"), clock=lambda: 0.0)
    for number, (product, divisible) in enumerate(nodes):
        add_claimed_node(there, f"node-{number}", product, divisible=divisible)
    found = Capabilities(
        version=version, resources=SERVED, gpus=Gpus(device_classes=frozenset({"gpu.nvidia.com"}))
    )
    return with_devices(found, there.store.list(there.kind("ResourceSlice")))


def of(text: str, capabilities: Capabilities) -> Fragment:
    found = pods_of(gpu.parse(text, "gpu"), capabilities)
    assert isinstance(found, Fragment), found
    return found


def refused(text: str, capabilities: Capabilities) -> str:
    found = pods_of(gpu.parse(text, "gpu"), capabilities)
    assert isinstance(found, Refusal), found
    return found.message


def exactly(text: str, capabilities: Capabilities) -> Any:
    (request,) = of(text, capabilities).claim["devices"]["requests"]
    return request["exactly"]


def test_a_type_becomes_a_claim() -> None:
    assert exactly("2(T4|A100-SXM4)", known(("t4", False))) == {
        "deviceClassName": "gpu.nvidia.com",
        "allocationMode": "ExactCount",
        "count": 2,
        "selectors": [
            {
                "cel": {
                    "expression": "device.attributes['gpu.nvidia.com'].productName.lowerAscii()"
                    ".matches('(^|[-_ ])(t4|a100[-_ ]sxm4)($|[-_ ])')"
                }
            }
        ],
    }


def test_a_number_alone_stays_what_the_scheduler_turns_into_a_claim_by_itself() -> None:
    made = known(("t4", False))
    extended = replace(made, gpus=replace(made.gpus, extended=True))
    assert of("2", extended).limits == {"nvidia.com/gpu": "2"}
    assert exactly("2", replace(extended, version=(1, 36)))["count"] == 2
    assert exactly("2", made)["count"] == 2, "nothing else would serve it"


async def test_what_the_class_says_is_asked(tmp_path: Path) -> None:
    async with running() as there:
        add_claimed_node(there.cluster, "t4")
        cluster = kube.Cluster(config.load({}, kubeconfig=str(there.kubeconfig(tmp_path))), clock=lambda: 0.0)
        try:
            found = (await probe(cluster, known=Capabilities())).gpus
            assert (found.claims, found.extended, found.devices[0].product) == (True, False, "Tesla T4")
            kind = there.cluster.kind("DeviceClass")
            patch = {"spec": {"extendedResourceName": "nvidia.com/gpu"}}
            there.cluster.patch(kind, ("", "gpu.nvidia.com"), verbs.MERGE, patch, Options(manager="test"))
            assert (await probe(cluster, known=Capabilities())).gpus.extended
        finally:
            await cluster.close()


def test_where_a_device_plugin_gives_out_cards_nothing_is_claimed() -> None:
    both = known(("t4", False))
    both = replace(both, gpus=replace(both.gpus, resources=frozenset({"nvidia.com/gpu"})))
    assert of("1(T4)", both).strategy == "device plugin"


def test_a_part_is_so_much_of_a_cards_memory() -> None:
    made = known(("t4", True))
    assert exactly("0.2(T4)", made)["capacity"] == {"requests": {"memory": "3072Mi"}}
    assert exactly("mem=3Gi", made)["capacity"] == {"requests": {"memory": "3072Mi"}}
    assert exactly("1(T4)", made)["capacity"] == {"requests": {"memory": "15360Mi"}}, "the whole card"
    said = told(gpu.parse("0.2(T4)", "gpu"), of("0.2(T4)", made))
    assert "by DRA as 3072 MiB of Tesla T4; nothing keeps its memory apart" in said


@pytest.mark.parametrize(
    ("text", "nodes", "words"),
    [
        ("0.2", (("t4", False),), "DRA: a driver whose devices may be shared (`allowMultipleAllocations`)"),
        ("0.2", (("t4", True), ("a100", True)), "DRA: `mem` or one type, since cards have different sizes"),
        ("0.2(V100)", (("t4", True),), "DRA: a card of type V100; there are: Tesla T4"),
        ("mem=20Gi", (("t4", True),), "DRA: a card with 20480 MiB; the largest has 15360"),
        ("0.2,cores=20", (("t4", True),), "DRA: a fraction or `mem`, without `cores`"),
    ],
)
def test_what_cannot_be_claimed_says_what_it_would_take(
    text: str, nodes: tuple[tuple[str, bool], ...], words: str
) -> None:
    assert words in refused(text, known(*nodes))


def test_of_a_pool_that_is_written_anew_the_newest_counts() -> None:
    def slice_(generation: int, *names: str) -> Any:
        devices = [{"name": each, "attributes": {"productName": {"string": "Tesla T4"}}} for each in names]
        pool = {"name": "p", "generation": generation, "resourceSliceCount": 1}
        return {"spec": {"driver": claims.DRIVER, "nodeName": "n", "pool": pool, "devices": devices}}

    found = with_devices(Capabilities(), [slice_(1, "old"), slice_(2, "a"), slice_(2, "b")]).gpus.devices
    assert [each.name for each in found] == ["a", "b"]
    others = {"spec": {"driver": "other", "pool": {"name": "x"}, "devices": [{"name": "nic"}]}}
    assert with_devices(Capabilities(), [others, {}]).gpus.devices == ()


def test_nodes_show_cards_that_are_claimed() -> None:
    made = known(("t4", False))
    node = node_of({"metadata": {"name": "node-0"}}, made.gpus.devices)
    assert [(each.name, each.memory_bytes) for each in node.gpus] == [("Tesla T4", 15360 << 20)]
    assert node_of({"metadata": {"name": "other"}}, made.gpus.devices).gpus == ()


def card(text: str) -> DeploymentSpec:
    return DeploymentSpec(model="churn@3", resources=Resources(gpu=text))


def rendered(text: str, capabilities: Capabilities) -> tuple[Any, ...]:
    wanted = cases.desired(card("1"))
    launch = replace(wanted.launch, spec=card(text))
    return revision(replace(wanted, launch=launch), capabilities, anchor_uid="11111111-2222")


@pytest.mark.parametrize("version", NEW)
@pytest.mark.parametrize("text", ["1(T4)", "0.2(T4)"])
def test_every_version_that_has_claims_takes_them(text: str, version: str) -> None:
    objects = rendered(text, known(("t4", True)))
    there = Cluster(schemas.load(version), clock=lambda: 0.0)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    space = {"metadata": {"name": "modelyard-default", "labels": labels}}
    there.create(there.kind("Namespace"), "", space, Options(manager="test"))
    for each in objects:
        kubernetes_validate.validate(each, version, strict=True)
        name = (each["metadata"]["namespace"], each["metadata"]["name"])
        there.patch(
            there.kind(each["kind"]), name, verbs.APPLY, each, Options(manager="modelyard", force=True)
        )


def test_a_claim_is_named_by_what_it_asks_for_and_belongs_to_the_anchor() -> None:
    def template(text: str) -> Any:
        objects = rendered(text, known(("t4", True)))
        (found,) = [each for each in objects if each["kind"] == "ResourceClaimTemplate"]
        pod = objects[-1]["spec"]["template"]["spec"]
        name = found["metadata"]["name"]
        assert pod["resourceClaims"] == [{"name": "gpu", "resourceClaimTemplateName": name}]
        assert pod["containers"][0]["resources"]["claims"] == [{"name": "gpu"}]
        return found

    one, other = template("1(T4)"), template("0.2(T4)")
    assert one["metadata"]["name"] == template("1(T4)")["metadata"]["name"] != other["metadata"]["name"]
    assert one["metadata"]["ownerReferences"][0]["uid"] == "11111111-2222"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path, processes=True, resources=SERVED, nodes=False) as made:
        yield made


LOOK = "nvidia-smi -L && sleep 600"


def launch(here: World, replica: str, text: str) -> Launch:
    looks = f'sh -c "{LOOK}"'
    server = Server(kind=ServerKind.SERVING, image="modelyard/looks:1", command=looks, ports=(9000,))
    spec = DeploymentSpec(model="churn@1", resources=Resources(gpu=text), server=server)
    made = here.launch(replica, spec=spec, program=program(spec, Subject(name="churn")), gpus=())
    return replace(made, guest=replace(made.guest, artifact=replace(made.guest.artifact, files=())))


def pods(here: World, phase: str) -> list[Any]:
    return [each for each in here.objects("Pod") if each.get("status", {}).get("phase") == phase]


async def until(condition: Any, what: str) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(what) from None


async def test_five_parts_fit_a_card_and_the_sixth_waits_in_the_schedulers_words(here: World) -> None:
    add_claimed_node(here.there.cluster, "t4", divisible=True)
    add_claimed_node(here.there.cluster, "a100", "a100", divisible=True)
    await here.backend.nodes()
    await until(lambda: here.backend._view.slices(), "slices are heard of")
    for number in range(6):
        await here.backend.start(launch(here, f"r{number}", "0.2(T4)"))
    await until(lambda: len(pods(here, "Running")) == 5, "five run")
    assert {each["spec"]["nodeName"] for each in pods(here, "Running")} == {"t4"}
    await until(lambda: len(pods(here, "Pending")) == 1, "one waits")

    found: list[Any] = []
    async with asyncio.timeout(PATIENCE):
        while not found:
            seen = (await here.seen()).values()
            found = [each for each in seen if each.failure is not None and each.waits]
    (sixth,) = found
    assert sixth.failure.reason == "InsufficientResources"
    assert sixth.failure.message == ("0/2 nodes are available: 2 cannot allocate all claims"), (
        "and nothing of preemption"
    )
    running = next(name for name, each in (await here.seen()).items() if each.node)
    await here.backend.kill(KEY, running)
    await until(
        lambda: len(pods(here, "Running")) == 5 and not pods(here, "Pending"), "the sixth has its place"
    )


async def test_a_whole_card_is_shown_to_its_pod_and_comes_back(here: World) -> None:
    add_claimed_node(here.there.cluster, "t4")
    await here.backend.nodes()
    await until(lambda: here.backend._view.slices(), "slices are heard of")
    assert [card.name for card in (await here.backend.nodes())[0].gpus] == ["Tesla T4"]
    await here.backend.start(launch(here, "a", "1(T4)"))
    await until(lambda: pods(here, "Running"), "it runs")
    (pod,) = pods(here, "Running")
    keeper: Any = here.control.kubelet
    await until(lambda: any(log.lines for log in keeper.written(pod, "server")), "it wrote")
    assert keeper.written(pod, "server")[0].lines[0].text == "GPU 0: Tesla T4 (UUID: GPU-t4)"
    await here.backend.kill(KEY, "a")
    kinds = ("ResourceClaimTemplate", "ResourceClaim", "Pod")
    await until(lambda: not any(here.objects(kind) for kind in kinds), "nothing is left")


async def test_a_template_that_somebody_deletes_is_made_again_and_a_useless_one_goes(here: World) -> None:
    add_claimed_node(here.there.cluster, "t4")
    await here.backend.nodes()
    await until(lambda: here.backend._view.slices(), "slices are heard of")
    await here.backend.start(launch(here, "a", "1(T4)"))
    (template,) = here.objects("ResourceClaimTemplate")
    (deployment,) = here.objects("Deployment")
    assert "ResourceClaimTemplate" in {each["kind"] for each in applied(deployment).manifests}
    cluster = here.there.cluster
    kind, name = cluster.kind("ResourceClaimTemplate"), template["metadata"]["name"]
    cluster.delete(kind, (template["metadata"]["namespace"], name), Options(manager="somebody"))
    await here.backend._upkeep.sweep()
    assert [each["metadata"]["name"] for each in here.objects("ResourceClaimTemplate")] == [name]
    metadata = {"name": "left", "labels": template["metadata"]["labels"]}
    made = {"metadata": metadata, "spec": template["spec"]}
    cluster.create(kind, template["metadata"]["namespace"], made, Options(manager="modelyard"))
    here.backend._upkeep._clock = lambda: 1e11
    await here.backend._upkeep.sweep()
    assert [each["metadata"]["name"] for each in here.objects("ResourceClaimTemplate")] == [name]
    assert (await here.seen())["a"].phase is not Phase.FAILED
