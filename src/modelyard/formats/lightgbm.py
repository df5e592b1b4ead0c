"""LightGBM's text files."""

from __future__ import annotations

import mmap
from pathlib import Path

from modelyard.domain.model import Format, Serialization
from modelyard.formats import bytesview, functions, limits, signatures
from modelyard.formats.bytesview import Damaged
from modelyard.formats.found import Detected

HEAD = b"tree\n"
VERSIONS = ("v2", "v3", "v4")
MAX_HEADER = 64 * limits.MIB


def read(path: Path, entry: str) -> Detected:
    """Read a booster saved as text. Raises Damaged."""
    with bytesview.opened(path) as data:
        header = _header(data)
        _check_trees(data, header)
    version = header.get("version", "")
    if version not in VERSIONS:
        raise Damaged(f"its version is `{version[:20]}`, and only {', '.join(VERSIONS)} are known")
    columns = tuple(header.get("feature_names", "").split())
    objective = header.get("objective", "").split(" ")[0]
    function = functions.of_objective(objective)
    return Detected(
        format=Format.LIGHTGBM,
        serialization=Serialization.LIGHTGBM_TEXT,
        entry=entry,
        algorithm="Booster",
        function=function,
        signature=signatures.of_booster(
            features=_number(header, "max_feature_idx") + 1,
            columns=columns,
            function=function,
            classes=_number(header, "num_class"),
        ),
        notes=(f"LightGBM text format {version}, objective {objective or 'unknown'}",),
    )


def _header(data: mmap.mmap) -> dict[str, str]:
    if data[: len(HEAD)] != HEAD:
        raise Damaged("it does not begin with `tree`")
    end = data.find(b"\n\n")
    if end < 0 or end > MAX_HEADER:
        raise Damaged("it ends too early: its header has no end")
    text = data[:end].decode("utf-8", "replace")
    return dict(line.split("=", 1) for line in text.split("\n") if "=" in line)


def _check_trees(data: mmap.mmap, header: dict[str, str]) -> None:
    end = data.find(b"\nend of trees")
    if end < 0:
        raise Damaged("it ends too early: `end of trees` is missing")
    sizes = header.get("tree_sizes", "").split()
    count, at = 0, data.find(b"\nTree=", 0, end)
    while at >= 0:
        count, at = count + 1, data.find(b"\nTree=", at + 1, end)
    if sizes and len(sizes) != count:
        raise Damaged(f"its header announces {len(sizes)} trees and {count} are there")


def _number(header: dict[str, str], key: str) -> int:
    text = header.get(key, "")
    if not text.isdecimal() or len(text) > 8:
        raise Damaged(f"its header has no usable `{key}`")
    return int(text)
