"""Publishes networks from memory as a notebook does: `python publish_objects.py torch|keras URL`."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

import modelyard
from modelyard.domain.errors import Invalid


def torch_objects(client: modelyard.Client) -> dict[str, Any]:
    import torch
    from torch import nn

    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(72, 3), nn.Softmax(dim=-1)
    )
    images = torch.rand(4, 1, 8, 8)
    try:
        client.publish(model, "without-rows")
    except Invalid as error:
        refused = error.message
    version = client.publish(model, "cnn-object", x_test=images, y_test=np.array([0, 1, 2, 0]))
    assert model.training, "the user's own object is left as it was"
    tested = client.test(version.ref, images)
    with torch.inference_mode():
        expected = model.eval()(images)
    np.testing.assert_allclose(tested.outputs["output"], expected.numpy(), rtol=1e-4)
    artifact = version.artifacts[0]
    return {
        "serialization": artifact.serialization,
        "packages": version.requirements.packages,
        "shape": artifact.signature.inputs[0].shape,
        "rows": len(artifact.signature.sample["input"]),
        "function": artifact.function,
        "device": tested.device,
        "refused": refused,
    }


def keras_objects(client: modelyard.Client) -> dict[str, Any]:
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3, activation="softmax")])
    rows = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
    answer = model.predict(rows, verbose=0)
    version = client.publish(model, "keras-object", x_test=rows, y_test=answer.argmax(axis=1))
    tested = client.test(version.ref, rows)
    np.testing.assert_allclose(tested.outputs["output"], answer, rtol=1e-4)
    artifact = version.artifacts[0]
    return {
        "serialization": artifact.serialization,
        "packages": version.requirements.packages,
        "shape": artifact.signature.inputs[0].shape,
        "metrics": version.metrics,
        "device": tested.device,
    }


def main() -> None:
    with modelyard.Client(sys.argv[2]) as client:
        found = {"torch": torch_objects, "keras": keras_objects}[sys.argv[1]](client)
    print(json.dumps(found))


main()
