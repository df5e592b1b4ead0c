"""A model reads its secret and nobody else does: not who asks the platform, nor who looks around."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from modelyard import Client
from modelyard.domain.errors import Invalid
from modelyard.domain.views import State
from tests.scenarios.engines import Engine, InCluster, until

READER = '''
import hashlib
import json
import os


class Model:
    """Tells only digests of what it reads."""

    def load(self):
        pass

    def predict(self, inputs):
        read = {name: os.environ.get(name, "").encode() for name in ("API_KEY", "URL")}
        below = os.environ.get("MODELYARD_MOUNT_KEYS", "/keys")
        for name in os.listdir(below) if os.path.isdir(below) else ():
            if not name.startswith(".."):
                with open(os.path.join(below, name), "rb") as file:
                    read[name] = file.read()
        said = {name: hashlib.sha256(value).hexdigest() for name, value in read.items()}
        return {"y": inputs["x"], "said": [json.dumps(said)] * len(inputs["x"])}
'''
OLD, NEW, RAW = "an-old-pass-phrase", "a-new-pass-phrase", b"\xff\x00 raw key"
ENV = {"API_KEY": "{{secret.api.KEY}}", "URL": "https://eve:{{secret.api.KEY}}@there"}


@pytest.fixture(scope="module")
def reader(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A service that reads a secret; the directory of the files that it was set from."""
    here = tmp_path_factory.mktemp("reader")
    (here / "model.py").write_text(READER)
    (here / "key.bin").write_bytes(RAW)
    (here / "old.env").write_text(f"KEY={OLD}\n")
    (here / "new.env").write_text(f"KEY={NEW}\n")
    with engine.client() as client:
        client.publish(str(here / "model.py"), "reader", sample={"x": [1.0]})
        engine.cli("secret", "set", "api", "--from-env-file", str(here / "old.env"))
        engine.cli("secret", "set", "files", f"key.bin=@{here / 'key.bin'}")
        mounts = [{"kind": "secret", "source": "files", "path": "/keys"}]
        client.deploy("reader@1", name="reader", env=ENV, mounts=mounts)
        yield here
        client.undeploy("reader")
        for name in ("api", "files"):
            client.secrets.delete(name, force=True)


def read(client: Client, service: str) -> dict[str, str]:
    """Digests of what a service reads."""
    answer = client.service(service).predict({"x": [1.0]})
    found: dict[str, str] = json.loads(answer["said"].tolist()[0])
    return found


def digest(value: str | bytes) -> str:
    return hashlib.sha256(value.encode() if isinstance(value, str) else value).hexdigest()


def test_it_reads_what_was_set_and_what_is_set_anew(engine: Engine, reader: Path) -> None:
    with engine.client() as client:
        assert read(client, "reader") == {
            "API_KEY": digest(OLD), "URL": digest(f"https://eve:{OLD}@there"), "key.bin": digest(RAW),
        }  # fmt: skip
        engine.cli("secret", "set", "api", "--from-env-file", str(reader / "new.env"))
        until(lambda: read(client, "reader")["API_KEY"] == digest(NEW), "it reads the new value")
        until(lambda: client.deployments.get("reader").state is State.RUNNING, "all of it is new")
        assert client.deployments.get("reader").revision == 2


def test_nobody_reads_it_back(engine: Engine, reader: Path) -> None:
    said = [
        engine.cli(*words.split(), "-o", "json")
        for words in (
            "secret list", "status", "status reader", "deployment show reader", "history reader",
            "explain reader", "deployment events reader", "project events default", "metrics reader",
            "plan reader@1 --name reader --env API_KEY={{secret.api.KEY}}",
        )
    ]  # fmt: skip
    said += [
        engine.cli("logs", "reader", "--tail", "1000"),
        engine.platform.output.read_text(errors="replace"),
    ]
    assert '"api"' in said[0]
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            said.append(" ".join(process.cmdline()))
    for text in said:
        assert not holds(text.encode())
    home = engine.platform.home
    files = [each for each in home.rglob("*") if each.is_file() and not each.is_symlink()]
    assert any(each.suffix == ".db" for each in files)
    mine = home / "replicas/replicas/default/reader"  # of one machine's own replicas
    assert not [each for each in files if not each.is_relative_to(mine) and holds(each.read_bytes())]


def test_others_beside_it_read_nothing(engine: Engine, reader: Path) -> None:
    with engine.client() as client:
        client.deploy("reader@1", name="nosy", env={"API_KEY": "{{ secret.api }"})
        assert read(client, "nosy")["API_KEY"] == digest("{{ secret.api }")
        with pytest.raises(Invalid, match=r"spec\.env\.API_KEY: the project has no secret 'none'"):
            client.deploy("reader@1", name="nosy", env={"API_KEY": "{{secret.none.KEY}}"})
        with pytest.raises(Invalid, match=r"spec\.config_files\.a: may hold no value of a secret"):
            client.deploy("reader@1", name="nosy", config_files={"a": "{{secret.api.KEY}}"})
        client.undeploy("nosy")
    if isinstance(engine, InCluster):
        _nothing_in_the_cluster(engine)


def _nothing_in_the_cluster(engine: InCluster) -> None:
    """But for the Secrets of the reader's own revisions, which no other deployment may mount."""
    for kind in ("deployments", "replicasets", "pods", "configmaps", "services", "events"):
        assert not holds(json.dumps(engine.objects(kind)).encode()), kind
    hold = [each for each in engine.objects("secrets") if holds(json.dumps(each).encode())]
    names = [each["metadata"]["name"] for each in hold]
    assert names
    assert all(name.startswith("reader-r") for name in names)
    with engine.client() as client:
        mounts = [{"kind": "secret", "source": names[0], "path": "/keys"}]
        client.deploy("reader@1", name="thief", mounts=mounts, wait=False)

        def told() -> bool:
            return "belongs to the platform" in engine.cli("explain", "thief")

        until(told, "the mount is refused")
        assert not engine.objects("pods", "thief-r")
        client.undeploy("thief")


def test_what_is_used_is_kept(engine: Engine, reader: Path) -> None:
    engine.cli("secret", "delete", "api", code=7)
    engine.cli("secret", "set", "api", "--remove", "KEY", code=2)
    engine.cli("secret", "set", "api", "KEY=@/none", code=2)
    engine.cli("secret", "delete", "nothing", code=3)
    with engine.client() as client:
        assert read(client, "reader")["key.bin"] == digest(RAW)


def holds(content: bytes) -> bool:
    """Whether a value stands in it, plainly or as Kubernetes writes it."""
    values = [OLD.encode(), NEW.encode(), RAW]
    return any(each in content for value in values for each in (value, base64.b64encode(value)))
