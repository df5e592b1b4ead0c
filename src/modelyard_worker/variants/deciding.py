"""Decides which variant of a model is served: the fastest that answers as the original does, or none."""

from __future__ import annotations

import json
import os
import re
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional

import numpy as np

from modelyard_worker.config import sha256, threads
from modelyard_worker.failures import Failure
from modelyard_worker.guard import LARGE, UNKNOWN
from modelyard_worker.loaders import variant as loader
from modelyard_worker.variants import graphs, refusals, timing, treelite_file
from modelyard_worker.variants.parity import TOLERANCE, Parity, compared
from modelyard_worker.variants.rows import Generator
from modelyard_worker.variants.trees import Split, split
from modelyard_worker.variants.unfit import Unfit

if TYPE_CHECKING:
    from modelyard_worker.loaded import Arrays, Loaded

ONNX, TREELITE = "onnx", "treelite"
FASTER = 1.2
"""Less of a gain for one row is not worth another file."""
SEED = 20260101
SPECIAL_ROWS = 16


class Workshop:
    """Makes and judges the variants of one loaded model."""

    def __init__(self, loaded: Loaded, config: Mapping[str, Any], signature: Mapping[str, Any]) -> None:
        if loaded.source is None or loaded.known is None:
            raise Unfit("only fitted estimators and boosters are compiled")
        if not signature["inputs"] or not signature["outputs"]:
            raise Unfit("it does not tell its inputs and outputs; publish it with a sample")
        if loaded.known.documents:
            raise Unfit("it takes texts, whose words no compiled graph splits as the library does")
        self._loaded, self._config, self._signature = loaded, config, signature
        self._directory = str(config["optimize"]["directory"])
        self._split: Optional[Split] = None
        self._obstacle: Optional[Unfit] = None
        try:
            self._split = split(loaded.source)
        except Unfit as error:
            self._obstacle = error
        random = np.random.default_rng(SEED)
        generator = Generator(loaded.source, loaded.known, signature, self._split, random)
        self._request = generator.requests()
        first = {name: array[:1] for name, array in self._request.items()}
        self._refuses = refusals.found(signature["inputs"], first, loaded.predict)
        self._words = refusals.words(signature["inputs"], first, loaded.predict, generator.words)
        self._request = _with_special(self._request, {**self._refuses, **self._words}, random)
        self._expected = loaded.predict(self._request, {})
        self._original = {
            rows: timing.seconds(loaded.predict, self._request, rows) for rows in timing.BATCHES
        }

    def attempt(self, kind: str) -> Dict[str, Any]:
        """One kind of variant: its file, parity and speed, or the reason why there is none."""
        path = os.path.join(self._directory, f"variant.{kind}")
        tried: Dict[str, Any] = {"kind": kind, "reason": "", "parity": None, "speed": [], "path": path}
        reasons = []
        for make in self._ways(kind, path):
            reason = self._tried(make, kind, path, tried)
            if not reason:
                return tried
            reasons.append(reason)
        tried["reason"] = "; then ".join(dict.fromkeys(reasons))
        return tried

    def _tried(self, make: Any, kind: str, path: str, tried: Dict[str, Any]) -> str:
        """What stands against one way to make a variant; empty when nothing does."""
        try:
            make()
            return self._judged(kind, path, tried)
        except (Unfit, Failure) as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - compilers fail in every way; the original remains
            text = re.sub(r"\S*/variant\.", "variant.", " ".join(str(error).split()))[:300]
            return f"compiling failed: {type(error).__name__}: {text}"

    def _ways(self, kind: str, path: str) -> Any:
        if kind == TREELITE:
            return [partial(self._make_treelite, path)]
        made = graphs.candidates(self._loaded, self._signature, self._split)
        return [partial(self._make_graph, make, path) for make in made]

    def _make_graph(self, make: graphs.Made, path: str) -> None:
        if self._obstacle is not None:
            raise self._obstacle
        model = make()
        about = model.metadata_props.add()
        about.key, about.value = loader.ABOUT, json.dumps({"refuses": self._refuses, "words": self._words})
        with open(path, "wb") as file:
            file.write(model.SerializeToString())

    def _make_treelite(self, path: str) -> None:
        known, source = self._loaded.known, self._split
        if self._obstacle is not None:
            raise self._obstacle
        if source is None or source.before is not None:
            raise Unfit("treelite takes ensembles of trees alone, without steps before them")
        if known.examples or known.categories:
            raise Unfit("it takes text, which treelite does not")
        labels = graphs.class_labels(source.model, self._loaded.objective)
        treelite_file.write(path, source, labels, self._signature, columns=known.names, refuses=self._refuses)

    def _judged(self, kind: str, path: str, tried: Dict[str, Any]) -> str:
        config = {
            "format": "variant", "serialization": kind, "path": self._directory,
            "entry": os.path.basename(path), "files": [], "signature": self._signature,
            "threads": 1 if kind == ONNX else threads(self._config),
        }  # fmt: skip
        variant = loader.load(config)
        parity = compared(self._request, self._expected, variant.predict)
        tried["parity"] = parity.as_json()
        if parity.held:
            tried["speed"] = timing.measured(self._original, variant.predict, self._request)
        return _objection(parity)


def optimize(loaded: Loaded, config: Mapping[str, Any], signature: Mapping[str, Any]) -> Dict[str, Any]:
    """The decision, with everything that was measured; the chosen variant's file is in the directory.

    Never raises for a model: what stands against compiling it is the decision's reason.
    """
    wanted = str(config["optimize"]["wanted"])
    try:
        workshop = Workshop(loaded, config, signature)
    except (Unfit, Failure) as error:
        return {"chosen": "", "reason": str(error), "candidates": []}
    kinds = [wanted] if wanted in (ONNX, TREELITE) else [ONNX, TREELITE]
    tried = [workshop.attempt(kind) for kind in kinds]
    decision = decide(wanted, tried)
    for each in tried:
        path = each.pop("path")
        if each["kind"] == decision["chosen"]:
            decision["file"] = {"name": os.path.basename(path), "sha256": sha256(path)}
        elif os.path.exists(path):
            os.remove(path)
    print(f"compiled variant: {decision['chosen'] or 'none'} ({decision['reason']})", file=sys.stderr)
    return {**decision, "candidates": tried}


def decide(wanted: str, tried: List[Dict[str, Any]]) -> Dict[str, Any]:
    """Which of the tried variants is served, and why."""
    good = [each for each in tried if not each["reason"]]
    if wanted == "auto":
        for each in good:
            one, many = (_gain(speed) for speed in each["speed"])
            if one < FASTER or many < 1.0:
                each["reason"] = f"not faster: {one:.2f} times as fast for 1 row, {many:.2f} times for 100"
        good = [each for each in good if not each["reason"]]
    if not good:
        reasons = "; ".join(f"{each['kind']}: {each['reason']}" for each in tried)
        return {"chosen": "", "reason": reasons}
    best = min(good, key=lambda each: float(each["speed"][0]["variant_seconds"]))
    one, many = (_gain(speed) for speed in best["speed"])
    reason = f"answers as the original does, {one:.1f} times as fast for 1 row, {many:.1f} times for 100"
    return {"chosen": best["kind"], "reason": reason}


def _gain(speed: Mapping[str, float]) -> float:
    return speed["original_seconds"] / max(speed["variant_seconds"], 1e-9)


def _objection(parity: Parity) -> str:
    if parity.held:
        return ""
    if parity.label_mismatches:
        return f"no parity: {parity.label_mismatches} labels differ in {parity.rows} rows"
    return (
        f"no parity: numbers differ by up to {parity.max_abs_error:.3g} in {parity.rows} rows, "
        f"{TOLERANCE:g} is allowed"
    )


def _with_special(request: Arrays, refuses: Mapping[str, Any], random: np.random.Generator) -> Arrays:
    """The request with rows of NaN, infinite values and unknown words, where the original takes them."""
    taken = [value for kind, value in refusals.SPECIAL.items() if kind not in refuses and kind != LARGE]
    at = random.integers(0, len(next(iter(request.values()))), SPECIAL_ROWS * max(1, len(taken)))
    found: Dict[str, Any] = {}
    for name, array in request.items():
        more = np.array(array[at], copy=True)
        if array.dtype.kind == "f":
            for number, value in enumerate(taken):
                rows = more[number * SPECIAL_ROWS : (number + 1) * SPECIAL_ROWS]
                rows[random.random(size=rows.shape) < 0.5] = value
        elif array.dtype.kind == "O" and name not in refuses:
            more[random.random(size=more.shape) < 0.5] = UNKNOWN.encode()
        found[name] = np.concatenate([array, more])
    return found
