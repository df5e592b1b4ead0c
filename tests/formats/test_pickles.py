"""Really fitted estimators are known and admitted, in every way they can be written."""

from __future__ import annotations

import pickle
from pathlib import Path

import joblib
import numpy
import pytest
import sklearn
import xgboost
from sklearn.base import BaseEstimator
from sklearn.preprocessing import FunctionTransformer

from modelyard.domain.errors import Invalid, Refused
from modelyard.domain.model import Datatype, Format, Function, Serialization
from modelyard.domain.project import Trust
from modelyard.formats import detect, requirements, scan
from tests.formats import models

MINOR = ".".join(sklearn.__version__.split(".")[:2])


@pytest.mark.parametrize("name", models.NAMES)
def test_a_fitted_estimator_is_known_and_admitted_as_joblib_and_pickle(name: str, tmp_path: Path) -> None:
    model = models.fitted(name)
    for protocol in (2, 4, 5):
        for file, write in (
            ("model.joblib", lambda path, p=protocol: joblib.dump(model, path, protocol=p)),
            ("model.pkl", lambda path, p=protocol: path.write_bytes(pickle.dumps(model, p))),
        ):
            directory = tmp_path / f"{protocol}{file}"
            directory.mkdir()
            write(directory / file)
            found = detect(directory)
            assert found.algorithm == type(model).__name__
            assert found.entry == file
            assert scan(directory, found, trust=Trust.SCAN) == ()


def test_there_are_enough_kinds_of_estimators_here() -> None:
    assert len(models.NAMES) >= 60


@pytest.mark.parametrize("compress", [("zlib", 3), ("gzip", 3), ("bz2", 3), ("lzma", 1), ("xz", 1)])
@pytest.mark.parametrize("name", ["random-forest", "named-columns"])
def test_compressed_files_are_read(name: str, compress: tuple[str, int], tmp_path: Path) -> None:
    joblib.dump(models.fitted(name), tmp_path / "model.joblib", compress=compress)
    found = detect(tmp_path)
    assert found.serialization is Serialization.JOBLIB
    assert found.framework_version == sklearn.__version__
    assert scan(tmp_path, found, trust=Trust.SCAN) == ()


def test_a_compressed_file_named_for_its_compression_is_read(tmp_path: Path) -> None:
    joblib.dump(models.fitted("logistic"), tmp_path / "model.pkl.gz")
    assert detect(tmp_path).serialization is Serialization.JOBLIB


def test_lz4_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "model.joblib").write_bytes(b"\x04\x22\x4d\x18" + b"x" * 100)
    with pytest.raises(Refused, match=r"lz4.*joblib\.dump"):
        detect(tmp_path)


@pytest.mark.parametrize(
    ("name", "format", "function"),
    [
        ("logistic", Format.SKLEARN, Function.CLASSIFICATION),
        ("scaled", Format.SKLEARN, Function.CLASSIFICATION),
        ("grid-search", Format.SKLEARN, Function.CLASSIFICATION),
        ("mixed-columns", Format.SKLEARN, Function.CLASSIFICATION),
        ("xgb-pipeline", Format.SKLEARN, Function.CLASSIFICATION),
        ("linear", Format.SKLEARN, Function.REGRESSION),
        ("lasso-cv", Format.SKLEARN, Function.REGRESSION),
        ("stacking", Format.SKLEARN, Function.REGRESSION),
        ("k-means", Format.SKLEARN, Function.CLUSTERING),
        ("mixture", Format.SKLEARN, Function.CLUSTERING),
        ("svd", Format.SKLEARN, Function.UNKNOWN),
        ("xgb-classifier", Format.XGBOOST, Function.CLASSIFICATION),
        ("xgb-regressor", Format.XGBOOST, Function.REGRESSION),
        ("lgbm-classifier", Format.LIGHTGBM, Function.CLASSIFICATION),
        ("lgbm-regressor", Format.LIGHTGBM, Function.REGRESSION),
    ],
)
def test_format_and_function_are_those_of_the_model_that_answers(
    name: str, format: Format, function: Function, tmp_path: Path
) -> None:
    joblib.dump(models.fitted(name), tmp_path / "m.joblib")
    found = detect(tmp_path)
    assert (found.format, found.function) == (format, function)


def test_columns_and_version_are_read_from_the_file(tmp_path: Path) -> None:
    for write in (joblib.dump, lambda model, path: path.write_bytes(pickle.dumps(model))):
        write(models.fitted("named-columns"), tmp_path / "m.pkl")
        found = detect(tmp_path)
        assert found.framework_version == sklearn.__version__
        assert found.signature is not None
        (tensor,) = found.signature.inputs
        assert (tensor.name, tensor.datatype, tensor.shape) == ("input", Datatype.FP64, (-1, 4))
        assert tensor.columns == ("sl", "sw", "pl", "pw")
        assert found.notes == ("classes 0, 1, 2",)


def test_unnamed_columns_are_counted(tmp_path: Path) -> None:
    joblib.dump(models.fitted("scaled"), tmp_path / "m.joblib")
    signature = detect(tmp_path).signature
    assert signature is not None
    assert signature.inputs[0].columns == ("x0", "x1", "x2", "x3")


def test_columns_of_different_types_are_left_to_the_validation(tmp_path: Path) -> None:
    joblib.dump(models.fitted("mixed-columns"), tmp_path / "m.joblib")
    assert detect(tmp_path).signature is None


@pytest.mark.parametrize("name", ["xgb-classifier", "xgb-regressor"])
def test_a_booster_in_a_pickle_tells_its_version_and_width(name: str, tmp_path: Path) -> None:
    joblib.dump(models.fitted(name), tmp_path / "m.joblib")
    found = detect(tmp_path)
    assert found.framework_version == xgboost.__version__
    assert found.signature is not None
    assert found.signature.inputs[0].shape == (-1, models.fitted(name).n_features_in_)


def test_requirements_name_the_libraries_and_the_minor(tmp_path: Path) -> None:
    def of(name: str, file: str = "m.joblib") -> tuple[str, ...]:
        joblib.dump(models.fitted(name), tmp_path / file)
        return requirements(detect(tmp_path))

    assert of("logistic") == (f"scikit-learn=={MINOR}.*",)
    assert of("mixed-columns")[0] == f"scikit-learn=={MINOR}.*"
    xgb = ".".join(xgboost.__version__.split(".")[:2])
    assert of("xgb-classifier")[0] == f"xgboost-cpu=={xgb}.*"
    assert "xgboost-cpu" in of("xgb-pipeline")
    assert set(of("lgbm-classifier")) >= {"lightgbm", "scikit-learn"}


def test_trust_never_refuses_every_pickle_and_full_admits_with_a_note(tmp_path: Path) -> None:
    joblib.dump(models.fitted("logistic"), tmp_path / "m.joblib")
    found = detect(tmp_path)
    with pytest.raises(Refused, match=r"UnsafeContent.*trust is `never`.*skops"):
        scan(tmp_path, found, trust=Trust.NEVER)
    assert "pickle" in scan(tmp_path, found, trust=Trust.FULL)[0]


def twice(values: numpy.ndarray) -> numpy.ndarray:
    return values * 2


class OwnEstimator(BaseEstimator):
    def predict(self, values: numpy.ndarray) -> numpy.ndarray:
        return values


def test_a_users_own_function_is_refused_by_name(tmp_path: Path) -> None:
    joblib.dump(FunctionTransformer(twice).fit(models.IRIS), tmp_path / "m.joblib")
    found = detect(tmp_path)
    with pytest.raises(Refused, match=r"UnsafeContent.*test_pickles\.twice"):
        scan(tmp_path, found, trust=Trust.SCAN)
    assert "twice" in scan(tmp_path, found, trust=Trust.FULL)[0]


def test_an_own_estimator_needs_its_format_said_and_full_trust(tmp_path: Path) -> None:
    joblib.dump(OwnEstimator(), tmp_path / "m.joblib")
    with pytest.raises(Refused, match=r"UnsafeContent.*OwnEstimator"):
        detect(tmp_path)
    found = detect(tmp_path, hint=Format.SKLEARN)
    assert found.algorithm == "OwnEstimator"
    with pytest.raises(Refused, match="OwnEstimator"):
        scan(tmp_path, found, trust=Trust.SCAN)
    assert "OwnEstimator" in scan(tmp_path, found, trust=Trust.FULL)[0]


@pytest.mark.parametrize("value", [{"model": 1}, [1, 2], "text", 3, None, numpy.arange(5)])
def test_what_is_no_estimator_is_refused_with_what_it_is(value: object, tmp_path: Path) -> None:
    joblib.dump(value, tmp_path / "m.joblib")
    with pytest.raises(Refused, match="not an estimator"):
        detect(tmp_path)


def test_a_wrong_hint_is_invalid(tmp_path: Path) -> None:
    joblib.dump(models.fitted("logistic"), tmp_path / "m.joblib")
    with pytest.raises(Invalid, match="format says xgboost"):
        detect(tmp_path, hint=Format.XGBOOST)
    with pytest.raises(Invalid, match="not a onnx model"):
        detect(tmp_path, hint=Format.ONNX)
