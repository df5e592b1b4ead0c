"""Manifests as YAML: Go's readers find the texts that were written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import yaml
from hypothesis import given
from hypothesis import strategies as st

from modelyard.installing import writing

KUBECTL = Path(sys.executable).parent / "kubectl"
ODD = [
    "38e0945767", "1e5", "0x1F", "0o17", "1_000", ".5", "+1", "y", "No", "off", "~", "", "null", "1.", "a: b",
    "ü",
]  # fmt: skip


def test_kubectl_reads_texts_as_texts(tmp_path: Path) -> None:
    data = {f"key-{number}": text for number, text in enumerate(ODD)}
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data}
    path = tmp_path / "map.yaml"
    path.write_text(writing.document(manifest))
    command = [str(KUBECTL), "label", "--local", "-f", str(path), "a=b", "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["data"] == data


@given(st.lists(st.text(), max_size=3))
def test_every_text_comes_back(texts: list[str]) -> None:
    assert list(yaml.safe_load_all(writing.documents([{"a": text} for text in texts]))) == [
        {"a": t} for t in texts
    ]
