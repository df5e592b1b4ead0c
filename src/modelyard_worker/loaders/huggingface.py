"""Loads Hugging Face directories: text classifiers and embedding models, by graph or by weights."""

from __future__ import annotations

import importlib
import json
import os
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Sequence, Tuple

import numpy as np

from modelyard_worker import outputs, signatures
from modelyard_worker.arrays import text, text_bytes
from modelyard_worker.config import entry_path, published, threads
from modelyard_worker.failures import Failure
from modelyard_worker.loaded import Loaded
from modelyard_worker.loaders import transformers
from modelyard_worker.loaders.poolings import embedder

if TYPE_CHECKING:
    from modelyard_worker.loaded import Array, Arrays
    from modelyard_worker.signatures import Spec

CHUNK = 32
"""Texts that go through the model together; a request may bring any number."""
USUAL_LENGTH = 512
LONGEST_LENGTH = 1 << 20
"""Tokenizers without a limit say 10^30."""

Tokens = Dict[str, Any]
Answer = Callable[[List[str]], "Arrays"]


def load(config: Mapping[str, Any]) -> Loaded:
    """Load tokenizer and model. The input is `text` (BYTES, [-1]).

    A classifier answers `label`, `score` and `probabilities`, an embedding model `embedding` (FP32, [-1, d]).
    Raises Failure(ModelLoadFailed) when the files do not fit together.
    """
    home = os.path.dirname(entry_path(config))
    settings = _document(home, "config.json")
    classifies = config.get("task") == "text-classification"
    tokenize = _tokenizer(home, settings, config)
    backend = transformers.opened(home, config, classifies=classifies)
    if classifies:
        specs, answer = _classifier(backend.run, settings)
    else:
        specs, answer = _embedding(backend.run, home)
    given = published(config)
    inputs = [signatures.spec("text", "BYTES", [-1])]
    if given.get("inputs"):
        inputs = signatures.agree(given["inputs"], inputs, "inputs")
    name = str(inputs[0]["name"])
    first = answer(tokenize(["text"]))
    specs = [{**each, "shape": [-1, *first[each["name"]].shape[1:]]} for each in specs]
    specs, adapt = outputs.declared(given.get("outputs") or (), specs)

    def predict(tensors: Arrays, _: Mapping[str, Any]) -> Arrays:
        signatures.check(inputs, tensors)
        texts = text(tensors[name])
        if not texts:
            empty: Arrays = adapt({key: value[:0] for key, value in first.items()})
            return empty
        parts = [answer(tokenize(texts[at : at + CHUNK])) for at in range(0, len(texts), CHUNK)]
        joined: Arrays = adapt({key: np.concatenate([part[key] for part in parts]) for key in parts[0]})
        return joined

    return Loaded(
        signature=signatures.signature(inputs, specs, given),
        device=backend.device,
        info={
            "framework_version": backend.version,
            "algorithm": str((settings.get("architectures") or ["transformer"])[0]),
            "function": "classification" if classifies else "unknown",
            "task": config.get("task") or "feature-extraction",
            "examples": {name: "text"},
        },
        predict=predict,
    )


def _document(home: str, name: str) -> Dict[str, Any]:
    path = os.path.join(home, name)
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        found: Dict[str, Any] = json.load(file)
    return found


def _tokenizer(
    home: str, settings: Mapping[str, Any], config: Mapping[str, Any]
) -> Callable[[List[str]], Tokens]:
    """A function from texts to padded arrays: cut at the model's length, as wide as the longest of them."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false" if threads(config) == 1 else "true")
    library = importlib.import_module("tokenizers")
    tokenizer = library.Tokenizer.from_file(os.path.join(home, "tokenizer.json"))
    padding = tokenizer.padding or {}
    token, left = padding.get("pad_id", settings.get("pad_token_id")), padding.get("direction") == "left"
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length=_length(home, settings))
    pad = int(token or 0)

    def tokenize(texts: List[str]) -> Tokens:
        encoded = tokenizer.encode_batch(texts)
        width = max(1, *(len(each.ids) for each in encoded))
        made = {
            name: np.zeros((len(texts), width), np.int64) for name in ("attention_mask", "token_type_ids")
        }
        made["input_ids"] = np.full((len(texts), width), pad, np.int64)
        for row, each in enumerate(encoded):
            count = len(each.ids)
            place = slice(width - count, width) if left else slice(0, count)
            made["input_ids"][row, place] = each.ids
            made["attention_mask"][row, place] = each.attention_mask
            made["token_type_ids"][row, place] = each.type_ids
        return made

    return tokenize


def _length(home: str, settings: Mapping[str, Any]) -> int:
    """How many tokens the model takes: the smallest of the limits that its files state."""
    said = [
        _document(home, "tokenizer_config.json").get("model_max_length"),
        _document(home, "sentence_bert_config.json").get("max_seq_length"),
        _positions(settings),
    ]
    limits = [int(each) for each in said if isinstance(each, (int, float)) and 0 < each < LONGEST_LENGTH]
    return min(limits) if limits else USUAL_LENGTH


def _positions(settings: Mapping[str, Any]) -> int:
    """Positions that were trained; RoBERTa and its kin number them from behind the padding token."""
    count = int(settings.get("max_position_embeddings") or 0)
    offset = int(settings.get("pad_token_id") or 0) + 1
    kin = ("roberta", "camembert", "mpnet")
    return count - offset if str(settings.get("model_type", "")).endswith(kin) and count > offset else count


def _embedding(run: Callable[[Tokens], Array], home: str) -> "Tuple[List[Spec], Callable[[Tokens], Arrays]]":
    pool = embedder(home)

    def answer(tokens: Tokens) -> Arrays:
        return {"embedding": pool(run(tokens), tokens["attention_mask"])}

    return [signatures.spec("embedding", "FP32", [-1, -1])], answer


def _classifier(
    run: Callable[[Tokens], Array], settings: Mapping[str, Any]
) -> "Tuple[List[Spec], Callable[[Tokens], Arrays]]":
    labels = settings.get("id2label") or {}
    names = [str(labels[key]) for key in sorted(labels, key=int)]
    probabilities = _activation(settings, len(names))

    def answer(tokens: Tokens) -> Arrays:
        logits = np.asarray(run(tokens), np.float32)
        classes = names or [f"LABEL_{at}" for at in range(logits.shape[-1])]
        if logits.ndim != 2 or logits.shape[1] != len(classes):
            raise Failure(
                "ModelLoadFailed",
                f"the model answers {list(logits.shape)}, and id2label of config.json names "
                f"{len(classes)} classes",
            )
        found = probabilities(logits)
        best = found.argmax(axis=1)
        return {
            "label": text_bytes(np.asarray(classes, dtype=object)[best]),
            "score": found[np.arange(len(found)), best],
            "probabilities": found,
        }

    columns: Sequence[str] = names
    specs = [
        signatures.spec("label", "BYTES", [-1]),
        signatures.spec("score", "FP32", [-1]),
        signatures.spec("probabilities", "FP32", [-1, len(names) or -1], columns),
    ]
    return specs, answer


def _activation(settings: Mapping[str, Any], classes: int) -> Callable[[Array], Array]:
    kind = settings.get("problem_type")
    if kind == "regression":
        return lambda logits: logits
    if kind == "multi_label_classification" or classes == 1:
        return lambda logits: (1.0 / (1.0 + np.exp(np.negative(logits)))).astype(np.float32)
    return _softmax


def _softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: Array = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return found
