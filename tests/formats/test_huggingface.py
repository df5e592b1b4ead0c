"""Hugging Face directories are read without their libraries."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelyard.domain.errors import Refused
from modelyard.domain.model import Format, Function, ModelTask, Serialization
from modelyard.domain.project import Trust
from modelyard.formats import detect, requirements, scan
from tests.support import packages


def configured(directory: Path, **changes: Any) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def weighed(directory: Path, *, size: int = 16) -> None:
    """Weights in safetensors instead of the graph, really as long as their header says."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    (directory / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))
    (directory / "model.onnx").unlink()


def test_a_text_classifier_is_known_by_its_head(tmp_path: Path) -> None:
    packages.text_classifier(tmp_path)
    found = detect(tmp_path)
    assert (found.format, found.serialization) == (Format.HUGGINGFACE, Serialization.HUGGINGFACE_ONNX)
    assert (found.task, found.function) == (ModelTask.TEXT_CLASSIFICATION, Function.CLASSIFICATION)
    assert requirements(found) == ("tokenizers", "onnxruntime")
    assert scan(tmp_path, found, trust=Trust.NEVER) == ()


def test_a_sentence_transformer_is_an_embedding_model_wherever_it_lies(tmp_path: Path) -> None:
    packages.text_embedder(tmp_path / "deep" / "model")
    found = detect(tmp_path)
    assert (found.entry, found.task) == ("deep/model/config.json", ModelTask.FEATURE_EXTRACTION)
    assert detect(tmp_path, hint=Format.ONNX).entry == "deep/model/onnx/model.onnx"


def test_weights_need_torch(tmp_path: Path) -> None:
    packages.text_classifier(tmp_path)
    weighed(tmp_path)
    found = detect(tmp_path)
    assert found.serialization is Serialization.HUGGINGFACE_SAFETENSORS
    assert requirements(found) == ("tokenizers", "torch", "transformers")


def _cut(directory: Path) -> None:
    weighed(directory, size=9)


def _pickled(directory: Path) -> None:
    (directory / "model.onnx").rename(directory / "pytorch_model.bin")


def _foreign(directory: Path) -> None:
    weighed(directory)
    configured(directory, auto_map={"AutoModel": "modeling.Mine"})


def _graph(directory: Path) -> None:
    (directory / "model.onnx").write_bytes(b"not a graph")


def _tokenizer(directory: Path) -> None:
    (directory / "tokenizer.json").write_text('{"model": {')


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "another task": (
        lambda at: configured(at, architectures=["BertForTokenClassification"]),
        "its architecture is BertForTokenClassification; only text classification",
    ),
    "weights cut short": (_cut, "has 9 bytes of tensors, and its header says 16"),
    "pickled weights": (_pickled, "UnsafeContent: its weights are `pytorch_model.bin`, a pickle"),
    "foreign code": (_foreign, "UnsafeContent: `auto_map`"),
    "no graph": (_graph, "`model.onnx`"),
    "tokenizer cut short": (_tokenizer, "`tokenizer.json`: it ends too early"),
    "labels": (lambda at: configured(at, id2label=["a"]), "`id2label` of config.json must be an object"),
    "configuration": (lambda at: (at / "config.json").write_text("[1]") and None, "must hold an object"),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_what_cannot_be_served_is_refused_with_its_reason(name: str, tmp_path: Path) -> None:
    packages.text_classifier(tmp_path)
    damage, message = BROKEN[name]
    damage(tmp_path)
    with pytest.raises(Refused) as refused:
        detect(tmp_path)
    assert message in refused.value.message


def test_a_pooling_that_is_not_known_is_refused(tmp_path: Path) -> None:
    packages.text_embedder(tmp_path, pooling="weightedmean")
    with pytest.raises(Refused, match="asks for pooling weightedmean_tokens; cls, max and mean are known"):
        detect(tmp_path)


def test_a_module_that_is_not_known_is_refused(tmp_path: Path) -> None:
    packages.text_embedder(tmp_path)
    modules = json.loads((tmp_path / "modules.json").read_text())
    modules.append({"idx": 3, "path": "3_Dense", "type": "sentence_transformers.models.Dense"})
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(Refused, match="has a module Dense"):
        detect(tmp_path)


def test_weights_alone_say_what_is_missing(tmp_path: Path) -> None:
    packages.text_classifier(tmp_path)
    weighed(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(Refused, match=r"its tokenizer\.json is missing; publish the whole"):
        detect(tmp_path)
