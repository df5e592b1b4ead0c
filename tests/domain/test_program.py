"""Other servers: what is generated from the model alone, what a user may change, and what is refused."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain import mounts
from modelyard.domain.deployment import DeploymentSpec
from modelyard.domain.errors import Invalid
from modelyard.domain.health import Health, Probe
from modelyard.domain.model import Datatype, Serialization, Signature, TensorSpec
from modelyard.domain.mounts import Mount, MountKind
from modelyard.domain.program import Program, Subject, program
from modelyard.domain.server import Server, ServerKind
from modelyard.formats.repositories import pbtxt

KNOWN = (ServerKind.TRITON, ServerKind.TFSERVING, ServerKind.TORCHSERVE, ServerKind.VLLM)
SUBJECT = Subject(
    name="churn",
    version="3",
    entry="model.onnx",
    serialization=Serialization.ONNX,
    signature=Signature(
        inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(-1, 4)),),
        outputs=(TensorSpec(name="label", datatype=Datatype.BYTES, shape=(-1,)),),
    ),
)
_KINDS = st.sampled_from(KNOWN)


def made(kind: ServerKind, *, subject: Subject = SUBJECT, **changes: object) -> Program:
    server = Server(kind=kind, **{k: v for k, v in changes.items() if k in Server.__slots__})
    rest = {k: v for k, v in changes.items() if k not in Server.__slots__}
    return program(DeploymentSpec(model="churn@3", server=server, **rest), subject)  # type: ignore[arg-type]


def any_server(ports: tuple[int, ...]) -> Server:
    return Server(kind=ServerKind.SERVING, command="x", ports=ports)


def mount(kind: MountKind, path: str) -> Mount:
    return Mount(kind=kind, path=path)


@pytest.mark.parametrize("kind", KNOWN)
def test_everything_is_generated_from_the_model_alone(kind: ServerKind) -> None:
    found = made(kind)
    assert found.executable
    assert found.image
    assert found.files
    assert found.ports
    assert found.health.readiness is not None
    assert found.health.liveness is not None
    assert found.metrics
    assert "{{MODELYARD_PROGRAM}}" in found.command
    named = {int(port) for text in (found.command, *found.files.values()) for port in _ports(str(text))}
    assert named <= set(found.every_port), "every port that is named is one that it gets"


def test_triton_learns_the_tensors_and_the_backend_from_the_model() -> None:
    config = pbtxt.parse(made(ServerKind.TRITON).files["config.pbtxt"])
    assert (config["name"], config["backend"]) == (["churn"], ["onnxruntime"])
    assert config["input"] == [{"name": ["x"], "data_type": ["TYPE_FP32"], "dims": ["-1", "4"]}]
    assert config["output"] == [{"name": ["label"], "data_type": ["TYPE_STRING"], "dims": ["-1"]}]


@pytest.mark.parametrize(
    ("entry", "serialization", "backend"),
    [
        ("m.pt", Serialization.TORCHSCRIPT, "pytorch"),
        ("m.plan", None, "tensorrt"),
        ("saved_model.pb", Serialization.SAVED_MODEL, "tensorflow"),
    ],
)
def test_triton_takes_the_backend_of_the_file(
    entry: str, serialization: Serialization | None, backend: str
) -> None:
    subject = Subject(name="m", version="1", entry=entry, serialization=serialization)
    assert f'backend: "{backend}"' in made(ServerKind.TRITON, subject=subject).files["config.pbtxt"]


def test_torchserve_packs_what_is_no_archive_yet() -> None:
    packed = made(ServerKind.TORCHSERVE, subject=replace(SUBJECT, entry="net.pt")).command
    linked = made(ServerKind.TORCHSERVE, subject=replace(SUBJECT, entry="net.mar")).command
    assert "torch-model-archiver" in packed
    assert "torch-model-archiver" not in linked


@settings(max_examples=30)
@given(_KINDS, st.from_regex(r"[a-z0-9]{1,8}/[a-z]{1,8}:[0-9]{1,3}", fullmatch=True))
def test_another_image_leaves_everything_else(kind: ServerKind, image: str) -> None:
    assert made(kind, image=image) == replace(made(kind), image=image)


@settings(max_examples=30)
@given(_KINDS, st.sampled_from(["", "---extra.conf\nx\n"]))
def test_a_file_that_is_emptied_is_generated_again_and_others_stay(kind: ServerKind, more: str) -> None:
    first, generated = next(iter(made(kind).files.items()))
    assert made(kind, config_files={first: "own"}).files[first] == "own"
    assert made(kind, config=more).files[first] == generated
    assert ("extra.conf" in made(kind, config=more).files) is bool(more)


def test_what_the_user_writes_wins() -> None:
    own = Health(readiness=Probe(http="/mine"))
    found = made(
        ServerKind.TFSERVING, command=("a", "b"), ports=(9000,), env={"TF_CPP_VMODULE": ""}, health=own
    )
    assert (found.command, found.executable, found.health) == (("a", "b"), "", own)
    assert found.ports == (9000, 8500)
    assert found.metrics == "9000:/metrics"
    assert found.env["TF_CPP_VMODULE"] == ""


def test_any_other_server_listens_on_one_port_unless_it_says_more() -> None:
    spec = DeploymentSpec(server=Server(kind=ServerKind.SERVING, command="serve"), metrics="9090:/m")
    assert program(spec, Subject(name="web")).ports == (8080,)
    assert program(spec, Subject(name="web")).every_port == (8080, 9090)


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        (
            {"server": any_server(ports=(1, 2, 3))},
            r"spec\.server\.ports\[2\]",
        ),
        ({"server": any_server(ports=(1, 1))}, r"spec\.server\.ports\[1\]"),
        ({"server": any_server(ports=(0,))}, r"spec\.server\.ports\[0\]"),
        ({"server": Server(kind=ServerKind.SERVING)}, r"spec\.server\.command: is missing"),
        ({"server": Server(kind=ServerKind.SERVING, image="a b")}, r"spec\.server\.image"),
        ({"server": Server(command="x")}, r"spec\.server\.command: is for other servers"),
        ({"server": Server(kind=ServerKind.TRITON)}, r"spec\.model: is missing"),
        ({}, r"spec\.model: is missing"),
        ({"model": "m@1", "metrics": "/metrics"}, r"spec\.metrics"),
        ({"model": "m@1", "config": "x"}, r"spec\.config: line 1"),
        (
            {"model": "m@1", "mounts": (mount(MountKind.HOST, "/d"),)},
            r"mounts\[0\]\.source",
        ),
        ({"model": "m@1", "mounts": (mount(MountKind.MEMORY, "/../d"),)}, r"mounts\[0\]\.path"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(changes: dict[str, object], path: str) -> None:
    with pytest.raises(Invalid, match=path):
        DeploymentSpec(**changes)  # type: ignore[arg-type]


def test_mounts_are_read_as_people_write_them() -> None:
    found = mounts.parse("/data/in(hostpath):/in; 3G(memory):/cache,(config):/etc/x,keys(secret):/run/keys")
    assert [(m.kind, m.source, m.size, m.path) for m in found] == [
        ("host", "/data/in", "0", "/in"),
        ("memory", "", "3Gi", "/cache"),
        ("config", "", "0", "/etc/x"),
        ("secret", "keys", "0", "/run/keys"),
    ]
    assert found[2].variable == "MODELYARD_MOUNT_ETC_X"
    assert mounts.errors(found, "spec.mounts") == []
    with pytest.raises(Invalid, match="is not a mount"):
        mounts.parse("x(pvc):/x")


@pytest.mark.parametrize(("one", "other"), [("/a", "/a/b"), ("/a/b", "/a"), ("/a-b", "/a/b"), ("/a", "/a")])
def test_mounts_do_not_hide_one_another(one: str, other: str) -> None:
    wrong = mounts.errors([Mount(kind=MountKind.MEMORY, path=path) for path in (one, other)], "spec.mounts")
    assert [each.path for each in wrong] == ["spec.mounts[1].path"]


@pytest.mark.parametrize(
    ("wanted", "files", "said"),
    [
        (
            "(config):/etc/x",
            [],
            r"\[0\].source: the deployment has of configuration files none; write it into",
        ),
        (
            "b(config):/x",
            ["a", "c"],
            r"\[0\].source: is b, and the deployment has of .* files a, c; write it",
        ),
        ("keys(secret):/k, b(config):/x", [], r"\[1\].source: is b, and the deployment has .* none"),
        ("(config):/etc/x, a(config):/x", ["a"], ""),
        ("keys(secret):/k", [], ""),
    ],
)
def test_mounts_of_configuration_need_files(wanted: str, files: list[str], said: str) -> None:
    wrong = mounts.config_errors(mounts.parse(wanted), files, "spec.mounts")
    assert len(wrong) == bool(said)
    for each in wrong:
        assert re.search(said, f"{each.path}: {each.message}")


def _ports(text: str) -> list[str]:
    return re.findall(r"\{\{MODELYARD_PORT_([0-9]{3,})\}\}", text)
