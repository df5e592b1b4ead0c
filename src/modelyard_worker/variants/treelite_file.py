"""Writes treelite variants, as `scorer` reads them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, List, Mapping, Optional

from modelyard_worker import outputs
from modelyard_worker.variants import boosted
from modelyard_worker.variants.unfit import Unfit

if TYPE_CHECKING:
    from modelyard_worker.loaded import Numbers
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


def _plain(labels: Numbers) -> Any:
    if labels.dtype.kind == "O":
        return [each.decode() if isinstance(each, bytes) else str(each) for each in labels.tolist()]
    if labels.dtype.kind not in "iu":
        raise Unfit("its classes are neither numbers nor text")
    return labels.tolist()
