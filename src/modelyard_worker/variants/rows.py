"""Rows to compare a variant with its original on: around the data, and on both sides of splits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping, Optional, Tuple

import numpy as np

from modelyard_worker import fitted, requests
from modelyard_worker.arrays import DTYPES, text_bytes

if TYPE_CHECKING:
    from modelyard_worker.loaded import Arrays, Numbers
    from modelyard_worker.variants.trees import Split

USUAL = 384
"""Rows spread as the data seems to be."""
AT_SPLITS = 512
"""Rows with values at, just below and just above thresholds."""


class Generator:
    """Makes requests for one model; `random` decides everything that is left to chance."""

    def __init__(
        self, model: Any, known: fitted.Inputs, signature: Mapping[str, Any], split: Optional[Split],
        random: np.random.Generator,
    ) -> None:  # fmt: skip
        self._known = known
        self._inputs = signature["inputs"]
        self._random = random
        self._before, self._features, self._thresholds = _splits(model, split)
        self._texts = fitted.text_values(model, known.names, known.count or 0)
        self._width = known.count or 0
        self._center, self._spread = self._profile(model, signature.get("sample"))

    @property
    def words(self) -> Dict[str, List[str]]:
        """The words that the model knows, by the name of the text input."""
        names = self._known.names or [spec["name"] for spec in self._inputs]
        return {names[at]: texts for at, texts in self._texts.items()}

    def requests(self) -> Arrays:
        """Named tensors: rows as usual, rows far out, whole numbers, and rows at the trees' thresholds."""
        random, shape = self._random, (USUAL, self._width)
        usual = self._center + self._spread * random.normal(size=shape)
        far = self._center + 4.0 * self._spread * random.normal(size=shape)
        usual = np.where(random.random(size=(USUAL, 1)) < 0.25, far, usual)
        usual[: USUAL // 8] = np.round(usual[: USUAL // 8])
        usual[0] = self._center
        usual[1] = 0.0
        at = self._at_splits(usual)
        return self.named(usual if at is None else np.concatenate([usual, at]))

    def named(self, table: Numbers) -> Arrays:
        """A table in the model's order as the tensors of a request; text columns get known words."""
        if len(self._inputs) == 1 and len(self._inputs[0]["shape"]) == 2:
            spec = self._inputs[0]
            columns = list(spec.get("columns") or self._known.columns)
            if self._known.names and columns != self._known.names:
                table = table[:, [self._known.names.index(name) for name in columns]]
            return {spec["name"]: _cast(table, spec["datatype"])}
        found: Dict[str, Any] = {}
        places = {name: at for at, name in enumerate(self._known.names or [s["name"] for s in self._inputs])}
        for spec in self._inputs:
            at = places[spec["name"]]
            if spec["datatype"] == "BYTES":
                words = np.asarray(self._texts.get(at) or ["text"], dtype=object)
                found[spec["name"]] = text_bytes(words[self._random.integers(0, len(words), len(table))])
            else:
                found[spec["name"]] = _cast(table[:, at], spec["datatype"])
        return found

    def _profile(self, model: Any, sample: Any) -> "Tuple[Numbers, Numbers]":
        """Where each column's values lie, as far as anything tells: scalers, thresholds, the sample."""
        center, spread = np.full(self._width, np.nan), np.full(self._width, np.nan)
        for places, middle, width in _scaled(model, self._known):
            center[places], spread[places] = middle, width
        if self._before is None:
            self._from_thresholds(center, spread)
        value = self._sampled(sample)
        center = np.where(np.isfinite(center), center, value)
        spread = np.where(np.isfinite(spread) & (spread > 0), spread, np.maximum(1.0, np.abs(center)))
        return center, spread

    def _from_thresholds(self, center: Numbers, spread: Numbers) -> None:
        for at in np.unique(self._features):
            values = self._thresholds[self._features == at]
            center[at], spread[at] = np.median(values), np.ptp(values) / 2

    def _sampled(self, sample: Any) -> Numbers:
        value = np.zeros(self._width)
        if sample is None:
            return value
        tensors = requests.rows(sample, self._inputs)
        if len(self._inputs) == 1 and len(self._inputs[0]["shape"]) == 2:
            row = np.asarray(tensors[self._inputs[0]["name"]][0], dtype=np.float64)
            columns = list(self._inputs[0].get("columns") or self._known.columns)
            order = [columns.index(name) for name in self._known.names or columns]
            return np.nan_to_num(row[order])
        for at, name in enumerate(self._known.names or [spec["name"] for spec in self._inputs]):
            if tensors[name].dtype.kind in "biuf":
                value[at] = np.nan_to_num(float(tensors[name][0]))
        return value

    def _at_splits(self, usual: Numbers) -> Optional[Numbers]:
        """Rows whose values are thresholds or their neighbours; through a pipeline, what becomes of them."""
        before, features, thresholds = self._before, self._features, self._thresholds
        if not len(features):
            return None
        random, rows = self._random, usual[self._random.integers(0, len(usual), AT_SPLITS)]
        if before is not None and (not hasattr(before, "inverse_transform") or self._texts):
            return None
        inner = rows.copy() if before is None else np.asarray(before.transform(rows), dtype=np.float64)
        for chosen in (random.integers(0, len(features), AT_SPLITS) for _ in range(3)):
            exact = thresholds[chosen]
            beside = np.stack([
                exact, np.nextafter(exact, np.inf), np.nextafter(exact, -np.inf),
                np.nextafter(exact.astype(np.float32), np.float32(np.inf)).astype(np.float64),
                np.nextafter(exact.astype(np.float32), np.float32(-np.inf)).astype(np.float64),
                exact.astype(np.float32).astype(np.float64),
            ])  # fmt: skip
            inner[np.arange(AT_SPLITS), features[chosen]] = beside[
                random.integers(0, len(beside), AT_SPLITS), np.arange(AT_SPLITS)
            ]
        return inner if before is None else np.asarray(before.inverse_transform(inner), dtype=np.float64)


def _splits(model: Any, split: Optional[Split]) -> "Tuple[Any, Numbers, Numbers]":
    """The steps before the trees, and every split's feature and threshold, also inside other models."""
    if split is not None:
        forest = split.trees.forest
        inner = (forest.left >= 0) & np.isfinite(forest.threshold)
        return split.before, forest.feature[inner], forest.threshold[inner]
    steps = getattr(model, "steps", None)
    before, last = (model[:-1], steps[-1][1]) if isinstance(steps, list) and len(steps) > 1 else (None, model)
    trees = [part.tree_ for part in fitted.walk(last) if hasattr(part, "tree_")]
    features = [tree.feature[tree.children_left >= 0] for tree in trees]
    thresholds = [tree.threshold[tree.children_left >= 0] for tree in trees]
    nothing = np.zeros(0)
    return (
        before,
        np.concatenate([nothing.astype(np.int64), *features]),
        np.concatenate([nothing, *thresholds]),
    )


def _cast(values: Numbers, datatype: str) -> Any:
    dtype = DTYPES[datatype]
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return np.clip(np.round(values), max(limits.min, -(2**53)), min(limits.max, 2**53)).astype(dtype)
    if dtype.kind == "b":
        return values > 0
    return np.ascontiguousarray(values, dtype=dtype)


def _scaled(model: Any, known: fitted.Inputs) -> "Iterator[Tuple[List[int], Any, Any]]":
    """Columns with the middle and width that a first step such as StandardScaler has learned of them."""
    count = known.count or 0
    for transformer, places in fitted.first_steps(model, known.names, count):
        steps = getattr(transformer, "steps", None)
        part = steps[0][1] if isinstance(steps, list) and steps else transformer
        mean, scale = getattr(part, "mean_", None), getattr(part, "scale_", None)
        low: Any = getattr(part, "data_min_", None)
        high: Any = getattr(part, "data_max_", None)
        middle = getattr(part, "center_", None)
        if _fits(mean, places) and _fits(scale, places):
            yield places, mean, scale
        elif _fits(low, places) and _fits(high, places):
            yield places, (low + high) / 2, (high - low) / 2
        elif _fits(middle, places) and _fits(scale, places):
            yield places, middle, scale


def _fits(value: Any, places: List[int]) -> bool:
    return isinstance(value, np.ndarray) and value.shape == (len(places),) and value.dtype.kind == "f"
