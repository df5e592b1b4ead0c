"""MLflow directories are read without MLflow, and held to the project's trust."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest
import yaml

from modelyard.domain.errors import Invalid, Refused
from modelyard.domain.model import Datatype, Format, Serialization, TensorSpec
from modelyard.domain.project import Trust
from modelyard.formats import detect, scan
from tests.formats import models
from tests.support import packages

EXAMPLE = packages.models.iris_frame().iloc[:2]


def rewritten(directory: Path, **changes: Any) -> Path:
    """The package with other words in its MLmodel."""
    path = directory / "MLmodel"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))
    return directory


def test_a_plain_flavor_is_a_model_of_its_own_library_with_all_that_mlflow_recorded(tmp_path: Path) -> None:
    packages.mlflow_sklearn(tmp_path / "m", serialization_format="cloudpickle")
    found = detect(rewritten(tmp_path / "m", run_id="0f1e2d"))
    assert (found.format, found.serialization, found.entry) == (
        Format.SKLEARN, Serialization.PICKLE, "model.pkl",
    )  # fmt: skip
    assert found.declared is not None
    assert found.declared.inputs[0] == TensorSpec(name="sepal_length", datatype=Datatype.FP64, shape=(-1,))
    assert found.declared.sample == {name: [EXAMPLE[name].iloc[0]] for name in EXAMPLE.columns}
    assert found.source_run == "0f1e2d"
    assert found.requirements.packages == ("scikit-learn", "pandas", "numpy")
    assert found.requirements.python.startswith("3.")
    assert scan(tmp_path / "m", found, trust=Trust.SCAN) == ()
    with pytest.raises(Refused, match="is a pickle, and the project's trust is `never`"):
        scan(tmp_path / "m", found, trust=Trust.NEVER)


def test_a_package_in_a_folder_is_found_and_mlflow_itself_can_be_asked_for(tmp_path: Path) -> None:
    packages.mlflow_sklearn(tmp_path / "run" / "model")
    assert detect(tmp_path).entry == "run/model/model.skops"
    found = detect(tmp_path, hint=Format.MLFLOW)
    assert (found.format, found.entry) == (Format.MLFLOW, "run/model/MLmodel")
    with pytest.raises(Invalid, match="is a sklearn model"):
        detect(tmp_path, hint=Format.XGBOOST)


@pytest.mark.parametrize(
    ("flavor", "name", "format"),
    [("xgboost", "xgb-classifier", Format.XGBOOST), ("lightgbm", "lgbm-classifier", Format.LIGHTGBM)],
)
def test_boosters_are_read_as_their_own_files(flavor: str, name: str, format: Format, tmp_path: Path) -> None:
    key = {"xgboost": "xgb_model", "lightgbm": "lgb_model"}[flavor]
    packages.saved(flavor, tmp_path / "m", **{key: models.fitted(name)})
    found = detect(tmp_path / "m")
    assert found.format is format
    assert scan(tmp_path / "m", found, trust=Trust.SCAN) == ()


def test_a_graph_says_its_own_tensors_and_a_table_only_names_its_columns(tmp_path: Path) -> None:
    import onnx

    graph = onnx.load_model_from_string(models.onnx_bytes())
    signature = packages.inferred(EXAMPLE, numpy.array([0, 1]))
    packages.saved("onnx", tmp_path / "m", onnx_model=graph, signature=signature, input_example=EXAMPLE)
    found = detect(tmp_path / "m")
    assert found.format is Format.ONNX
    assert found.declared is not None
    (only,) = found.declared.inputs
    assert (only.datatype, only.shape, only.columns) == (Datatype.FP32, (-1, 4), tuple(EXAMPLE.columns))
    assert found.declared.sample == {only.name: [EXAMPLE.iloc[0].tolist()]}


def test_tensors_keep_their_names_and_shapes(tmp_path: Path) -> None:
    array = numpy.zeros((2, 4))
    packages.mlflow_sklearn(
        tmp_path / "m", signature=packages.inferred(array, array[:, 0]), input_example=array
    )
    declared = detect(tmp_path / "m").declared
    assert declared is not None
    assert declared.inputs == (TensorSpec(name="input", datatype=Datatype.FP64, shape=(-1, 4)),)
    assert declared.sample == {"input": [[0.0, 0.0, 0.0, 0.0]]}


def test_code_is_a_python_model_and_asks_for_trust(tmp_path: Path) -> None:
    packages.mlflow_code(tmp_path / "m")
    found = detect(tmp_path / "m")
    assert (found.format, found.algorithm) == (Format.MLFLOW, "mlflow.pyfunc.loaders.code_model")
    assert "comes with Python code" in scan(tmp_path / "m", found, trust=Trust.SCAN)[0]
    with pytest.raises(Refused, match=r"may run code of the package, and the project's trust is `never`"):
        scan(tmp_path / "m", found, trust=Trust.NEVER)


def test_a_pickled_python_model_is_refused_by_name_and_says_how_to_trust(tmp_path: Path) -> None:
    packages.mlflow_pickled(tmp_path / "m")
    found = detect(tmp_path / "m")
    with pytest.raises(
        Refused, match=r"(?s)UnsafeContent.*cloudpickle.*in python_model\.pkl.*trust to `full`"
    ):
        scan(tmp_path / "m", found, trust=Trust.SCAN)
    assert "admitted" in scan(tmp_path / "m", found, trust=Trust.FULL)[0]


@pytest.mark.parametrize("name", ["model.dat", "model.txt"])
def test_a_pickle_that_does_not_look_like_one_is_not_loaded(name: str, tmp_path: Path) -> None:
    packages.mlflow_code(tmp_path)
    (tmp_path / name).write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    flavors = {"python_function": {"loader_module": "mlflow.sklearn", "model_path": name}}
    found = detect(rewritten(tmp_path, flavors=flavors))
    with pytest.raises(Refused, match=rf"UnsafeContent.*{name} \(of no known kind"):
        scan(tmp_path, found, trust=Trust.SCAN)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flavors": {}}, "no `flavors`"),
        ({"flavors": {"spark": {"model_data": "x"}}}, "no flavor python_function, only spark"),
        ({"signature": {"inputs": "{"}}, r"`signature\.inputs` is not JSON"),
        (
            {"signature": {"inputs": '[{"type": "vector", "name": "x"}]'}},
            r"`signature\.inputs\[0\]` has type `vector`",
        ),
        ({"signature": {"inputs": '[{"type": "tensor", "name": "x"}]'}}, "no `tensor-spec`"),
        ({"flavors": {"sklearn": {"pickled_model": "../model.pkl"}}}, "not among its files"),
        ({"flavors": {"sklearn": {"pickled_model": "other.pkl"}}}, r"names `other\.pkl`"),
    ],
)
def test_a_package_that_is_damaged_is_refused_with_the_field(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    packages.mlflow_sklearn(tmp_path)
    with pytest.raises(Refused, match=f"MLmodel: .*{message}"):
        detect(rewritten(tmp_path, **change))


@pytest.mark.parametrize("text", ["flavors: [", "!!python/object/apply:os.system ['true']", "\x00", "- 1"])
def test_an_mlmodel_that_is_no_plain_yaml_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text(text)
    with pytest.raises(Refused, match=r"MLmodel: it (is not YAML|has no `flavors`)"):
        detect(tmp_path)
