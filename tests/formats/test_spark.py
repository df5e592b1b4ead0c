"""A PipelineModel's directory tells its stages and columns; what is cut or foreign is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modelyard.domain.errors import Invalid, Refused
from modelyard.domain.model import Format, Function
from modelyard.domain.project import Trust
from modelyard.formats import detect, requirements, scan

ML = "org.apache.spark.ml"
STAGES: list[tuple[str, dict[str, Any]]] = [
    (f"{ML}.feature.StringIndexerModel", {"inputCol": "bought", "outputCol": "label"}),
    (f"{ML}.feature.StringIndexerModel", {"inputCols": ["city"], "outputCols": ["c"]}),
    (f"{ML}.feature.VectorAssembler", {"inputCols": ["age", "c"], "outputCol": "features"}),
    (
        f"{ML}.classification.LogisticRegressionModel",
        {"featuresCol": "features", "labelCol": "label", "predictionCol": "prediction",
         "probabilityCol": "probability"},
    ),
]  # fmt: skip


def write(
    directory: Path, stages: list[tuple[str, dict[str, Any]]], kind: str = f"{ML}.PipelineModel"
) -> Path:
    """A pipeline's directory as Spark writes it, without the numbers that were learned."""
    uids = [f"stage{index}" for index in range(len(stages))]
    _metadata(directory, kind, {"stageUids": uids})
    for index, (stage, parameters) in enumerate(stages):
        folder = directory / "stages" / f"{index:0{len(str(len(stages)))}d}_{uids[index]}"
        _metadata(folder, stage, parameters)
        (folder / "data").mkdir()
        (folder / "data/part-00000-x.snappy.parquet").write_bytes(b"PAR1....PAR1")
    return directory


def _metadata(folder: Path, kind: str, parameters: dict[str, Any]) -> None:
    (folder / "metadata").mkdir(parents=True)
    found = {"class": kind, "sparkVersion": "4.3.0", "paramMap": parameters, "defaultParamMap": {}}
    (folder / "metadata/part-00000-x.txt").write_text(json.dumps(found) + "\n")
    (folder / "metadata/_SUCCESS").write_text("")
    (folder / "metadata/.part-00000-x.txt.crc").write_bytes(b"crc")


def test_a_pipeline_tells_everything(tmp_path: Path) -> None:
    write(tmp_path / "flow", STAGES)
    found = detect(tmp_path)
    assert (found.format, found.serialization.value) == (Format.SPARK, "spark-pipeline")
    assert found.entry == "flow/metadata/part-00000-x.txt"
    assert (found.framework_version, found.function) == ("4.3.0", Function.CLASSIFICATION)
    assert found.algorithm == "PipelineModel (LogisticRegressionModel)"
    assert found.signature is not None
    # The label is only there in training.
    assert {each.name: each.datatype.value for each in found.signature.inputs} == {
        "city": "BYTES",
        "age": "FP64",
    }
    assert scan(tmp_path, found, trust=Trust.NEVER) == ()
    assert requirements(found) == ("pyspark==4.3.*",)


def test_stages_of_a_pipeline_inside_count(tmp_path: Path) -> None:
    write(tmp_path, [(f"{ML}.PipelineModel", {"stageUids": ["inner"]}), STAGES[3]])
    _metadata(tmp_path / "stages/0_stage0/stages/0_inner", *STAGES[2])
    found = detect(tmp_path)
    assert found.notes == ("stages VectorAssembler, LogisticRegressionModel",)
    assert found.signature is not None
    assert [each.name for each in found.signature.inputs] == ["age", "c"]


def test_vectors_are_tables_and_a_stage_that_says_nothing_leaves_the_signature_open(tmp_path: Path) -> None:
    write(
        tmp_path / "a",
        [(f"{ML}.regression.LinearRegressionModel", {"featuresCol": "f", "predictionCol": "p"})],
    )
    found = detect(tmp_path / "a")
    assert found.function is Function.REGRESSION
    assert found.signature is not None
    assert [(each.name, each.shape) for each in found.signature.inputs] == [("f", (-1, -1))]
    write(tmp_path / "b", [(f"{ML}.feature.RFormulaModel", {"featuresCol": "f"}), STAGES[3]])
    assert detect(tmp_path / "b").signature is None


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("pyspark.ml.pipeline.PipelineModel", "written in Python"),
        (f"{ML}.Pipeline", "was not fitted"),
        (f"{ML}.classification.LogisticRegressionModel", "PipelineModel(stages=[model])"),
    ],
)
def test_what_is_no_fitted_pipeline_says_what_to_save(kind: str, said: str, tmp_path: Path) -> None:
    write(tmp_path, [], kind)
    with pytest.raises(Refused) as caught:
        detect(tmp_path)
    assert said in caught.value.message


def test_a_stage_that_is_not_sparks_own_is_named(tmp_path: Path) -> None:
    write(tmp_path, [*STAGES, ("com.example.Evil", {})])
    with pytest.raises(Refused, match=r"stage 4 is a com\.example\.Evil, which is not Spark's own"):
        detect(tmp_path)


def _without_stage(directory: Path) -> None:
    next(directory.glob("stages/2_*/metadata/part-*")).unlink()


def _cut_metadata(directory: Path) -> None:
    path = next(directory.glob("stages/1_*/metadata/part-*"))
    path.write_text(path.read_text()[:40])


def _cut_data(directory: Path) -> None:
    next(directory.glob("stages/3_*/data/*.parquet")).write_bytes(b"PAR1..")


def _empty(directory: Path) -> None:
    next(directory.glob("metadata/part-*")).write_text("")


def _deep(directory: Path) -> None:
    next(directory.glob("metadata/part-*")).write_text("[" * 100_000)


def _no_parameters(directory: Path) -> None:
    next(directory.glob("metadata/part-*")).write_text('{"class": "x"}')


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_without_stage, r"stage 2 \(stage2\) is missing"),
        (_cut_metadata, r"stages/1_stage1/metadata is not whole JSON"),
        (_cut_data, r"stages/3_stage3/data/.* is damaged or cut short"),
        (_empty, "not whole JSON"),
        (_deep, "not whole JSON"),
        (_no_parameters, "not metadata of Spark"),
    ],
)
def test_a_damaged_directory_is_refused_with_the_place(damage: Any, said: str, tmp_path: Path) -> None:
    damage(write(tmp_path, STAGES))
    with pytest.raises((Refused, Invalid), match=said):
        detect(tmp_path)


@pytest.mark.parametrize(
    "call", ["reflect('java.lang.System', 'exit')", "JAVA_METHOD ('java.lang.Runtime', 'x')"]
)
def test_sql_that_calls_java_is_refused_unless_the_project_trusts_it(call: str, tmp_path: Path) -> None:
    write(tmp_path, [(f"{ML}.feature.SQLTransformer", {"statement": f"SELECT {call} FROM __THIS__"})])
    found = detect(tmp_path)
    with pytest.raises(Refused, match="UnsafeContent: the SQL of a stage calls Java methods"):
        scan(tmp_path, found, trust=Trust.SCAN)
    assert "predicting runs SQL" in scan(tmp_path, found, trust=Trust.FULL)[0]


def test_plain_sql_is_told_and_refused_where_nothing_is_trusted(tmp_path: Path) -> None:
    write(tmp_path, [(f"{ML}.feature.SQLTransformer", {"statement": "SELECT *, a + b AS c FROM __THIS__"})])
    found = detect(tmp_path)
    assert scan(tmp_path, found, trust=Trust.SCAN) == (
        "predicting runs SQL: SELECT *, a + b AS c FROM __THIS__",
    )
    with pytest.raises(Refused, match="trust is `never`"):
        scan(tmp_path, found, trust=Trust.NEVER)
