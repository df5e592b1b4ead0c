"""Volumes that a pod of processes finds: those that outlive it, images, and what is put together for it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from tests.cluster.here import Here, container
from tests.support.cluster.writing import condition

CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}


def shell(words: str, *mounts: dict[str, Any]) -> dict[str, Any]:
    return container("sh", "-c", words, volumeMounts=list(mounts))


def at(path: str, **more: Any) -> dict[str, Any]:
    return {"name": "v", "mountPath": path, **more}


async def ended(here: Here, name: str) -> int:
    await here.until(lambda: "terminated" in here.container(name).get("state", {}))
    return int(here.container(name)["state"]["terminated"]["exitCode"])


async def test_what_a_pod_leaves_in_a_claim_is_there_for_the_next(here: Here) -> None:
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "kept"}}]
    more = {"volumes": volumes, "restartPolicy": "Never"}
    here.pod("first", shell("echo here > /data/a && mkdir /data/b", at("/data")), **more)
    await here.until(lambda: condition(here.seen("first").get("status", {}), "PodScheduled"))
    unfit = condition(here.seen("first")["status"], "PodScheduled")
    assert unfit["reason"] == "Unschedulable"
    assert 'persistentvolumeclaim "kept" not found' in unfit["message"]
    here.create("PersistentVolumeClaim", "kept", spec=CLAIM)
    assert await ended(here, "first") == 0
    claim = here.cluster.store.get(here.cluster.kind("PersistentVolumeClaim"), ("default", "kept")) or {}
    assert claim["status"]["phase"] == "Bound"
    here.pod("second", shell("read word < /data/a && test $word = here -a -d /data/b", at("/data")), **more)
    assert await ended(here, "second") == 0
    claimed = {"claimName": "kept", "readOnly": True}
    more["volumes"] = [{"name": "v", "persistentVolumeClaim": claimed}]
    here.pod("third", shell("! touch /data/c", at("/data")), **more)
    assert await ended(here, "third") == 0


async def test_the_test_says_where_claims_and_images_are(here: Here, tmp_path: Path) -> None:
    for name in ("claim", "image"):
        (tmp_path / name / "part").mkdir(parents=True)
        (tmp_path / name / "part" / "text").write_text(name)
    here.kubelet.storage.claims["default", "given"] = tmp_path / "claim"
    here.create("PersistentVolumeClaim", "given", spec=CLAIM)
    volumes = [
        {"name": "v", "persistentVolumeClaim": {"claimName": "given"}},
        {"name": "i", "image": {"reference": "models/iris:1", "pullPolicy": "IfNotPresent"}},
    ]
    words = "cat /c/text /i/part/text /p/text > /c/all; ! touch /i/new"
    mounts = [
        {"name": "v", "mountPath": "/c", "subPath": "part"},
        {"name": "i", "mountPath": "/i"},
        {"name": "i", "mountPath": "/p", "subPath": "part"},
    ]
    here.pod("both", shell(words, *mounts), volumes=volumes, restartPolicy="Never")
    await here.until(lambda: "waiting" in here.container("both").get("state", {}))
    await here.until(lambda: here.container("both")["state"]["waiting"]["reason"] == "ImagePullBackOff")
    assert "models/iris:1" in here.container("both")["state"]["waiting"]["message"]
    here.kubelet.storage.images["models/iris:1"] = tmp_path / "image"
    assert await ended(here, "both") == 0
    assert (tmp_path / "claim" / "part" / "all").read_text() == "claimimageimage"


async def test_a_part_of_an_image_that_is_not_there_is_said(here: Here, tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    here.kubelet.storage.images["models/empty"] = tmp_path / "image"
    volumes = [{"name": "v", "image": {"reference": "models/empty"}}]
    here.pod("part", shell("true", at("/v", subPath="no/such")), volumes=volumes)
    await here.until(lambda: "waiting" in here.container("part").get("state", {}))
    wanted = "CreateContainerConfigError"
    await here.until(lambda: here.container("part")["state"]["waiting"]["reason"] == wanted)
    assert '"no/such"' in here.container("part")["state"]["waiting"]["message"]


async def test_a_projected_volume_is_made_of_all_its_sources(here: Here) -> None:
    here.create("ConfigMap", "words", data={"a": "A", "b": "B"})
    here.create("Secret", "keys", data={"k": base64.b64encode(b"K").decode()})
    token = {"path": "token", "audience": "us", "expirationSeconds": 600}
    sources = [
        {"configMap": {"name": "words", "items": [{"key": "a", "path": "deep/a"}]}},
        {"secret": {"name": "keys"}},
        {"secret": {"name": "nowhere", "optional": True}},
        {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {"serviceAccountToken": token},
    ]
    volumes = [{"name": "v", "projected": {"sources": sources}}]
    mount = [at("/v")]
    main = container("sh", "-c", "cd /v; cat deep/a k name labels token; test ! -e b", volumeMounts=mount)
    here.pod("all", main, volumes=volumes, restartPolicy="Never")
    assert await ended(here, "all") == 0
    said = "".join(line.text for log in here.kubelet.written(here.seen("all"), "main") for line in log.lines)
    assert said.startswith("AKall")
    claims = json.loads(base64.urlsafe_b64decode(said.removeprefix("AKall").split(".")[1] + "=="))
    assert (claims["aud"], claims["sub"]) == (["us"], "system:serviceaccount:default:default")


async def test_a_key_that_a_volume_names_and_that_is_not_there_is_waited_for(here: Here) -> None:
    here.create("ConfigMap", "half", data={"a": "A"})
    items = [{"key": "b", "path": "b"}]
    volumes = [{"name": "v", "configMap": {"name": "half", "items": items}}]
    here.pod("waits", shell("test $(cat /v/b) = B", at("/v")), volumes=volumes, restartPolicy="Never")
    await here.until(lambda: "waiting" in here.container("waits").get("state", {}))
    await here.until(lambda: here.container("waits")["state"]["waiting"].get("message"))
    assert here.container("waits")["state"]["waiting"]["message"].endswith("configmap key: b")
    here.cluster.delete(here.cluster.kind("ConfigMap"), ("default", "half"), here.options)
    here.create("ConfigMap", "half", data={"b": "B"})
    assert await ended(here, "waits") == 0
