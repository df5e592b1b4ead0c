"""Answers with treelite variants: a line of JSON that says what scores mean, then treelite's trees."""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any, Dict

import numpy as np

from modelyard_worker import outputs
from modelyard_worker.arrays import text_bytes

if TYPE_CHECKING:
    from modelyard_worker.loaded import Arrays, Numbers

SEVERAL_THREADS = 1000
"""Waking threads for fewer rows costs more than they compute."""


class Scorer:
    """Answers requests with a treelite variant."""

    def __init__(self, path: str, specs: Any, *, threads: int) -> None:
        treelite = importlib.import_module("treelite")
        with open(path, "rb") as file:
            self.about: Dict[str, Any] = json.loads(file.readline())
            self._model = treelite.Model.deserialize_bytes(file.read())
        self._gtil = importlib.import_module("treelite.gtil")
        self._threads = max(1, threads)
        self._specs = {each["name"]: each for each in specs}
        header = self._model.get_header_accessor()
        self._dtype = np.float32 if int(header.get_field("threshold_type")[0]) == 2 else np.float64
        labels = self.about["labels"]
        self._labels = None if labels is None else np.asarray(labels)
        if self._labels is not None and self._labels.dtype.kind == "U":
            self._labels = text_bytes(self._labels)

    def answer(self, table: Numbers) -> Arrays:
        """Named outputs for a table [n, features]."""
        if self.about["single"]:
            table = table.astype(np.float32)
        if self.about["zero"]:
            table = np.where(np.abs(table) <= self.about["zero"], 0.0, table)
        table = np.ascontiguousarray(table, dtype=self._dtype)
        threads = self._threads if len(table) >= SEVERAL_THREADS else 1
        scores = self._gtil.predict(self._model, table, nthread=threads)
        scores = np.asarray(scores, dtype=np.float64).reshape(len(table), -1)
        if self._labels is None:
            own = {"prediction": scores[:, 0]}
        else:
            if scores.shape[1] == 1:
                scores = np.column_stack([1.0 - scores, scores])
            own = {"label": self._labels[scores.argmax(axis=1)], "probabilities": scores}
        return {
            name: outputs.cast(np.ascontiguousarray(own[source]), self._specs[name])
            for name, source in self.about["names"].items()
        }
