"""MLflow: the shared models as a pyfunc, code instead of a pickle."""

from __future__ import annotations

from typing import Any

import mlflow
import numpy as np

from bench.peers.inside import compute


class Served(mlflow.pyfunc.PythonModel):  # type: ignore[misc,name-defined]
    """Predicts from rows."""

    def load_context(self, context: Any) -> None:
        """Load the model."""
        del context
        self._compute, self._narrow = compute.chosen()

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        """One prediction."""
        del context, params
        return self._compute(np.asarray(model_input, np.float32 if self._narrow else np.float64))


mlflow.models.set_model(Served())
