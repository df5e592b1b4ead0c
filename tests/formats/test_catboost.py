"""CatBoost's own files tell what the model takes and gives, and nothing is believed that is not there."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import catboost
import pytest

from modelyard.domain.errors import Refused
from modelyard.domain.model import Datatype, Format, Function
from modelyard.domain.project import Trust
from modelyard.formats import detect, requirements, scan
from tests.formats import models


@pytest.mark.parametrize("form", ["cbm", "json"])
def test_a_classifier_tells_everything(form: str, tmp_path: Path) -> None:
    (tmp_path / f"model.{form}").write_bytes(models.catboost_bytes(form))
    found = detect(tmp_path)
    assert (found.format, found.serialization.value) == (Format.CATBOOST, f"catboost-{form}")
    assert (found.function, found.algorithm) == (Function.CLASSIFICATION, "CatBoost (MultiClass)")
    assert found.framework_version == catboost.__version__
    assert found.signature is not None
    assert {each.name: each.datatype for each in found.signature.inputs} == {
        "age": Datatype.FP64,
        "city": Datatype.BYTES,
    }
    label, probabilities = found.signature.outputs
    assert (label.datatype, probabilities.shape) == (Datatype.BYTES, (-1, 3))
    assert probabilities.columns == ("no", "perhaps", "yes")
    assert scan(tmp_path, found, trust=Trust.NEVER) == ()
    major, minor = catboost.__version__.split(".")[:2]
    assert requirements(found) == (f"catboost=={major}.{minor}.*",)


def test_a_regressor_takes_one_table(tmp_path: Path) -> None:
    (tmp_path / "model.cbm").write_bytes(models.catboost_bytes(kind="regressor"))
    found = detect(tmp_path)
    assert found.function is Function.REGRESSION
    assert found.signature is not None
    assert [(each.name, each.shape) for each in found.signature.inputs] == [("input", (-1, 4))]
    assert [(each.name, each.shape) for each in found.signature.outputs] == [("prediction", (-1,))]


def test_a_file_is_known_by_its_bytes_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(models.catboost_bytes())
    assert detect(tmp_path).format is Format.CATBOOST


def _changed(**changes: object) -> str:
    whole = json.loads(models.catboost_bytes("json"))
    return json.dumps({**whole, **changes})


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"CBM1", "too early"),
        (b"CBM1" + struct.pack("<I", 1 << 31) + b"x" * 20, "its trees are not all there"),
        (b"CBM1" + struct.pack("<I", 12) + b"\xff" * 12, "an offset points outside"),
        (models.catboost_bytes(kind="regressor") + b"x", "something follows the end"),
        (models.catboost_bytes()[:-3], "something follows|too early"),
    ],
)
def test_a_damaged_binary_file_is_refused(data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "model.cbm").write_bytes(data)
    with pytest.raises(Refused, match=rf"model\.cbm: .*({said})"):
        detect(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"features_info": {}}', "no trees"),
        (_changed(features_info=[]), "is not an object"),
        (_changed(features_info={"float_features": [{"flat_feature_index": -1}]}), "has no place"),
        (_changed(features_info={"float_features": [{"flat_feature_index": 10**9}]}), "has no place"),
        (_changed(features_info={"float_features": ["x"]}), "has no place"),
        (_changed() + " {}", "something follows"),
    ],
)
def test_a_damaged_json_file_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(Refused, match=rf"model\.json: .*{said}"):
        detect(tmp_path)


def test_words_about_training_that_are_no_json_leave_the_function_open(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(_changed(model_info={"params": "{", "class_params": 3}))
    found = detect(tmp_path)
    assert (found.function, found.algorithm) == (Function.UNKNOWN, "CatBoost")
