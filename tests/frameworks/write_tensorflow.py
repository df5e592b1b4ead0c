"""Writes small Keras and TensorFlow models to the directory given; run by a Python that has them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import h5py
import keras
import numpy as np
import tensorflow as tf

ROOT = Path(sys.argv[1])
FOUND: dict[str, dict[str, Any]] = {}


def note(
    name: str, entry: str, kind: tuple[str, str], inputs: dict[str, Any], expected: dict[str, Any]
) -> None:
    """Record what the framework itself answers."""
    FOUND[name] = {
        "directory": str(ROOT / name),
        "entry": entry,
        "format": kind[0],
        "serialization": kind[1],
        "inputs": {key: np.asarray(value).tolist() for key, value in inputs.items()},
        "expected": {key: np.asarray(value).tolist() for key, value in expected.items()},
    }


def made(name: str) -> Path:
    path = ROOT / name
    path.mkdir()
    return path


def trained() -> keras.Model:
    """Whether two numbers have the same sign, learned from 500 pairs."""
    keras.utils.set_random_seed(1)
    points = np.random.default_rng(0).normal(size=(500, 2)).astype("float32")
    labels = (points[:, 0] * points[:, 1] > 0).astype("int64")
    model = keras.Sequential(
        [
            keras.Input((2,), name="points"),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.03), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(points, labels, epochs=12, verbose=0)
    assert model.evaluate(points, labels, verbose=0)[1] > 0.85
    return model


class Scaled(tf.Module):
    """Text and numbers in, named answers out."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = tf.Variable([1.0, 10.0, 100.0])

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 3], tf.float32, name="numbers"),
            tf.TensorSpec([None], tf.string, name="words"),
        ]
    )
    def served(self, numbers: Any, words: Any) -> dict[str, Any]:
        return {"scaled": numbers * self.factor, "upper": tf.strings.upper(words)}


class Writer(tf.Module):
    """A graph that writes a file when it is asked."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="x")])
    def served(self, x: Any) -> dict[str, Any]:
        tf.io.write_file("/tmp/never", x[0])
        return {"y": x}


def main() -> None:
    dense = trained()
    points = {"points": np.array([[0.5, 0.25], [-1.0, 0.5], [0.75, -1.0]], dtype="float32")}
    answer = dense.predict(points["points"], verbose=0)
    dense.save(made("keras-dense") / "model.keras")
    note("keras-dense", "model.keras", ("keras", "keras"), points, {"output": answer})
    dense.save(made("keras-h5") / "model.h5")
    note("keras-h5", "model.h5", ("keras", "keras-h5"), points, {"output": answer})
    dense.export(str(made("tf-dense")), verbose=False)
    note("tf-dense", "saved_model.pb", ("tensorflow", "saved-model"), points, {"output_0": answer})

    left, right = keras.Input((3,), name="left"), keras.Input((2,), name="right", dtype="int32")
    total = keras.layers.Dense(1, name="total")(left)
    parts = keras.layers.Embedding(5, 2)(right)
    both = keras.Model([left, right], [total, keras.layers.Flatten(name="parts")(parts)])
    pair = {"left": np.ones((2, 3), "float32"), "right": np.array([[1, 2], [3, 4]], "int32")}
    both.save(made("keras-pair") / "model.keras")
    answers = both.predict([pair["left"], pair["right"]], verbose=0)
    note(
        "keras-pair",
        "model.keras",
        ("keras", "keras"),
        pair,
        dict(zip(("total", "parts"), answers, strict=True)),
    )

    scaled = Scaled()
    tf.saved_model.save(scaled, str(made("tf-text")), signatures=scaled.served)
    given = {"numbers": np.array([[1, 2, 3]], "float32"), "words": ["delft"]}
    note(
        "tf-text", "saved_model.pb", ("tensorflow", "saved-model"), given,
        {"scaled": [[1.0, 20.0, 300.0]], "upper": ["DELFT"]},
    )  # fmt: skip

    words = keras.layers.TextVectorization(max_tokens=8, output_sequence_length=3)
    words.adapt(["good fine", "bad poor"])
    text = keras.Input((1,), dtype="string", name="text")
    read = keras.Model(text, keras.layers.Embedding(8, 2)(words(text)))
    read.save(made("keras-text") / "model.keras")
    lines = [["good poor"], ["bad"]]
    read_answer = read.predict(tf.constant(lines), verbose=0)
    note("keras-text", "model.keras", ("keras", "keras"), {"text": lines}, {"output": read_answer})

    short = keras.Sequential([keras.layers.Dense(2, dtype="mixed_bfloat16")])
    short(np.ones((1, 3), "float32"))
    short.save(made("keras-built") / "model.keras")
    rows = {short.get_config()["layers"][0]["config"]["name"]: np.eye(3, dtype="float32")}
    short_answer = np.asarray(short.predict(np.eye(3, dtype="float32"), verbose=0)).astype("float32")
    note("keras-built", "model.keras", ("keras", "keras"), rows, {"output": short_answer})

    code = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda value: value * 2)])
    code.save(made("keras-lambda") / "model.keras")
    dense.save(made("keras-outside") / "model.h5")
    with h5py.File(ROOT / "keras-outside/model.h5", "a") as file:
        file.create_dataset("more", (4,), "u1", external=[("/etc/passwd", 0, 4)])
    note("keras-outside", "model.h5", ("keras", "keras-h5"), points, {"output": answer})
    writer = Writer()
    tf.saved_model.save(writer, str(made("tf-writer")), signatures=writer.served)
    (ROOT / "models.json").write_text(json.dumps(FOUND))


main()
