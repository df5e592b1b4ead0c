"""A test of a model as a Job or CronJob: what is printed is what a cluster takes, and it runs there."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from modelyard.cli import app
from modelyard.domain.errors import Invalid
from modelyard.installing import exporting, schedules
from modelyard.installing.exporting import Export
from tests.cluster.test_clients import kubectl
from tests.kubernetes.worlds import World, world
from tests.support.cluster import schemas
from tests.support.faces import live

ONCE = Export(ref="sums@1", project="default", url="http://10.0.0.1:8080", secret="modelyard-token")
NIGHTLY = replace(ONCE, schedule="0 6 * * 1-5", time_zone="Europe/Berlin", data=[[1, 2]])
ON_A_CARD = replace(ONCE, gpu="1(T4)")
QUEUED = replace(ONCE, queue="research")
MODEL = "def predict(inputs):\n    return inputs\n"
SIGNATURE = '{"inputs": [{"name": "x", "datatype": "FP64", "shape": [-1, 2]}], "sample": {"x": [[1, 2]]}}'


@pytest.mark.parametrize("version", schemas.VERSIONS)
@pytest.mark.parametrize("export", [ONCE, NIGHTLY, ON_A_CARD, QUEUED, replace(NIGHTLY, queue="research")])
def test_every_version_of_kubernetes_knows_every_field(export: Export, version: str) -> None:
    kubernetes_validate.validate(yaml.safe_load(exporting.as_yaml(export)), version, strict=True)


def test_a_schedule_never_overlaps_and_forgets_old_runs() -> None:
    made = exporting.manifest(NIGHTLY)
    spec = made["spec"]
    template = spec.pop("jobTemplate")
    assert (made["kind"], made["metadata"]["name"]) == ("CronJob", "test-sums")
    assert spec == {
        "schedule": "0 6 * * 1-5", "timeZone": "Europe/Berlin", "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": 600, "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 3,
    }  # fmt: skip
    assert template["spec"]["podFailurePolicy"]["rules"][0]["action"] == "Ignore"
    assert template["spec"]["backoffLimit"] == 0


def test_jobs_that_wait_in_a_queue_are_handed_to_kueue() -> None:
    label = {"kueue.x-k8s.io/queue-name": "research"}
    once = exporting.manifest(QUEUED)
    assert once["metadata"]["labels"].items() >= label.items()
    assert once["spec"]["suspend"] is True
    assert once["metadata"]["name"] != exporting.manifest(ONCE)["metadata"]["name"], "Jobs cannot be changed"
    nightly = exporting.manifest(replace(NIGHTLY, queue="research"))
    template = nightly["spec"]["jobTemplate"]
    assert template["metadata"]["labels"].items() >= label.items()
    assert template["spec"]["suspend"] is True
    assert "suspend" not in nightly["spec"], "the schedule itself goes on"
    assert not nightly["metadata"]["labels"].items() & label.items()


def test_a_job_that_does_something_else_has_another_name() -> None:
    found = {exporting.manifest(each)["metadata"]["name"] for each in (ONCE, replace(ONCE, data=[[1, 2]]))}
    assert len(found) == 2
    assert exporting.manifest(replace(ONCE, name="mine"))["metadata"]["name"] == "mine"


def test_a_test_on_a_card_asks_the_platform_for_one_and_the_cluster_for_none() -> None:
    for export in (ON_A_CARD, replace(ON_A_CARD, schedule="0 6 * * *")):
        spec = exporting.manifest(export)["spec"]
        (container,) = spec.get("jobTemplate", {"spec": spec})["spec"]["template"]["spec"]["containers"]
        assert container["command"] == ["modelyard", "test", "sums@1", "--timeout", "120s", "--gpu", "1(T4)"]
        assert "gpu" not in json.dumps(container["resources"])
    names = {exporting.manifest(replace(ONCE, gpu=each))["metadata"]["name"] for each in ("0", "1", "0.5")}
    assert len(names) == 3
    assert "--gpu" not in str(exporting.manifest(ONCE))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"url": "10.0.0.1:8080"}, "--url: '10.0.0.1:8080' is no address; write such as `http://"),
        ({"url": "http://[::1"}, "--url: 'http://\\[::1' is no address"),
        ({"url": "http://here:99999999"}, "--url: 'http://here:99999999' is no address"),
        ({"url": "http://me:secret@here"}, "--url: has a user or a password"),
        ({"project": "../x y"}, "--project: "),
        ({"image": "a b"}, "--image: "),
        ({"namespace": "My Space"}, "--namespace: "),
        ({"secret": ""}, "--secret: "),
        ({"queue": "My Queue"}, "--queue: "),
        ({"name": "a" * 60}, "--name: has 60 characters; a CronJob's may have 52"),
        ({"ref": "a@"}, "model: "),
        ({"gpu": "many"}, "--gpu: "),
        (
            {"schedule": "0 6 * *"},
            r"--schedule: '0 6 \* \*' has 4 fields",
        ),
        ({"schedule": "60 6 * * *"}, "--schedule: '60' is no minute; write 0 to 59"),
        ({"schedule": "0 6 * * 5-1"}, "--schedule: '5-1' is no day of the week"),
        ({"schedule": "0 6 * * 7"}, "--schedule: '7' is no day of the week; write 0 to 6"),
        ({"schedule": "0 6 * * 1-7"}, "--schedule: '1-7' is no day of the week"),
        ({"schedule": "0 6 * foo *"}, "--schedule: 'foo' is no month"),
        ({"schedule": "0 6 * * *", "time_zone": "Mars/Base"}, "--time-zone: 'Mars/Base' is no time zone"),
        ({"schedule": "0 6 * * *", "time_zone": "../etc"}, "--time-zone: "),
    ],
)
def test_what_a_cluster_would_refuse_is_refused_by_its_option(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(Invalid, match=what):
        exporting.manifest(replace(ONCE, **changes))


@pytest.mark.parametrize("schedule", ["@daily", "*/15 0-6,22 1 jan-MAR sun", "0 0 31 12 0", "5/10 * * * *"])
def test_times_that_cron_knows_are_taken(schedule: str) -> None:
    schedules.require(schedule, "UTC")


async def _ended(here: World, name: str) -> str:
    async with asyncio.timeout(120):
        while True:
            for job in here.objects("Job", "default"):
                said = {
                    c["type"] for c in job.get("status", {}).get("conditions", ()) if c["status"] == "True"
                }
                if job["metadata"]["name"] == name and said & {"Complete", "Failed"}:
                    return (said & {"Complete", "Failed"}).pop()
            await asyncio.sleep(0.1)


async def test_what_the_command_prints_runs_in_a_cluster(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Job that passes, one that fails because the version is not there, and one made from a CronJob."""
    monkeypatch.setenv("MODELYARD_HOME", str(tmp_path / "home"))
    with live(tmp_path / "platform") as platform:
        monkeypatch.setenv("MODELYARD_URL", platform.url)
        monkeypatch.setenv("MODELYARD_TOKEN", platform.token)
        (tmp_path / "model.py").write_text(MODEL)
        (tmp_path / "signature.json").write_text(SIGNATURE)
        words = ["publish", str(tmp_path / "model.py"), "--name", "sums"]
        said = await asyncio.to_thread(app.run, [*words, "--signature", str(tmp_path / "signature.json")])
        assert said == 0

        def printed(*words: str) -> dict[str, Any]:
            capsys.readouterr()
            assert app.run(["render", "test", *words, "--url", platform.url]) == 0
            return dict(yaml.safe_load(capsys.readouterr().out))

        async with world(tmp_path, processes=True) as here:
            token = base64.b64encode(platform.token.encode()).decode()
            secret = {"apiVersion": "v1", "kind": "Secret", "data": {"token": token}}
            wanted = [
                {**secret, "metadata": {"name": "modelyard-token"}},
                printed("sums@1", "-d", "[[1, 2]]", "--name", "once"),
                printed("sums@7", "-d", "[[1, 2]]", "--name", "wrong"),
                printed("sums@1", "-d", "[[1, 2]]", "--gpu", "1", "--timeout", "2s", "--name", "card"),
                printed(
                    "sums@1", "-d", "[[1, 2]]", "--schedule", "0 6 * * *", "--time-zone", "Asia/Shanghai"
                ),
            ]
            for each in wanted:
                code, said = await kubectl(here.kubeconfig, "apply", "-f", "-", given=each)
                assert (code, said.endswith("created\n")) == (0, True), said
            _, text = await kubectl(here.kubeconfig, "get", "cronjob", "test-sums", "-o", "json")
            template = json.loads(text)["spec"]["jobTemplate"]  # as the cluster does when its time has come
            now = {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {"name": "now"},
                "spec": template["spec"],
            }
            code, said = await kubectl(here.kubeconfig, "apply", "-f", "-", given=now)
            assert code == 0, said
            assert await _ended(here, "once") == "Complete"
            assert await _ended(here, "now") == "Complete"
            assert await _ended(here, "wrong") == "Failed"
            assert await _ended(here, "card") == "Failed"
            _, text = await kubectl(here.kubeconfig, "get", "pods", "-o", "json")
            pods = [each["metadata"]["name"] for each in json.loads(text)["items"]]
            (pod,) = (each for each in pods if each.startswith("card-"))
            _, text = await kubectl(here.kubeconfig, "logs", pod)
            assert "GPU" in text, "this machine has no card, and the platform says so"
            _, text = await kubectl(here.kubeconfig, "logs", "job/once")
            assert json.loads(text[text.index("{") : text.rindex("}") + 1]) == {"prediction": [1.0]}
