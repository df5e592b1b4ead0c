"""A bucket of a real S3 server: its truth, its faults, and the directory in front of it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelyard.artifacts import Bounds
from modelyard.artifacts.bucket import Bucket, keys
from modelyard.artifacts.local import LocalArtifacts
from modelyard.artifacts.opening import open_store
from modelyard.artifacts.s3 import S3Artifacts
from modelyard.domain.errors import Invalid, Refused, Unavailable
from modelyard.domain.model import File
from modelyard.domain.storage import StoreOptions
from tests.artifacts.streams import publish, stream
from tests.support import buckets, tls_door
from tests.support.buckets import KEYS, BucketServer

DAY = 86_400.0


def opened(options: StoreOptions, place: Path, *, secret: str = "", patience: float = 1.0) -> S3Artifacts:
    """A store that does not wait long for a server that is away."""
    environ = {**KEYS, **({"AWS_SECRET_ACCESS_KEY": secret} if secret else {})}
    bucket = Bucket(options, keys(options, environ), patience_seconds=patience)
    return S3Artifacts(bucket, LocalArtifacts(place), clock=time.time, redirect=options.redirect)


def _object(server: BucketServer, prefix: str, file: File) -> Path:
    return server.data / "models" / prefix / "blobs" / file.sha256[:2] / file.sha256


def _flip(path: Path) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


async def _drain(store: S3Artifacts, file: File, received: list[int]) -> None:
    async for data in store.read(file):
        received.append(len(data))


async def test_a_lost_directory_costs_nothing(options: StoreOptions, tmp_path: Path) -> None:
    files = await publish(opened(options, tmp_path / "one"), {"m/a": b"abc" * 1_000_000, "b": b"x"})
    fresh = opened(options, tmp_path / "two")
    tree = await fresh.tree(files)
    assert (tree / "m/a").read_bytes() == b"abc" * 1_000_000
    assert await opened(options, tmp_path / "three").size(files[0].sha256) == files[0].size


async def test_a_bit_flipped_in_the_bucket_is_found(
    options: StoreOptions, bucket_server: BucketServer, prefix: str, tmp_path: Path
) -> None:
    store = opened(options, tmp_path / "one")
    files = await publish(store, {"model.onnx": b"x" * 3_000_000})
    _flip(_object(bucket_server, prefix, files[0]))
    with pytest.raises(Refused, match=r"ArtifactCorrupt: file `model.onnx` has sha256"):
        await store.verify(files)
    fresh = opened(options, tmp_path / "two")
    with pytest.raises(Refused, match="ArtifactCorrupt"):
        await fresh.tree(files)
    received: list[int] = []
    with pytest.raises(Refused, match="ArtifactCorrupt"):
        await _drain(fresh, files[0], received)
    assert sum(received) < files[0].size
    assert await fresh.sweep(frozenset(), time.time()) == 0, "nothing of the broken read is left"


async def test_a_bit_flipped_here_is_mended_from_the_bucket(options: StoreOptions, tmp_path: Path) -> None:
    store = opened(options, tmp_path / "one")
    files = await publish(store, {"model.onnx": b"x" * 3_000_000})
    tree = await store.tree(files)
    _flip(tree / "model.onnx")
    with pytest.raises(Unavailable, match="damaged on this machine"):
        async for _ in store.read(files[0]):
            pass
    assert b"".join([data async for data in store.read(files[0])]) == b"x" * 3_000_000
    await store.verify(files)
    assert ((await store.tree(files)) / "model.onnx").read_bytes() == b"x" * 3_000_000


async def test_verifying_drops_what_is_damaged_here(options: StoreOptions, tmp_path: Path) -> None:
    store = opened(options, tmp_path / "one")
    files = await publish(store, {"a": b"abc"})
    _flip(await store.tree(files) / "a")
    await store.verify(files)
    assert ((await store.tree(files)) / "a").read_bytes() == b"abc"


@pytest.mark.parametrize(
    ("change", "secret", "words"),
    [
        ({"url": "s3://none/x"}, "", "no bucket `none` at .*; make it, or mend `artifacts.url`"),
        ({}, "wrong", "refuses the keys; check them"),
        (
            {"endpoint": "http://127.0.0.1:9"},
            "",
            "does not answer; check the network and `artifacts.endpoint`",
        ),
    ],
)
async def test_a_store_that_cannot_be_used_says_why(
    options: StoreOptions, tmp_path: Path, change: dict[str, Any], secret: str, words: str
) -> None:
    store = opened(replace(options, **change), tmp_path / "one", secret=secret)
    with pytest.raises(Unavailable, match=words) as caught:
        await publish(store, {"a": b"abc"})
    assert caught.value.retry_after_seconds > 1
    assert not any(each in caught.value.message for each in ("wrong", *KEYS.values()))
    with pytest.raises(Unavailable, match=words):
        await store.contents()


async def test_an_upload_outlives_a_server_that_is_away_for_a_moment(
    options: StoreOptions, tmp_path: Path
) -> None:
    port = buckets.free_port()
    server = buckets.start(tmp_path / "s3", port)
    server.bucket("models")
    store = opened(replace(options, endpoint=server.url), tmp_path / "one", patience=20)
    try:
        server.process.kill()
        server.process.wait()
        task = asyncio.create_task(publish(store, {"a": b"abc"}))
        await asyncio.sleep(0.3)
        server = await asyncio.to_thread(buckets.start, tmp_path / "s3", port)
        files = await asyncio.wait_for(task, 30)
        await store.verify(files)
    finally:
        server.process.kill()
        server.process.wait()


async def test_a_commit_that_failed_is_tried_again(options: StoreOptions, tmp_path: Path) -> None:
    away = opened(replace(options, endpoint="http://127.0.0.1:9"), tmp_path / "one")
    with pytest.raises(Unavailable):
        await publish(away, {"a": b"abc"})
    back = opened(options, tmp_path / "one")
    assert await back.contents() == frozenset()
    await back.verify(await publish(back, {"a": b"abc"}))


KILLED = """
import asyncio, os, pathlib, sys, time
from modelyard.artifacts import Bounds
from modelyard.artifacts.opening import open_store
from modelyard.domain.storage import StoreOptions

async def data():
    for _ in range(60):
        yield os.urandom(1 << 20)

async def main():
    options = StoreOptions(url=sys.argv[1], endpoint=sys.argv[2])
    place = pathlib.Path(sys.argv[3])
    store = open_store(options, place, bounds=Bounds(), clock=time.time, environ=os.environ)
    async with store.upload() as upload:
        await upload.add("big", data())
        print("storing", flush=True)
        await upload.commit()
        print("stored", flush=True)

asyncio.run(main())
"""


async def test_kill_9_while_storing_shows_nothing_half(options: StoreOptions, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, options.url, options.endpoint, str(tmp_path / "one")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **KEYS},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "storing\n"
    time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    said = process.stdout.read()
    process.wait()
    process.stdout.close()
    store = opened(options, tmp_path / "two")
    found = await store.contents()
    assert len(found) <= 1
    if found:  # it was quicker than the kill: then it is whole
        (sha256,) = found
        size = await store.size(sha256)
        assert size == 60 << 20, said
        await store.verify([File(path="big", size=size, sha256=sha256)])


async def test_a_sweep_leaves_what_is_being_stored_and_what_is_not_ours(
    options: StoreOptions, bucket_server: BucketServer, prefix: str, tmp_path: Path
) -> None:
    store = opened(options, tmp_path / "one")
    old = await publish(store, {"a": b"abc"})
    foreign = bucket_server.data / "models" / prefix / "blobs/readme.txt"
    foreign.write_text("somebody else's")
    ages = time.time() - DAY
    for path in (foreign, _object(bucket_server, prefix, old[0])):
        os.utime(path, (ages, ages))
    again = await publish(store, {"b": b"abc"})
    assert await store.sweep(frozenset(), time.time()) == 0, "stored again, so it is fresh"
    await store.verify(again)
    await store.sweep(frozenset(), time.time() + DAY)
    assert foreign.exists()
    assert not _object(bucket_server, prefix, old[0]).exists()


async def test_pods_are_sent_to_the_bucket_when_asked(options: StoreOptions, tmp_path: Path) -> None:
    store = opened(replace(options, redirect=True), tmp_path / "one")
    (file,) = await publish(store, {"a": b"abc"})
    address = await store.address(file)
    assert await asyncio.to_thread(lambda: urllib.request.urlopen(address).read()) == b"abc"
    assert await opened(options, tmp_path / "one").address(file) == ""


@pytest.mark.parametrize(
    "url", ["s3://", "s3:///x", "http://bucket/x", "s3://UPPER/x", "s3://b", "s3://bucket?x=1"]
)
def test_a_wrong_address_is_refused_by_name(url: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"artifacts.url: .* must be s3://BUCKET"):
        opened(StoreOptions(url=url), tmp_path)


def test_missing_keys_and_files_are_named(tmp_path: Path) -> None:
    def open_with(options: StoreOptions, environ: dict[str, str]) -> None:
        open_store(options, tmp_path, bounds=Bounds(), clock=time.time, environ=environ)

    url = "s3://models/x"
    with pytest.raises(Invalid, match="no access_key_id there; or set AWS_ACCESS_KEY_ID"):
        open_with(StoreOptions(url=url), {})
    with pytest.raises(Invalid, match=r"artifacts.credentials_file: .* cannot be read"):
        open_with(StoreOptions(url=url, credentials_file=str(tmp_path / "none")), KEYS)
    with pytest.raises(Invalid, match=r"artifacts.ca_file: .* cannot be read"):
        open_with(StoreOptions(url=url, ca_file=str(tmp_path / "none")), KEYS)
    with pytest.raises(Invalid, match=r"artifacts.endpoint: must begin with"):
        open_with(StoreOptions(url=url, endpoint="minio:9000"), KEYS)
    file = tmp_path / "keys"
    file.write_text("# of the bucket\naccess_key_id=one\nsecret_access_key = two\nsession_token=three\n")
    found = keys(StoreOptions(url=url, credentials_file=str(file)), {})
    assert (found.access_key_id, found.secret_access_key, found.session_token) == ("one", "two", "three")
    assert "two" not in repr(found)


async def test_the_bucket_can_stand_in_the_host(options: StoreOptions, tmp_path: Path) -> None:
    options = replace(options, endpoint="http://s3.example.invalid:9", path_style=False, redirect=True)
    store = opened(options, tmp_path / "one")
    address = await store.address(File(path="a", size=1, sha256="a" * 64))
    assert address.startswith("http://models.s3.example.invalid:9/")


async def test_what_is_too_large_never_reaches_the_bucket(options: StoreOptions, tmp_path: Path) -> None:
    store = opened(options, tmp_path / "one")
    with pytest.raises(Exception, match="larger than the 2 bytes"):
        async with store.upload(bounds=Bounds(max_bytes=2)) as upload:
            await upload.add("a", stream(b"abc"))
    assert await store.contents() == frozenset()


async def test_a_bucket_with_an_authority_of_its_own(
    options: StoreOptions, bucket_server: BucketServer, tmp_path: Path
) -> None:
    with tls_door.door(bucket_server.url, tmp_path / "tls") as (url, trusted):
        named = opened(replace(options, endpoint=url, ca_file=str(trusted)), tmp_path / "one")
        await named.verify(await publish(named, {"a": b"abc" * 100_000}))
        unnamed = opened(replace(options, endpoint=url), tmp_path / "two")
        with pytest.raises(Unavailable, match=r"is not trusted; name its authority in `artifacts.ca_file`"):
            await unnamed.contents()
