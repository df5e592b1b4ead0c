"""What users see of the inside of a service, and what they put there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx2
import numpy as np
import pytest
import tritonclient.http as triton

import modelyard
from modelyard.domain.views import State
from modelyard.oip.grpc import inference_pb2 as pb
from tests.scenarios.engines import Engine, InCluster, until
from tests.scenarios.test_scaling import told
from tests.scenarios.things import ROW, publish_iris, publish_talker
from tests.support import changes


@pytest.fixture(scope="module")
def talker(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with engine.client() as client:
        publish_talker(engine, client, "talker", tmp_path_factory.mktemp("talker"))
        client.deploy("talker@1", name="talker", replicas=2)
        yield "talker"
        client.undeploy("talker")


def test_requests_are_answered_as_json_as_bytes_and_over_grpc(engine: Engine) -> None:
    with engine.client() as client:
        publish_iris(client, "asked")
        token = client.deploy("asked@1", name="asked", public=True).token
        wanted = client.service("asked").predict([ROW])["label"].tolist()
        door = triton.InferenceServerClient(f"127.0.0.1:{engine.platform.port}")
        declared = door.get_model_metadata("asked")["inputs"][0]
        tensor = triton.InferInput(declared["name"], [1, 4], declared["datatype"])
        tensor.set_data_from_numpy(np.array([ROW], dtype=np.float64), binary_data=True)
        assert door.infer("asked", [tensor]).as_numpy("label").tolist() == wanted
        assert _over_grpc(engine, token) == wanted
        client.undeploy("asked")


def _over_grpc(engine: Engine, token: str) -> list[int]:
    tensor = pb.ModelInferRequest.InferInputTensor(name="input", datatype="FP64", shape=[1, 4])
    tensor.contents.fp64_contents.extend(ROW)
    metadata = (("authorization", f"Bearer {token}"), ("x-modelyard-service", "asked"))
    with grpc.insecure_channel(f"127.0.0.1:{engine.platform.port}") as channel:
        infer = channel.unary_unary(
            changes.METHOD,
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )
        request = pb.ModelInferRequest(model_name="asked", inputs=[tensor])
        answer = infer(request, metadata=metadata, timeout=30)
    number = next(n for n, each in enumerate(answer.outputs) if each.name == "label")
    if answer.raw_output_contents:
        return list(np.frombuffer(answer.raw_output_contents[number], dtype=np.int64).tolist())
    return list(answer.outputs[number].contents.int64_contents)


def test_logs_of_all_replicas_are_one_and_are_followed(engine: Engine, talker: str) -> None:
    with engine.client() as client:
        names = {each.name for each in engine.replicas(talker)}

        def heard() -> bool:
            told(client, talker)
            lines = list(client.deployments.logs(talker, tail=500))
            return {name for name, line in lines if "asked for [1.0]" in line} == names

        until(heard, "the logs of both have what they were asked")
        one = next(iter(names))
        assert {name for name, _ in client.deployments.logs(talker, replica=one)} == {one}

    def follow() -> str:
        with engine.client() as mine:
            for _, line in mine.deployments.logs(talker, tail=0, follow=True):
                if "asked for [77.0]" in line:
                    return line
        return ""

    with ThreadPoolExecutor() as pool, engine.client() as client:
        following = pool.submit(follow)

        def came() -> bool:
            client.service(talker).predict_json({"x": [77.0]})
            return following.done()

        until(came, "a line came while somebody followed", seconds=30)
        assert following.result()


def test_a_command_runs_in_a_replica(engine: Engine, talker: str) -> None:
    with engine.client() as client:
        said = set()
        for each in engine.replicas(talker):
            command = ["sh", "-c", "read line; echo $line from $MODELYARD_REPLICA; echo bad >&2; exit 5"]
            ran = client.shells.run(talker, command, replica=each.name, stdin=b"hello\n")
            assert ran.stdout.startswith(b"hello from ")
            assert (ran.stderr, ran.code) == (b"bad\n", 5)
            said.add(ran.stdout)
        assert len(said) == 2, "each answers for itself"


def test_a_model_finds_its_own_variables_and_files(engine: Engine, talker: str, tmp_path: Path) -> None:
    limits = tmp_path / "limits.json"
    limits.write_text('{"limit": 7}')
    engine.cli(
        "deploy", "talker@1", "--name", "given", "--env", "COLOUR=blue=green",
        "--config-file", f"limits.json={limits}",
    )  # fmt: skip
    with engine.client() as client:
        assert told(client, "given").items() >= {"colour": "blue=green", "limit": 7}.items()
        client.undeploy("given")


@pytest.mark.parametrize(
    ("mood", "reason", "words"),
    [
        ("raise", "UserCodeFailed", "these weights are of another planet"),
        ("import", "MissingPackage", "a_package_that_nobody_has"),
        ("segfault", "WorkerCrashed", "SIGSEGV"),
    ],
)
def test_what_does_not_load_leaves_the_good_revision_and_is_explained(
    engine: Engine, talker: str, mood: str, reason: str, words: str
) -> None:
    with engine.client() as client:
        client.deploy("talker@1", name=f"falls-{mood}")
        with pytest.raises(modelyard.Refused, match=reason) as refused:
            client.deploy("talker@1", name=f"falls-{mood}", env={"MOOD": mood})
        assert words in str(refused.value)
        assert told(client, f"falls-{mood}")
        said = engine.cli("explain", f"falls-{mood}")
        assert reason in said
        assert client.deployments.get(f"falls-{mood}").state is not State.FAILED
        client.undeploy(f"falls-{mood}")


def test_what_is_tried_in_its_stage_goes_to_production(engine: Engine, talker: str) -> None:
    with engine.client() as client:
        client.deploy("talker@1", name="staged", env={"COLOUR": "old"})
        client.deploy("talker@1", name="staged@test", env={"COLOUR": "new"})
        assert told(client, "staged@test")["colour"] == "new"
        assert told(client, "staged")["colour"] == "old"
        client.promote("staged@test", clear=True)
        assert told(client, "staged")["colour"] == "new"
        client.undeploy("staged")


def test_a_runtime_may_be_an_image_where_replicas_are_containers(engine: Engine) -> None:
    image = "modelyard/serving:of-our-own"
    arguments = ("runtime", "create", "ours", "--image", image)
    if not isinstance(engine, InCluster):
        assert "no containers; give `packages`" in " ".join(engine.refused(*arguments).split())
        return
    if engine.process is None:
        engine.cannot("a cluster of others has no such image")
    engine.cli(*arguments)
    with engine.client() as client:
        until(lambda: client.runtimes.get("ours").status.image == image, "it is ready")
        publish_iris(client, "imaged")
        client.deploy("imaged@1", name="imaged", runtime="ours", variant="original")
        assert client.service("imaged").predict([ROW])["label"].tolist()
        (pod,) = engine.objects("pods", "imaged")
        assert [each["image"] for each in pod["spec"]["containers"]] == [image]
        tested = client.test("imaged@1", [ROW], runtime="ours")
        assert tested.runtime == "ours"
        client.undeploy("imaged")
    engine.cli("runtime", "delete", "ours")


def test_copies_of_requests_go_to_another_service(engine: Engine, talker: str) -> None:
    with engine.client() as client:
        client.deploy("talker@1", name="shadow")
        engine.cli("mirror", talker, "--to", "shadow", "--percent", "100")

        def copied() -> bool:
            client.service(talker).predict_json({"x": [55.0]})
            return any("asked for [55.0]" in line for _, line in client.deployments.logs("shadow"))

        until(copied, "the other one was asked, too")
        until(lambda: _mirrored(engine, talker, "shadow") > 0, "the copies are counted")
        client.undeploy("shadow")


def _mirrored(engine: Engine, service: str, to: str) -> int:
    """How many copies of a service's requests `traffic show` says that another one was sent."""
    found = re.search(rf"{to} 100 %, (\d+) sent, 0 dropped", engine.cli("traffic", "show", service))
    assert found, "the mirror is shown"
    return int(found[1])


def test_requests_past_the_gateway_are_counted_where_they_are_answered(engine: Engine, talker: str) -> None:
    if not isinstance(engine, InCluster):
        engine.cannot("replicas listen at sockets that only the gateway reaches")
    body = {"inputs": [{"name": "x", "datatype": "FP64", "shape": [1], "data": [4.0]}]}
    one = engine.replicas(talker)[0]
    before = _answered(engine, talker)
    for _ in range(7):
        url = f"http://{one.address}/v2/models/{talker}/infer"
        assert httpx2.post(url, json=body, timeout=20, trust_env=False).status_code == 200
    until(lambda: _answered(engine, talker) == before + 7, "each was counted")


def _answered(engine: Engine, service: str) -> int:
    """Predictions that the replicas of a service say they answered, in the platform's exposition."""
    text = httpx2.get(f"{engine.platform.url}/metrics", timeout=20, trust_env=False).text
    lines = [each for each in text.splitlines() if each.startswith("modelyard_requests_total{")]
    mine = (each for each in lines if f'service="{service}"' in each and 'protocol="v2"' in each)
    return sum(int(each.rpartition(" ")[2]) for each in mine)
