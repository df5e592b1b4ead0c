"""Treelite variants: one line of JSON that says what the scores mean, then treelite's own trees."""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional

import numpy as np

from modelyard_worker import outputs
from modelyard_worker.arrays import text_bytes
from modelyard_worker.variants import boosted
from modelyard_worker.variants.unfit import Unfit

if TYPE_CHECKING:
    from modelyard_worker.loaded import Arrays, Numbers
    from modelyard_worker.variants.trees import Split


def write(
    path: str, split: Split, labels: Optional[Numbers], signature: Mapping[str, Any], *,
    columns: Optional[List[str]], refuses: Mapping[str, str],
) -> None:  # fmt: skip
    """Write the variant of a model that is nothing but trees. Raises Unfit."""
    model = boosted.imported(split.model)
    known = {
        "refuses": dict(refuses),
        "columns": columns,
        "single": split.trees.single,
        "zero": split.trees.zero,
        "labels": None if labels is None else _plain(labels),
        "names": outputs.sources(
            signature["outputs"], ["prediction"] if labels is None else ["label", "probabilities"]
        ),
    }
    with open(path, "wb") as file:
        file.write(json.dumps(known).encode() + b"\n")
        file.write(model.serialize_bytes())


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


def _plain(labels: Numbers) -> Any:
    if labels.dtype.kind == "O":
        return [each.decode() if isinstance(each, bytes) else str(each) for each in labels.tolist()]
    if labels.dtype.kind not in "iu":
        raise Unfit("its classes are neither numbers nor text")
    return labels.tolist()
