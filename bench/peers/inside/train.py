"""Makes the models of every workload: `python train.py DIRECTORY`."""

from __future__ import annotations

import sys
from pathlib import Path

import joblib
import lightgbm
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_iris, make_regression
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

_BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""MobileNetV2: expansion, channels, repeats and stride of each stage."""


class Network:
    """An ONNX graph that grows from input to output."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def conv(self, source: str, into: int, out: int, kernel: int, *, stride: int = 1, groups: int = 1) -> str:
        """A convolution with bias; the name of its output."""
        name = f"conv{len(self.nodes)}"
        shape = (out, into // groups, kernel, kernel)
        scale = np.sqrt(2 / (shape[1] * kernel * kernel))
        self._weight(f"{name}.w", self._random.normal(0, scale, shape))
        self._weight(f"{name}.b", np.zeros(out))
        pad = kernel // 2
        return self.add(
            "Conv",
            [source, f"{name}.w", f"{name}.b"],
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[pad] * 4,
            group=groups,
        )

    def add(self, kind: str, sources: list[str], **attributes: object) -> str:
        """One more node; the name of its output."""
        name = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, sources, [name], **attributes))
        return name

    def relu6(self, source: str) -> str:
        """The activation of MobileNets."""
        return self.add("Clip", [source, "zero", "six"])

    def _weight(self, name: str, values: np.ndarray) -> None:
        self.weights.append(numpy_helper.from_array(np.asarray(values, np.float32), name))


def mobilenet() -> onnx.ModelProto:
    """MobileNetV2 at 224 x 224 with random weights: what it computes is nonsense, what it costs is real."""
    net = Network()
    for name, value in (("zero", 0), ("six", 6)):
        net.weights.append(numpy_helper.from_array(np.array(value, np.float32), name))
    last, width = net.relu6(net.conv("input", 3, 32, 3, stride=2)), 32
    for expansion, channels, repeats, stride in _BLOCKS:
        for number in range(repeats):
            step = stride if number == 0 else 1
            last, width = _inverted(net, last, (width, channels), expansion, step), channels
    last = net.relu6(net.conv(last, width, 1280, 1))
    last = net.add("Flatten", [net.add("GlobalAveragePool", [last])])
    rng = np.random.default_rng(1)
    net.weights.append(numpy_helper.from_array(rng.normal(0, 0.03, (1280, 1000)).astype(np.float32), "fc"))
    net.nodes.append(helper.make_node("MatMul", [last, "fc"], ["output"]))
    shape = ["batch", 3, 224, 224]
    graph = helper.make_graph(
        net.nodes,
        "mobilenetv2",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 1000])],
        net.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def _inverted(net: Network, source: str, widths: tuple[int, int], expansion: int, stride: int) -> str:
    width, channels = widths
    wide = width * expansion
    inside = net.relu6(net.conv(source, width, wide, 1)) if expansion > 1 else source
    inside = net.relu6(net.conv(inside, wide, wide, 3, stride=stride, groups=wide))
    inside = net.conv(inside, wide, channels, 1)
    return net.add("Add", [source, inside]) if stride == 1 and width == channels else inside


def main(directory: Path) -> None:
    """Write every model."""
    directory.mkdir(parents=True, exist_ok=True)
    x, y = load_iris(return_X_y=True)
    joblib.dump(LogisticRegression(max_iter=1000).fit(x, y), directory / "logistic.joblib")
    forest = RandomForestClassifier(100, random_state=0, n_jobs=1).fit(x, y)
    joblib.dump(forest, directory / "forest.joblib")
    wide, target = make_regression(2000, 50, noise=5, random_state=0)
    booster = lightgbm.LGBMRegressor(n_estimators=200, num_leaves=31, verbose=-1).fit(wide, target).booster_
    booster.save_model(directory / "boosting.txt")
    onnx.save(mobilenet(), directory / "cnn.onnx")
    (directory / "done").touch()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
