"""Runs a transformer: an ONNX graph in ONNX Runtime, or safetensors weights in PyTorch."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Mapping

import numpy as np

from modelyard_worker.config import threads
from modelyard_worker.failures import Failure
from modelyard_worker.loaders import onnx

if TYPE_CHECKING:
    from modelyard_worker.loaded import Array

GRAPHS = ("model.onnx", os.path.join("onnx", "model.onnx"))
HIDDEN = ("last_hidden_state", "token_embeddings")


@dataclass(frozen=True)
class Backend:
    """A model that turns tokens into logits, hidden states or embeddings."""

    run: Callable[[Mapping[str, Any]], Any]
    """Takes `input_ids`, `attention_mask` and `token_type_ids`, each INT64 [n, tokens]."""
    device: str
    version: str
    """Of the library that computes."""


def opened(home: str, config: Mapping[str, Any], *, classifies: bool) -> Backend:
    """The model in a directory, the graph before the weights."""
    for name in GRAPHS:
        path = os.path.join(home, name)
        if os.path.exists(path):
            return _graph(path, config, "logits" if classifies else "")
    return _weights(home, config, classifies=classifies)


def _graph(path: str, config: Mapping[str, Any], wanted: str) -> Backend:
    library = importlib.import_module("onnxruntime")
    session = onnx.open_session(config, path)
    types = {
        each.name: np.int32 if each.type == "tensor(int32)" else np.int64 for each in session.get_inputs()
    }
    unknown = sorted(types.keys() - {"input_ids", "attention_mask", "token_type_ids"})
    if unknown:
        raise Failure("ModelLoadFailed", f"the graph takes {', '.join(unknown)}, which no tokenizer gives")
    names = [each.name for each in session.get_outputs()]
    preferred = [name for name in (wanted, *HIDDEN) if name in names]
    output = preferred[0] if preferred else names[0]

    def run(tokens: Mapping[str, Any]) -> Array:
        fed = {name: tokens[name].astype(dtype, copy=False) for name, dtype in types.items()}
        found: Array = session.run([output], fed)[0]
        return found

    return Backend(run, onnx.device_of(session), str(library.__version__))


def _weights(home: str, config: Mapping[str, Any], *, classifies: bool) -> Backend:
    torch = importlib.import_module("torch")
    library = importlib.import_module("transformers")
    if threads(config):
        torch.set_num_threads(threads(config))
    kind = library.AutoModelForSequenceClassification if classifies else library.AutoModel
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = kind.from_pretrained(home, local_files_only=True, trust_remote_code=False, use_safetensors=True)
    model = model.to(device).eval()
    types = int(getattr(model.config, "type_vocab_size", 0) or 0)
    taken = (
        ("input_ids", "attention_mask", "token_type_ids") if types > 1 else ("input_ids", "attention_mask")
    )

    def run(tokens: Mapping[str, Any]) -> Array:
        with torch.inference_mode():
            answer = model(**{name: torch.from_numpy(tokens[name]).to(device) for name in taken})
        value = answer.logits if classifies else answer.last_hidden_state
        found: Array = value.float().cpu().numpy()
        return found

    return Backend(run, "GPU" if device == "cuda" else "CPU", str(library.__version__))
