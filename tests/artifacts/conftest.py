"""Both stores: a directory, and a bucket of a real S3 server with a directory in front of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelyard.artifacts import Artifacts, Bounds, LocalArtifacts
from modelyard.artifacts.opening import open_store
from modelyard.artifacts.wheels import Wheels, WithWheels
from modelyard.domain.storage import StoreOptions
from tests.support import buckets
from tests.support.buckets import KEYS, BucketServer

STORES = ("directory", "bucket")
Make = Callable[..., Artifacts]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


@pytest.fixture(scope="session")
def bucket_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BucketServer]:
    with buckets.serving(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    """Of this test alone in the bucket."""
    return f"{tmp_path.parent.name}/{tmp_path.name}"


@pytest.fixture
def options(bucket_server: BucketServer, prefix: str) -> StoreOptions:
    return StoreOptions(url=f"s3://models/{prefix}", endpoint=bucket_server.url)


@pytest.fixture(params=(*STORES, "with wheels"))
def make(request: pytest.FixtureRequest, root: Path, tmp_path: Path) -> Make:
    """Makes a store of either kind, with bounds; or one that lends wheels too."""
    chosen = StoreOptions()
    if request.param == "bucket":
        chosen = request.getfixturevalue("options")

    def made(bounds: Bounds | None = None, place: Path = root) -> Artifacts:
        store = open_store(chosen, place, bounds=bounds or Bounds(), clock=time.time, environ=KEYS)
        if request.param in STORES:
            return store
        (tmp_path / "no wheels").mkdir(exist_ok=True)
        return WithWheels(store, Wheels(tmp_path / "no wheels"))

    return made


@pytest.fixture
def store(make: Make) -> Artifacts:
    """Either kind of store."""
    return make()


@pytest.fixture
def local(root: Path) -> LocalArtifacts:
    """A store in a directory, whose place on the disk matters."""
    return LocalArtifacts(root)
