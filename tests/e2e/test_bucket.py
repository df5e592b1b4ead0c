"""The whole platform with its artifacts in a bucket of a real S3 server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard import Client
from modelyard.domain.errors import Forbidden, Unavailable
from tests.support import buckets
from tests.support.buckets import KEYS, BucketServer
from tests.support.command import modelyard as command
from tests.support.command import until
from tests.support.platform import Running

pytestmark = pytest.mark.e2e
CODE = b"def predict(inputs):\n    return {'y': inputs['x'] * 2}\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BucketServer]:
    with buckets.serving(tmp_path_factory.mktemp("s3") / "data") as running:
        place = running.data / "models/training/out"
        place.mkdir(parents=True)
        (place / "model.py").write_bytes(CODE)
        yield running


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, server: BucketServer) -> Iterator[Running]:
    settings = f'[artifacts]\nurl = "s3://models/platform"\nendpoint = "{server.url}"\nsources = "s3://models/training"\n'
    running = Running(tmp_path_factory.mktemp("bucket") / "home", settings=settings, variables=KEYS).start()
    yield running
    running.stop()


def _answers(client: Client) -> bool:
    try:
        return bool(client.predict("doubler", [{"x": 2.0}]) == [{"y": 4.0}])
    except Unavailable:
        return False


def test_a_model_lives_in_the_bucket_and_survives_the_loss_of_the_directory(
    platform: Running, server: BucketServer
) -> None:
    with platform.client() as client:
        version = client.publish("s3://models/training/out", "doubler", sample={"x": [1.0]})
        assert version.source == "s3://models/training/out"
        sha256 = version.artifacts[0].files[0].sha256
        assert (server.data / "models/platform/blobs" / sha256[:2] / sha256).read_bytes() == CODE
        client.deploy(version.ref, name="doubler")
    assert platform.interrupt() == 0
    shutil.rmtree(platform.home / "artifacts")
    platform.start()
    blob = platform.home / "artifacts/blobs" / sha256[:2] / sha256
    until(blob.exists, "the model comes back", seconds=60)
    with platform.client() as client:
        until(lambda: _answers(client), "it answers", seconds=60)


def test_the_command_line_publishes_from_the_bucket(platform: Running) -> None:
    words = ("publish", "s3://models/training/out", "--name", "by-cli")
    done = command(platform, "-o", "json", *words)
    assert json.loads(done.out)["source"] == "s3://models/training/out"


def test_what_may_not_be_read_is_refused(platform: Running) -> None:
    with platform.client() as client, pytest.raises(Forbidden, match=r"artifacts.sources"):
        client.publish("s3://models/platform", "stolen")


def test_a_bucket_that_is_away_is_told_and_nothing_is_lost(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = '[artifacts]\nurl = "s3://models/x"\nendpoint = "http://127.0.0.1:9"\n'
    running = Running(tmp_path_factory.mktemp("away") / "home", settings=settings, variables=KEYS).start()
    try:
        (tmp_path / "model.py").write_bytes(CODE)
        with running.client() as client, pytest.raises(Unavailable, match="does not answer"):
            client.publish(tmp_path / "model.py", "doubler", sample={"x": [1.0]})
    finally:
        running.stop()


def test_missing_keys_stop_the_start_with_the_settings_name(tmp_path: Path) -> None:
    running = Running(tmp_path / "home", settings='[artifacts]\nurl = "s3://models/x"\n')
    with pytest.raises(AssertionError, match="AWS_ACCESS_KEY_ID"):
        running.start()
