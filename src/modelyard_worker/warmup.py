"""Warm-up: a loaded model answers a few requests before the first client's, and shows what calls cost it."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional

import numpy as np

from modelyard_worker import requests
from modelyard_worker.arrays import DTYPES
from modelyard_worker.channel import raw
from modelyard_worker.config import published, threads
from modelyard_worker.failures import Failure
from modelyard_worker.samples import LARGEST, first_row
from modelyard_worker.thread_count import settle

if TYPE_CHECKING:
    from modelyard_worker.loaded import Arrays, Loaded

KINDS = ("sample", "zero", "random", "none")
SIZES = (1, 8, 32)
"""Rows of the calls that are measured."""
REPEATS = 3
LONGEST_SECONDS = 2.0
"""Measuring ends when it has taken so long."""
SEED = 7


def warm_up(loaded: Loaded, config: Mapping[str, Any]) -> Dict[str, Any]:
    """Answer warm-up requests; returns what was done, for the front.

    `kind` is what was sent, `threads` what was found of their number, `costs` are `[rows, seconds]` of calls
    with rows of `row_bytes`, `obstacle` says why rows of several requests must not share a call, `failure`
    names the request that failed; a model is ready nevertheless, unless `warmup_required` is set, which makes
    it Failure(PredictionFailed).
    """
    kind = str(config.get("warmup") or "sample")
    said: Dict[str, Any] = {"kind": kind, "costs": [], "obstacle": "", "failure": ""}
    try:
        inputs = _inputs(kind, loaded, config)
        if inputs is None:
            said["kind"] = "none"
            return said
        started = time.perf_counter()
        answer = loaded.predict(inputs, {})
        said["seconds"] = time.perf_counter() - started
        # A slow model is not kept from its clients for the sake of measuring; its calls show what they cost.
        quick = said["seconds"] < LONGEST_SECONDS
        if quick and _has_rows(loaded.signature):
            said["threads"] = settle(loaded, first_row(inputs), threads(config))
            if loaded.batchable:
                _measure(loaded, first_row(inputs), said)
        del answer
    except Failure as failure:
        said["failure"] = f"the warm-up request ({kind}) failed: {failure.message}"
        sys.stderr.write(said["failure"] + "\n")
        if config.get("warmup_required"):
            raise Failure(failure.reason, said["failure"]) from failure
    return said


def _inputs(kind: str, loaded: Loaded, config: Mapping[str, Any]) -> Optional[Arrays]:
    specs = loaded.signature["inputs"]
    if kind == "none":
        return None
    if kind == "sample":
        sample = published(config).get("sample")
        return None if sample is None else requests.rows(sample, specs)
    return _generated(specs, kind)


def _generated(specs: Any, kind: str) -> Optional[Arrays]:
    """One row of zeros or of random values; dimensions that vary count as one. None for an unknown input."""
    found: Arrays = {}
    generator = np.random.default_rng(SEED)
    for spec in specs:
        shape = [max(size, 1) for size in spec["shape"]]
        dtype = DTYPES[spec["datatype"]]
        if int(np.prod(shape, dtype=np.int64)) > LARGEST:
            return None
        if spec["datatype"] == "BYTES":
            filled: Any = np.empty(shape, object)
            filled[...] = b"" if kind == "zero" else b"warm-up"
        elif kind == "zero":
            filled = np.zeros(shape, dtype)
        elif dtype.kind == "f":
            filled = generator.standard_normal(shape).astype(dtype)
        else:
            filled = generator.integers(0, 2, shape).astype(dtype)
        found[spec["name"]] = filled
    return found or None


def _has_rows(signature: Mapping[str, Any]) -> bool:
    """Whether all tensors have a variable first dimension."""
    specs = [*signature["inputs"], *signature["outputs"]]
    return bool(signature["inputs"] and signature["outputs"]) and all(
        spec["shape"] and spec["shape"][0] == -1 for spec in specs
    )


def _measure(loaded: Loaded, row: Arrays, said: Dict[str, Any]) -> None:
    """Time calls with 1, 8 and 32 rows, and see whether rows are answered alike in company."""
    costs: List[List[float]] = said["costs"]
    said["row_bytes"] = sum(raw(array)[2].nbytes for array in row.values())
    begun = time.perf_counter()
    alone: Arrays = {}
    for size in SIZES:
        inputs = {name: np.repeat(array, size, axis=0) for name, array in row.items()}
        for _ in range(REPEATS):
            if time.perf_counter() - begun > LONGEST_SECONDS:
                return
            started = time.perf_counter()
            try:
                answer = loaded.predict(inputs, {})
            except Failure as failure:
                said["obstacle"] = f"{size} rows at once failed: {failure.message}"
                return
            costs.append([size, time.perf_counter() - started])
        alone = alone or answer
        said["obstacle"] = _difference(alone, answer, size)
        if said["obstacle"]:
            return


def _difference(alone: Arrays, together: Arrays, size: int) -> str:
    """How equal rows are answered otherwise together than alone; empty when they are not."""
    for name, one in alone.items():
        many = together.get(name)
        shape = None if many is None else list(many.shape)
        if many is None or many.shape != (size * len(one), *one.shape[1:]):
            return f'{size} rows were answered with "{name}" of shape {shape}'
        if not _alike(np.repeat(one, size, axis=0), many):
            return f'"{name}" of a row is another when {size} rows are predicted together'
    return ""


def _alike(one: Any, many: Any) -> bool:
    if one.dtype.kind == "f":
        return bool(np.allclose(one, many, rtol=1e-3, atol=1e-5, equal_nan=True))
    return bool(np.array_equal(one, many))
