"""Small real models in the packages of others: MLflow directories and Hugging Face directories."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tests.support import models

REVIEWS = [
    ("a great and warm film", 1), ("great fun, great cast", 1), ("warm, clever and fun", 1),
    ("I liked this clever film", 1), ("a bad and dull film", 0), ("dull cast, awful plot", 0),
    ("awful and cold", 0), ("I disliked this dull plot", 0),
]  # fmt: skip


@contextmanager
def _quiet() -> Iterator[None]:
    """MLflow warns of what small models leave out."""
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def saved(flavor: str, directory: Path, **more: Any) -> None:
    """Write a package as `mlflow.FLAVOR.save_model` does."""
    import importlib

    with _quiet():
        library = importlib.import_module(f"mlflow.{flavor}")
        library.save_model(path=str(directory), **{"pip_requirements": PINS, **more})


def inferred(*arguments: Any, **more: Any) -> Any:
    """The signature of example data."""
    with _quiet():
        from mlflow.models import infer_signature

        return infer_signature(*arguments, **more)


def mlflow_sklearn(directory: Path, **more: Any) -> Any:
    """A classifier of flowers, as `mlflow.sklearn.save_model` writes it; returns the fitted object."""
    from sklearn.linear_model import LogisticRegression

    frame, y = models.iris_frame(), models.iris()[1]
    model = LogisticRegression(max_iter=500).fit(frame, y)
    more.setdefault("signature", inferred(frame, model.predict(frame)))
    saved("sklearn", directory, sk_model=model, **{"input_example": frame.iloc[:2], **more})
    return model


PINS = ["mlflow", "cloudpickle", "scikit-learn", "pandas", "numpy"]

SCALER = '''
"""Multiplies a column, as a request's parameters say."""
import pandas
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Scaler(PythonModel):
    def predict(self, context, model_input, params=None):
        params = params or {}
        values = model_input["x"] * params.get("factor", 1.0)
        if params.get("as") == "series":
            return values
        if params.get("as") == "dict":
            return {"value": values.to_numpy(), "word": model_input["word"].tolist()}
        if params.get("as") == "list":
            return values.tolist()
        return pandas.DataFrame({"value": values, "word": model_input["word"].str.upper()})


set_model(Scaler())
'''


def mlflow_code(directory: Path, source: str = SCALER) -> None:
    """A model from code with two columns and two parameters, as `mlflow.pyfunc.save_model` writes it."""
    import pandas

    code = directory.parent / "scaler.py"
    code.write_text(source)
    frame = pandas.DataFrame({"x": [1.5, 2.0], "word": ["one", "two"]})
    answer = pandas.DataFrame({"value": [1.5, 2.0], "word": ["ONE", "TWO"]})
    saved(
        "pyfunc",
        directory,
        python_model=str(code),
        signature=inferred(frame, answer, params={"factor": 1.0, "as": "frame"}),
        input_example=(frame, {"factor": 1.0, "as": "frame"}),
        pip_requirements=["mlflow", "pandas"],
    )


def mlflow_pickled(directory: Path) -> None:
    """A model whose class travels inside a pickle."""
    import pandas

    with _quiet():
        from mlflow.pyfunc import PythonModel

        class Doubled(PythonModel):
            def predict(self, context, model_input, params=None):
                return model_input["x"] * 2

    saved(
        "pyfunc",
        directory,
        python_model=Doubled(),
        input_example=pandas.DataFrame({"x": [1.0, 2.0]}),
        pip_requirements=["mlflow", "pandas"],
    )


def text_classifier(directory: Path, *, graph: str = "model.onnx", limit: int = 16) -> Any:
    """A classifier of reviews: logistic regression over words, as an ONNX graph over a tokenizer's ids.

    Returns a function from texts to the fitted object's own probabilities.
    """
    from sklearn.linear_model import LogisticRegression

    texts, liked = [text for text, _ in REVIEWS], [label for _, label in REVIEWS]
    tokenizer = _tokenizer(directory, texts)
    size = tokenizer.get_vocab_size()

    def counted(given: list[str]) -> Any:
        rows = np.zeros((len(given), size))
        for row, text in enumerate(given):
            for token in tokenizer.encode(text).ids[:limit]:
                rows[row, token] += 1
        return rows

    model = LogisticRegression(C=10.0).fit(counted(texts), liked)
    weights = np.column_stack([-model.coef_[0] / 2, model.coef_[0] / 2]).astype(np.float32)
    bias = np.asarray([-model.intercept_[0] / 2, model.intercept_[0] / 2], np.float32)
    _write_graph(directory / graph, weights, bias)
    _write_config(
        directory, architectures=["BagForSequenceClassification"], id2label={"0": "negative", "1": "positive"}
    )
    (directory / "tokenizer_config.json").write_text(json.dumps({"model_max_length": limit}))
    return lambda given: model.predict_proba(counted(given))


def text_embedder(directory: Path, *, pooling: str = "mean", normalised: bool = True, size: int = 3) -> Any:
    """An embedding model: vectors of words from a singular value decomposition, pooled and normalised.

    Returns a function from one text to the vectors of its tokens.
    """
    from sklearn.decomposition import TruncatedSVD

    texts = [text for text, _ in REVIEWS]
    tokenizer = _tokenizer(directory, texts)
    counts = np.zeros((tokenizer.get_vocab_size(), len(texts)))
    for column, text in enumerate(texts):
        for token in tokenizer.encode(text).ids:
            counts[token, column] += 1
    words = TruncatedSVD(size, random_state=0).fit_transform(counts).astype(np.float32)
    _write_graph(directory / "onnx" / "model.onnx", words, None)
    _write_config(directory, architectures=["BagModel"], hidden_size=size)
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]
    (directory / "modules.json").write_text(json.dumps(modules[: 3 if normalised else 2]))
    (directory / "1_Pooling").mkdir()
    names = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens"}
    said = {f"pooling_mode_{name}": mode == pooling for mode, name in names.items()}
    said["pooling_mode_weightedmean_tokens"] = pooling == "weightedmean"
    (directory / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": size, **said})
    )
    return lambda text: words[tokenizer.encode(text).ids]


def _tokenizer(directory: Path, texts: list[str]) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(texts, trainers.WordLevelTrainer(special_tokens=["[PAD]", "[UNK]"]))
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    return tokenizer


def _write_config(directory: Path, **more: Any) -> None:
    settings = {"model_type": "bag", "pad_token_id": 0, **more}
    (directory / "config.json").write_text(json.dumps(settings))


def _write_graph(path: Path, table: Any, bias: Any) -> None:
    """Vectors of tokens; with a bias, their masked sum with it as logits."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["last_hidden_state"])]
    tensors = [numpy_helper.from_array(table, "table")]
    output = helper.make_tensor_value_info(
        "last_hidden_state", TensorProto.FLOAT, ["n", "tokens", table.shape[1]]
    )
    if bias is not None:
        tensors += [numpy_helper.from_array(bias, "bias"), numpy_helper.from_array(np.asarray([1]), "axis")]
        tensors.append(numpy_helper.from_array(np.asarray([2]), "last"))
        nodes += [
            helper.make_node("Cast", ["attention_mask"], ["kept"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["kept", "last"], ["mask"]),
            helper.make_node("Mul", ["last_hidden_state", "mask"], ["masked"]),
            helper.make_node("ReduceSum", ["masked", "axis"], ["summed"], keepdims=0),
            helper.make_node("Add", ["summed", "bias"], ["logits"]),
        ]
        output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", table.shape[1]])
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    graph = helper.make_graph(nodes, "bag", inputs, [output], tensors)
    path.parent.mkdir(parents=True, exist_ok=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save_model(model, str(path))
