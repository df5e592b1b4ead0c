"""Signed requests to a real S3 server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from modelyard_fetch import outcome, sigv4
from modelyard_fetch.remote import S3
from tests.fetch.running import entry, manifest, run, tree
from tests.support import buckets
from tests.support.buckets import KEYS, BucketServer

BIG = os.urandom(20 * 1024 * 1024)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BucketServer]:
    with buckets.serving(tmp_path_factory.mktemp("s3")) as running:
        place = running.data / "models/vision 1/ü"
        place.mkdir(parents=True)
        (place / "big.bin").write_bytes(BIG)
        yield running


def test_an_object_comes_in_signed_ranges(tmp_path: Path, server: BucketServer) -> None:
    wanted = manifest(tmp_path, [entry("big.bin", BIG, url="s3://models/vision 1/ü/big.bin")])
    code, said = run(wanted, tmp_path / "models", env={**KEYS, "AWS_ENDPOINT_URL": server.url})
    assert (code, said) == (outcome.OK, said)
    assert tree(tmp_path / "models") == {"big.bin": BIG}


@pytest.mark.parametrize(
    ("url", "keys", "code"),
    [
        ("s3://models/none", KEYS, outcome.NOT_FOUND),
        ("s3://none/none", KEYS, outcome.NOT_FOUND),
        ("s3://models/big.bin", {**KEYS, "AWS_SECRET_ACCESS_KEY": "wrong-secret"}, outcome.REFUSED),
        ("s3://models/big.bin", {}, outcome.REFUSED),
        ("s3://models", KEYS, outcome.USAGE),
    ],
)
def test_what_an_s3_server_refuses_is_told_without_keys(
    tmp_path: Path, server: BucketServer, url: str, keys: dict[str, str], code: int
) -> None:
    wanted = manifest(tmp_path, [entry("big.bin", BIG, url=url)])
    found, said = run(wanted, tmp_path / "models", env={**keys, "AWS_ENDPOINT_URL": server.url})
    assert found == code
    assert not any(secret in said for secret in (*KEYS.values(), "wrong-secret", "Traceback"))


def test_a_signature_is_the_one_of_amazons_example() -> None:
    keys = sigv4.Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    made = sigv4.headers(
        keys,
        "examplebucket.s3.amazonaws.com",
        "/test.txt",
        datetime(2013, 5, 24, tzinfo=UTC),
        {"Range": "bytes=0-9"},
    )
    assert made["Authorization"].endswith(
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )


def test_addresses_have_the_bucket_in_the_path_or_in_the_host() -> None:
    given = {"AWS_ENDPOINT_URL": "https://s3.example.org:9000/"}
    assert S3.of(given).address("s3://b/a b/c") == "https://s3.example.org:9000/b/a%20b/c"
    host = S3.of({**given, "MODELYARD_S3_PATH_STYLE": "false"})
    assert host.address("s3://b/a/c") == "https://b.s3.example.org:9000/a/c"
    assert S3.of({"AWS_REGION": "eu-west-1"}).endpoint == "https://s3.eu-west-1.amazonaws.com"
