"""What a booster's raw scores mean: its objective decides between labels, probabilities and numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, List

import numpy as np

from modelyard_worker import signatures

if TYPE_CHECKING:
    from modelyard_worker.signatures import Spec

PROBABILITY = ("binary:logistic", "binary")
PROBABILITIES = ("multi:softprob", "multiclass", "multiclassova")
LABEL = ("multi:softmax", "binary:hinge")


@dataclass(frozen=True)
class Objective:
    """A training objective and its number of classes (0 when it has none)."""

    name: str
    classes: int

    @property
    def function(self) -> str:
        """`classification` or `regression`."""
        return "classification" if self.name in PROBABILITY + PROBABILITIES + LABEL else "regression"

    @property
    def algorithm(self) -> str:
        """How registries call such a booster, such as `Booster (binary:logistic)`."""
        return f"Booster ({self.name})" if self.name else "Booster"

    def specs(self) -> List[Spec]:
        """Output specs: label (INT64) and probabilities (FP64), or prediction (FP64)."""
        if self.function == "regression":
            return [signatures.spec("prediction", "FP64", [-1])]
        label = signatures.spec("label", "INT64", [-1])
        if self.name in LABEL:
            return [label]
        count = 2 if self.name in PROBABILITY else self.classes
        return [
            label,
            signatures.spec("probabilities", "FP64", [-1, count], [str(each) for each in range(count)]),
        ]

    def answer(self, scores: Any) -> Dict[str, Any]:
        """Named outputs from raw scores of shape [n] or [n, k]."""
        scores = np.ascontiguousarray(scores, dtype=np.float64)
        if self.function == "regression":
            return {"prediction": scores}
        if self.name in LABEL:
            return {"label": scores.astype(np.int64)}
        if self.name in PROBABILITY:
            scores = np.column_stack([1.0 - scores, scores])
        return {"label": scores.argmax(axis=1), "probabilities": scores}
