"""ONNX variants: a graph with the model's own signature around what was compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional, Sequence

import numpy as np

from modelyard_worker import fitted, outputs
from modelyard_worker.boosters import LABEL, Objective
from modelyard_worker.loaders import estimators
from modelyard_worker.variants import converted, tree_graph
from modelyard_worker.variants.nodes import Nodes
from modelyard_worker.variants.unfit import Unfit

if TYPE_CHECKING:
    from modelyard_worker.loaded import Loaded, Numbers
    from modelyard_worker.signatures import Spec
    from modelyard_worker.variants.trees import Split

Made = Callable[[], Any]


def candidates(loaded: Loaded, signature: Mapping[str, Any], split: Optional[Split]) -> List[Made]:
    """Ways to make a ModelProto of the model, the most exact first; each may raise Unfit."""
    model, known = loaded.source, loaded.known
    if split is not None:
        return [lambda: _of_trees(split, loaded, signature)]
    return [
        lambda: _of_library(model, known, signature, "FP64"),
        lambda: _of_library(model, known, signature, "FP32"),
    ]


def class_labels(model: Any, objective: Optional[Objective]) -> Optional[Numbers]:
    """The classes as the original answers them; None for a model that does not classify. Raises Unfit."""
    if objective is not None:
        if objective.name in LABEL:
            raise Unfit(f"objective {objective.name} answers labels without probabilities")
        specs = objective.specs()
        return np.arange(specs[1]["shape"][1]) if len(specs) > 1 else None
    classes = getattr(model, "classes_", None)
    if classes is None:
        return None
    labels: Numbers = estimators.labels_of(np.asarray(classes))
    return labels


def _of_trees(split: Split, loaded: Loaded, signature: Mapping[str, Any]) -> Any:
    nodes, known = Nodes(), loaded.known
    if split.before is None:
        table = _table(nodes, known, signature["inputs"], "FP64")
    else:
        table = _converted(nodes, split.before, known, signature["inputs"], "FP64")[0]
        table = nodes.cast(table, "FP64")
    answer = tree_graph.answer(nodes, table, split.trees, class_labels(split.model, loaded.objective))
    return _finished(nodes, signature, answer)


def _of_library(model: Any, known: fitted.Inputs, signature: Mapping[str, Any], datatype: str) -> Any:
    nodes = Nodes()
    answered = _converted(nodes, model, known, signature["inputs"], datatype)
    function = estimators.function_of(model)
    if not hasattr(model, "predict"):
        answer = {"output": answered[0]}
    elif function == "classification":
        answer = {"label": answered[0]}
        if len(answered) > 1:
            answer["probabilities"] = answered[1]
    else:
        answer = {"prediction" if function == "regression" else "label": answered[0]}
    return _finished(nodes, signature, answer)


def _finished(nodes: Nodes, signature: Mapping[str, Any], answer: Dict[str, str]) -> Any:
    """The graph with outputs of exactly the signature's names, datatypes and number of dimensions."""
    specs = signature["outputs"]
    sources = outputs.sources(specs, list(answer))
    made = {}
    for spec in specs:
        source = answer.get(sources[spec["name"]])
        if source is None:
            raise Unfit(f"the compiled graph has no output {sources[spec['name']]}")
        shape = [-1] if len(spec["shape"]) == 1 else [0, spec["shape"][1] if spec["shape"][1] > 0 else -1]
        if len(spec["shape"]) > 2:
            raise Unfit(f"output {spec['name']} has more than two dimensions")
        if spec["datatype"] != "BYTES":
            source = nodes.cast(source, spec["datatype"])
        made[spec["name"]] = nodes.add("Reshape", [source, nodes.constant(np.asarray(shape))])
    return nodes.model(signature["inputs"], specs, made)


def _converted(
    nodes: Nodes, model: Any, known: fitted.Inputs, specs: Sequence[Spec], datatype: str
) -> List[str]:
    """What skl2onnx makes of the model, fed from the signature's inputs."""
    if _by_column(known, specs):
        columns = _columns(nodes, known, specs, datatype)
        kinds = {name: ("BYTES" if is_text else datatype) for name, (_, is_text) in columns.items()}
        return nodes.include(
            converted.columns(model, kinds), {name: tensor for name, (tensor, _) in columns.items()}
        )
    width = known.count or 0
    return nodes.include(
        converted.table(model, width, datatype), {"table": _table(nodes, known, specs, datatype)}
    )


def _by_column(known: fitted.Inputs, specs: Sequence[Spec]) -> bool:
    return known.frame or bool(known.examples) or any(each["datatype"] == "BYTES" for each in specs)


def _table(nodes: Nodes, known: fitted.Inputs, specs: Sequence[Spec], datatype: str) -> str:
    """All inputs as one table [n, features] in the order in which the model knows its columns."""
    if len(specs) == 1 and len(specs[0]["shape"]) == 2:
        table = nodes.cast(specs[0]["name"], datatype)
        order = _order(known, specs[0])
        return table if order is None else nodes.add("Gather", [table, nodes.constant(order)], axis=1)
    columns = _columns(nodes, known, specs, datatype)
    if any(is_text for _, is_text in columns.values()):
        raise Unfit("it takes text")
    return nodes.add("Concat", [tensor for tensor, _ in columns.values()], axis=1)


def _order(known: fitted.Inputs, spec: Spec) -> Optional[Numbers]:
    given = list(spec.get("columns") or known.columns)
    if not known.names or given == known.names:
        return None
    return np.asarray([given.index(name) for name in known.names], dtype=np.int64)


def _columns(
    nodes: Nodes, known: fitted.Inputs, specs: Sequence[Spec], datatype: str
) -> "Dict[str, tuple[str, bool]]":
    """Every column [n, 1] by name in the model's order, and whether it holds text."""
    if len(specs) == 1 and len(specs[0]["shape"]) == 2:
        if specs[0]["datatype"] == "BYTES":
            raise Unfit("it takes a table of text")
        table = _table(nodes, known, specs, datatype)
        return {
            name: (nodes.add("Gather", [table, nodes.constant(np.asarray([at]))], axis=1), False)
            for at, name in enumerate(known.columns)
        }
    if any(len(each["shape"]) != 1 for each in specs):
        raise Unfit("its inputs are neither one table nor one tensor for each column")
    by_name = {each["name"]: each for each in specs}
    found = {}
    for name in known.names or list(by_name):
        is_text = by_name[name]["datatype"] == "BYTES"
        tensor = name if is_text else nodes.cast(name, datatype)
        found[name] = (nodes.add("Unsqueeze", [tensor, nodes.constant(np.asarray([1]))]), is_text)
    return found
