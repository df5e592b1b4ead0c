"""BentoML: the shared models behind a service with one worker."""

from __future__ import annotations

import bentoml
import numpy as np

from bench.peers.inside import compute


@bentoml.service(workers=1)
class Served:
    """One API that takes rows and gives answers."""

    def __init__(self) -> None:
        self._predict, self._narrow = compute.chosen()

    @bentoml.api
    def infer(self, x: list[list[float]]) -> list:  # type: ignore[type-arg]
        """One prediction."""
        rows = np.array(x, np.float32 if self._narrow else np.float64)
        return np.asarray(self._predict(rows)).tolist()  # type: ignore[no-any-return]
