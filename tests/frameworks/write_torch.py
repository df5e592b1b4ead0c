"""Writes small PyTorch models in every form to the directory given; run by a Python that has PyTorch."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

ROOT = Path(sys.argv[1])
FOUND: dict[str, dict[str, Any]] = {}
SOURCE = """
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, hidden=16):
        super().__init__()
        self.first = nn.Linear(2, hidden)
        self.drop = nn.Dropout(0.5)
        self.norm = nn.BatchNorm1d(hidden)
        self.last = nn.Linear(hidden, 3)

    def forward(self, points):
        return torch.softmax(self.last(self.drop(torch.relu(self.norm(self.first(points))))), dim=-1)
"""


class Image(nn.Module):
    """A tiny convolutional network on images of 8 by 8."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
        self.head = nn.Linear(36, 2)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        scores = self.head(self.features(image))
        return {"scores": scores, "label": scores.argmax(dim=-1)}


class Pair(nn.Module):
    """Two inputs, one of whole numbers, and two answers."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(10, 4)

    def forward(self, tokens: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean = self.words(tokens).mean(dim=1)
        return mean * weight, (mean * weight).to(torch.bfloat16)


def note(
    name: str, entry: str, serialization: str, inputs: dict[str, torch.Tensor], module: nn.Module
) -> None:
    """Record the model's own answers."""
    with torch.inference_mode():
        answer = module(*inputs.values())
    if isinstance(answer, torch.Tensor):
        answer = {"output": answer}
    elif isinstance(answer, tuple):
        answer = {f"output_{index}": each.float() for index, each in enumerate(answer)}
    FOUND[name] = {
        "directory": str(ROOT / name),
        "entry": entry,
        "format": "torch",
        "serialization": serialization,
        "inputs": {key: value.tolist() for key, value in inputs.items()},
        "expected": {key: value.tolist() for key, value in answer.items()},
    }


def made(name: str) -> Path:
    path = ROOT / name
    path.mkdir()
    return path


def trained() -> nn.Module:
    """Three classes of points by their angle, learned from 600 of them."""
    (ROOT / "network.py").write_text(SOURCE)
    sys.path.insert(0, str(ROOT))
    torch.manual_seed(0)
    points = torch.randn(600, 2)
    labels = ((torch.atan2(points[:, 1], points[:, 0]) / torch.pi + 1) * 1.5).long().clamp(0, 2)
    model: nn.Module = importlib.import_module("network").Model(hidden=16)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.nll_loss(torch.log(model(points) + 1e-9), labels).backward()
        optimizer.step()
    model.eval()
    accuracy = (model(points).argmax(-1) == labels).float().mean()
    assert accuracy > 0.9, accuracy
    return model


def export(model: nn.Module, example: tuple[torch.Tensor, ...], path: Path, *, free: bool = True) -> None:
    batch = torch.export.Dim("batch")
    shapes = tuple({0: batch} for _ in example) if free else None
    torch.export.save(torch.export.export(model, example, dynamic_shapes=shapes), path)


def main() -> None:
    mlp, image, pair = trained(), Image().eval(), Pair().eval()
    points = {"points": torch.tensor([[0.5, 0.25], [-1.0, 0.1], [0.2, -0.9]])}
    pixels = {"image": torch.rand(2, 1, 8, 8)}
    both = {"tokens": torch.tensor([[1, 2, 3], [4, 5, 6]]), "weight": torch.tensor([[2.0], [0.5]])}

    torch.jit.script(mlp).save(made("mlp-script") / "model.pt")
    note("mlp-script", "model.pt", "torchscript", points, mlp)
    torch.jit.trace(pair, tuple(both.values())).save(made("pair-trace") / "model.pt")
    note("pair-trace", "model.pt", "torchscript", both, pair)
    export(mlp, tuple(points.values()), made("mlp-export") / "model.pt2")
    note("mlp-export", "model.pt2", "torch-export", points, mlp)
    export(image, tuple(pixels.values()), made("cnn-export") / "model.pt2")
    note("cnn-export", "model.pt2", "torch-export", pixels, image)
    export(mlp, (points["points"],), made("mlp-fixed") / "model.pt", free=False)
    note("mlp-fixed", "model.pt", "torch-export", points, mlp)
    torch.save({"state_dict": mlp.state_dict(), "epoch": 60}, made("mlp-weights") / "weights.pt")
    note("mlp-weights", "weights.pt", "torch-weights", points, mlp)
    safetensors.torch.save_file(mlp.state_dict(), made("mlp-safetensors") / "model.safetensors")
    note("mlp-safetensors", "model.safetensors", "safetensors", points, mlp)
    for name in ("mlp-weights", "mlp-safetensors"):
        (ROOT / name / "model.py").write_text(SOURCE)
        (ROOT / name / "config.json").write_text('{"hidden": 16}')
    torch.save(mlp.first, made("whole") / "model.pt")
    (ROOT / "models.json").write_text(json.dumps(FOUND))


main()
