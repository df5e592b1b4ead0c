"""Runs PipelineModels on a Spark of one machine, in a Java virtual machine inside this process."""

from __future__ import annotations

import importlib.util
import os
import re
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from modelyard_worker import jvm, outputs, packages, requests, signatures
from modelyard_worker.config import entry_path, published
from modelyard_worker.failures import Failure
from modelyard_worker.loaded import Loaded
from modelyard_worker.loaders import spark_session, spark_tables
from modelyard_worker.loaders.spark_tables import Column

if TYPE_CHECKING:
    from modelyard_worker.loaded import Arrays
    from modelyard_worker.signatures import Spec

READ = ("inputCol", "inputCols", "featuresCol", "userCol", "itemCol", "itemsCol")
"""Parameters of stages that name the columns that they read."""
RAW = "rawPrediction"
TEXT = "text"


def load(config: Mapping[str, Any]) -> Loaded:
    """Load a pipeline; its inputs are the columns that it reads, its outputs those that nobody reads on.

    Raises Failure(SignatureMismatch) when neither the signature nor a sample says what it takes.
    """
    bridge, session = spark_session.start(config, _jars())
    model = _read(bridge, config)
    stages = _flat(model)
    given = published(config)
    inputs = [_sized(each, stages) for each in _inputs(given)]
    schema = spark_tables.schema(bridge, inputs)
    columns = _columns(bridge, session, model, schema)
    chosen = _chosen(columns, stages, given)
    specs, adapt = outputs.declared(given.get("outputs") or (), [each.spec for each in chosen], shaped=False)
    names = ["`{}`".format(each.spec["name"].replace("`", "``")) for each in chosen]

    def predict(tensors: Arrays, _: Mapping[str, Any]) -> Arrays:
        signatures.check(inputs, tensors)
        signatures.same_length(inputs, tensors)
        count = len(tensors[inputs[0]["name"]])
        try:
            frame = session.createDataFrame(spark_tables.rows(bridge, inputs, tensors), schema)
            rows = model.transform(frame).select(names[0], names[1:]).collectAsList()
        except bridge.JException as error:
            raise _explained(error, inputs, tensors) from error
        if len(rows) != count:
            remedy = "a stage has handleInvalid=skip: set it to keep or error"
            raise Failure(
                "SignatureMismatch", f"inputs: {count - len(rows)} of {count} rows were left out; {remedy}"
            )
        answer: Arrays = adapt(spark_tables.arrays(chosen, rows))
        return answer

    return Loaded(
        signature=signatures.signature(inputs, specs, given),
        device="CPU",
        info={
            "framework_version": packages.installed_version("pyspark"),
            "algorithm": f"PipelineModel ({_kind(stages[-1])})" if stages else "PipelineModel",
            "function": config.get("function") or "unknown",
            "examples": _examples(stages),
        },
        predict=predict,
    )


def _jars() -> str:
    found = importlib.util.find_spec("pyspark")
    if found is None or found.origin is None:
        raise packages.missing_package("pyspark")
    return os.path.join(os.path.dirname(found.origin), "jars", "*")


def _read(bridge: Any, config: Mapping[str, Any]) -> Any:
    directory = os.path.dirname(os.path.dirname(entry_path(config)))
    try:
        return bridge.JClass("org.apache.spark.ml.PipelineModel").load(f"file://{directory}")
    except bridge.JException as error:
        kind, words = jvm.innermost(error)
        mismatch = packages.version_mismatch(config, f"{kind}: {words}")
        text = f"the pipeline is not readable ({kind}: {words}): publish its whole directory again"
        raise jvm.failure(error, loading=True) or mismatch or Failure("ModelLoadFailed", text) from error


def _flat(model: Any) -> List[Any]:
    """The stages, those of pipelines inside included."""
    found: List[Any] = []
    for stage in model.stages():
        found += _flat(stage) if _kind(stage) == "PipelineModel" else [stage]
    return found


def _kind(stage: Any) -> str:
    return str(stage.getClass().getSimpleName())


def _reads(stage: Any) -> List[str]:
    """Names of the columns that a stage reads."""
    found: List[str] = []
    for parameter in stage.params():
        if str(parameter.name()) in READ and stage.isDefined(parameter):
            value = stage.getOrDefault(parameter)
            found += [value] if isinstance(value, str) else [str(each) for each in value]
    return found


def _inputs(given: Mapping[str, Any]) -> List[Spec]:
    if given.get("inputs"):
        return [{**each, "columns": list(each.get("columns") or ())} for each in given["inputs"]]
    if given.get("sample") is not None:
        sampled = requests.rows(given["sample"], ())
        return [signatures.spec_of(name, np.asarray(array)) for name, array in sampled.items()]
    raise Failure(
        "SignatureMismatch",
        "signature.inputs: the pipeline does not say which columns it takes; "
        "publish it with a sample row, or with a signature",
    )


def _sized(spec: Spec, stages: Sequence[Any]) -> Spec:
    """The spec with the length of its vectors, where a stage knows it."""
    if spec["shape"][1:] != [-1] and spec["shape"][1:] != (-1,):
        return {**spec, "shape": list(spec["shape"])}
    for stage in stages:
        if spec["name"] in _reads(stage):
            return {**spec, "shape": [-1, _width(stage)]}
    return {**spec, "shape": [-1, -1]}


def _width(stage: Any) -> int:
    for name in ("numFeatures", "mean", "originalMin", "maxAbs", "median"):
        if hasattr(stage, name):
            value = getattr(stage, name)()
            return int(value) if name == "numFeatures" else int(value.size())
    return -1


def _columns(bridge: Any, session: Any, model: Any, schema: Any) -> List[Column]:
    """What the pipeline adds, found with a table of no rows."""
    try:
        empty = session.createDataFrame(bridge.JClass("java.util.ArrayList")(), schema)
        found = model.transform(empty).schema()
    except bridge.JException as error:
        kind, words = jvm.innermost(error)
        known = jvm.failure(error, loading=True)
        text = f"signature.inputs: the pipeline does not take them ({kind}: {words})"
        raise known or Failure("SignatureMismatch", text) from error
    given = {str(each.name()) for each in schema.fields()}
    columns = (spark_tables.column(each) for each in found.fields() if str(each.name()) not in given)
    return [each for each in columns if each is not None]


def _chosen(columns: Sequence[Column], stages: Sequence[Any], given: Mapping[str, Any]) -> List[Column]:
    """The outputs: those declared, else what no later stage reads, without raw scores."""
    declared = [each["name"] for each in given.get("outputs") or ()]
    known = {each.spec["name"]: each for each in columns}
    if declared and all(name in known for name in declared):
        return [known[name] for name in declared]
    read = {name for stage in stages for name in _reads(stage)}
    left = [each for each in columns if each.spec["name"] not in read]
    usual = [each for each in left if each.spec["name"] != RAW]
    if not (usual or left or columns):
        raise Failure("ModelLoadFailed", "the pipeline adds no column that can be sent")
    return usual or left or list(columns)


def _examples(stages: Sequence[Any]) -> Dict[str, Any]:
    """Texts that the pipeline has seen, by column."""
    found: Dict[str, Any] = {}
    for stage in stages:
        names = _reads(stage)
        if _kind(stage) == "StringIndexerModel":
            for name, labels in zip(names, stage.labelsArray()):
                found.setdefault(name, str(labels[0]) if len(labels) else TEXT)
        elif _kind(stage).endswith("Tokenizer"):
            found.update({name: TEXT for name in names})
    return found


def _explained(error: Any, inputs: Sequence[Spec], tensors: Arrays) -> Failure:
    kind, words = jvm.innermost(error)
    found = jvm.failure(error, loading=False) or _blamed(words, inputs, tensors)
    return found or Failure("PredictionFailed", f"{kind}: {words}")


def _blamed(words: str, inputs: Sequence[Spec], tensors: Arrays) -> Optional[Failure]:
    """The failure that names the element that Spark stumbled over; None when the request is not to blame."""
    unseen = re.search(r"[Uu]nseen label:? (.*?)\.(?: |$)", words)
    if unseen is not None:
        where = _found(inputs, tensors, lambda value: value == unseen.group(1).encode())
        return Failure("SignatureMismatch", f"{where}: the pipeline has never seen {unseen.group(1)!a}")
    if "NaN" in words or "null" in words.lower():
        where = _found(inputs, tensors, lambda value: value != value)
        if where != "inputs":
            return Failure(
                "SignatureMismatch", f"{where}: a missing value, and the pipeline takes none ({words})"
            )
    return None


def _found(inputs: Sequence[Spec], tensors: Arrays, wrong: Any) -> str:
    """Where the first element is that a test finds, such as `inputs.city[2]`; else `inputs`."""
    for spec in inputs:
        flat: Tuple[Any, ...] = tuple(tensors[spec["name"]].ravel().tolist())
        at = next((at for at, value in enumerate(flat) if wrong(value)), None)
        if at is not None:
            return f"inputs.{spec['name']}[{at}]"
    return "inputs"
