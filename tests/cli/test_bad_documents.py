"""Whatever stands in a file or a word is refused in one line, with no traceback."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from modelyard.backends.kubernetes.client import config
from modelyard.cli import files
from modelyard.domain import documents
from modelyard.domain.errors import Invalid, Refused
from modelyard.installing import values
from modelyard.installing.bundle import unpacking
from modelyard.router import running

BAD = ["a: 2024-13-45", "[" * 5000, "a: &a [*a]", "a: &a {b: *a}", "a: [", "\x00"]


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_what_is_no_yaml_is_said_in_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(text)
    for reading in (
        lambda: documents.one(text, "x"),
        lambda: files.parse_yaml(path),
        lambda: values.load([path], []),
        lambda: config.load({}, kubeconfig=str(path)),
    ):
        with pytest.raises(Invalid) as refused:
            reading()
        assert "\n" not in str(refused.value)


def test_a_word_and_json_are_refused_too() -> None:
    for word in ("bind.http_port=2024-13-45", "control_plane.env=" + "[" * 5000):
        with pytest.raises(Invalid):
            values.load((), [word])
    with pytest.raises(Invalid, match="nested too deeply"):
        files.parse_json("[" * 200_000, "--data")


@pytest.mark.parametrize("server", ["http://[::1", "https://", "http://a:99999999"])
def test_a_server_that_is_no_url_is_named(server: str, tmp_path: Path) -> None:
    path = tmp_path / "config"
    part = {"clusters": [{"name": "c", "cluster": {"server": server}}], "users": [{"name": "u", "user": {}}]}
    contexts = [{"name": "x", "context": {"cluster": "c", "user": "u"}}]
    path.write_text(json.dumps({**part, "contexts": contexts, "current-context": "x"}))
    with pytest.raises(Invalid, match="is no URL"):
        config.load({}, kubeconfig=str(path))


@pytest.mark.parametrize("about", [[1], {"images": [{"x": 1}]}, {"images": 5}, {"images": [7]}])
def test_a_bundle_that_says_something_else_is_refused(about: object, tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_text(json.dumps(about))
    with pytest.raises(Refused, match="bundle"):
        unpacking.load_images(tmp_path, say=lambda _: None)


def test_an_empty_archive_is_no_bundle(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "b.tar", "w"):
        pass
    (tmp_path / "empty.tar").write_bytes(b"")
    for name in ("b.tar", "empty.tar"):
        with pytest.raises(Refused), unpacking.opened(tmp_path / name, say=lambda _: None):
            pass


def test_a_row_with_more_values_than_names_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n1,2\n3,4,5\n")
    with pytest.raises(Invalid, match="line 3 has more values than the first line has names"):
        files.given(None, path)


def test_a_routers_token_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(Invalid, match=r"--token-file: .* is no text"):
        running._token(path)
