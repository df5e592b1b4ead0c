"""XGBoost's and LightGBM's own files, skops, Python source, and directories of several things."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy
import pytest
import sklearn
import xgboost
from sklearn.preprocessing import FunctionTransformer

from modelyard.domain.errors import Invalid, ModelyardError, Refused
from modelyard.domain.model import Datatype, Format, Function, Serialization
from modelyard.domain.project import Trust
from modelyard.formats import detect, requirements, scan
from tests.formats import models


@pytest.mark.parametrize("ending", ["json", "ubj"])
@pytest.mark.parametrize(
    ("objective", "function", "outputs"),
    [
        ("multi:softprob", Function.CLASSIFICATION, {"label": (-1,), "probabilities": (-1, 3)}),
        ("binary:logistic", Function.CLASSIFICATION, {"label": (-1,), "probabilities": (-1, 2)}),
        ("reg:squarederror", Function.REGRESSION, {"prediction": (-1,)}),
    ],
)
def test_a_booster_tells_everything(
    ending: str, objective: str, function: Function, outputs: dict[str, tuple[int, ...]], tmp_path: Path
) -> None:
    models.booster(objective).save_model(tmp_path / f"model.{ending}")
    found = detect(tmp_path)
    assert found.format is Format.XGBOOST
    assert found.serialization.value == f"xgboost-{ending}"
    assert (found.framework_version, found.function) == (xgboost.__version__, function)
    assert found.signature is not None
    assert found.signature.inputs[0].columns == ("sl", "sw", "pl", "pw")
    assert {spec.name: spec.shape for spec in found.signature.outputs} == outputs
    assert scan(tmp_path, found, trust=Trust.NEVER) == ()
    major, minor = xgboost.__version__.split(".")[:2]
    assert requirements(found) == (f"xgboost-cpu=={major}.{minor}.*",)


def test_a_booster_under_any_name_is_known_by_its_bytes(tmp_path: Path) -> None:
    models.booster().save_model(tmp_path / "model.ubj")
    (tmp_path / "model.ubj").rename(tmp_path / "booster.model")
    assert detect(tmp_path).serialization is Serialization.XGBOOST_UBJ


def test_json_that_is_no_booster_is_not_a_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"a": 1}')
    with pytest.raises(Refused, match=r"not a model I know: found config\.json; expected"):
        detect(tmp_path)


@pytest.mark.parametrize(
    "data",
    [
        '{"learner": ' + "[" * 100_000,
        '{"learner": ' + "[" * 100_000 + "]" * 100_000 + ', "version": [3,0,0]}',
        '{"learner": {"objective": "x", "learner_model_param": {}}, "version": [3,0,0]}',
        '{"learner": {}, "version": [3,0,0]}',
        '{"learner": {"objective": {"name": "reg:x"}, "learner_model_param": {"num_feature": "9e99"}}} x',
        '{"learner": {"feature_names": "' + "x" * 100,
    ],
)
def test_json_that_is_deep_or_broken_is_refused(data: str, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(data)
    with pytest.raises(Refused, match=r"model\.json"):
        detect(tmp_path)


@pytest.mark.parametrize(
    "data",
    [
        b"{L\0\0\0\0\0\0\0\x07learner" + b"[" * 5000,
        b"{L\0\0\0\0\0\0\0\x07learner[$d#L\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"{L\0\0\0\0\0\0\0\x07learner[#L\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"{L\0\0\0\0\0\0\0\x07learner[$Z#L\x7f\xff\xff\xff\xff\xff\xff\xff}",
        b"{L\0\0\0\0\0\0\0\x07learner[$i}",
        b"{L\0\0\0\0\0\0\0\x07learnerSL\xff\xff\xff\xff\xff\xff\xff\xff}",
        b"{L\0\0\0\0\0\0\0\x07learner{}}",
    ],
)
def test_ubj_with_huge_claims_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.ubj").write_bytes(data)
    with pytest.raises(Refused, match=r"model\.ubj"):
        detect(tmp_path)


@pytest.mark.parametrize(("objective", "classes"), [("multiclass", 3), ("binary", 2)])
def test_lightgbm_text_tells_everything(objective: str, classes: int, tmp_path: Path) -> None:
    (tmp_path / "model.txt").write_text(models.lightgbm_text(objective))
    found = detect(tmp_path)
    assert (found.format, found.serialization) == (Format.LIGHTGBM, Serialization.LIGHTGBM_TEXT)
    assert found.function is Function.CLASSIFICATION
    assert found.signature is not None
    assert found.signature.inputs[0].columns == ("sl", "sw", "pl", "pw")
    assert found.signature.outputs[1].shape == (-1, classes)
    assert requirements(found) == ("lightgbm",)


def test_lightgbm_text_that_lost_a_tree_is_refused(tmp_path: Path) -> None:
    text = models.lightgbm_text()
    start, end = text.index("Tree=3"), text.index("Tree=4")
    (tmp_path / "model.txt").write_text(text[:start] + text[end:])
    with pytest.raises(Refused, match=r"announces 9 trees and 8 are there"):
        detect(tmp_path)


SKOPS = [
    "logistic",
    "random-forest",
    "scaled",
    "mixed-columns",
    "svc",
    "neighbors",
    "gradient-boosting",
    "named-columns",
    "text",
    "voting",
    "hist-gradient-boosting",
    "k-means",
    "calibrated",
    "grid-search",
    "numpy-function",
]


@pytest.mark.parametrize("name", SKOPS)
def test_a_skops_file_is_known_and_admitted_even_without_trust(name: str, tmp_path: Path) -> None:
    (tmp_path / "model.skops").write_bytes(models.skops_bytes(name))
    found = detect(tmp_path)
    assert found.serialization is Serialization.SKOPS
    assert found.framework_version == sklearn.__version__
    assert found.algorithm == type(models.fitted(name)).__name__
    assert scan(tmp_path, found, trust=Trust.NEVER) == ()
    assert "skops" in requirements(found)


def test_a_skops_file_tells_its_columns(tmp_path: Path) -> None:
    (tmp_path / "model.skops").write_bytes(models.skops_bytes("named-columns"))
    signature = detect(tmp_path).signature
    assert signature is not None
    assert signature.inputs[0].columns == ("sl", "sw", "pl", "pw")


def _own(values: numpy.ndarray) -> numpy.ndarray:
    return values


def _changed(change: dict[str, object]) -> bytes:
    """A skops file with one more attribute at its root."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(models.skops_bytes("logistic"))) as old,
        zipfile.ZipFile(buffer, "w") as new,
    ):
        for name in old.namelist():
            data = old.read(name)
            if name == "schema.json":
                schema = json.loads(data)
                schema["content"]["content"]["evil"] = change
                data = json.dumps(schema).encode()
            new.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("node", "word"),
    [
        ({"__class__": "system", "__module__": "os", "__loader__": "FunctionNode"}, "os.system"),
        ({"__class__": "Popen", "__module__": "subprocess", "__loader__": "ObjectNode"}, "subprocess.Popen"),
        (
            {"__class__": "SVC", "__module__": "sklearn.svm._classes", "__loader__": "MethodNode"},
            "MethodNode",
        ),
        (
            {"__class__": "SVC", "__module__": "sklearn.svm._classes", "__loader__": "PartialNode"},
            "PartialNode",
        ),
        (
            {"__class__": "SVC", "__module__": "sklearn.svm._classes", "__loader__": "OperatorFuncNode"},
            "OperatorFunc",
        ),
        ({"__class__": "eval", "__module__": "builtins", "__loader__": "TypeNode"}, "builtins.eval"),
        (
            {
                "__class__": "Generator",
                "__module__": "numpy.random._generator",
                "__loader__": "RandomGeneratorNode",
                "content": {"bit_generator": {"content": {"bit_generator": {"content": '"seterr"'}}}},
            },
            "seterr",
        ),
        ({"__class__": ["x"], "__module__": "builtins", "__loader__": "TypeNode"}, "?"),
        ({"__class__": "system", "__module__": "os", "__loader__": "JsonNode", "content": "1"}, "os.system"),
    ],
)
def test_a_skops_file_with_an_unknown_type_is_refused_by_name(
    node: dict[str, object], word: str, tmp_path: Path
) -> None:
    (tmp_path / "model.skops").write_bytes(_changed(node))
    found = detect(tmp_path)
    with pytest.raises(Refused, match="UnsafeContent") as caught:
        scan(tmp_path, found, trust=Trust.SCAN)
    assert word in caught.value.message


def test_a_skops_file_with_an_own_function_is_refused_by_name(tmp_path: Path) -> None:
    import skops.io

    skops.io.dump(FunctionTransformer(_own).fit(models.IRIS), tmp_path / "m.skops")
    found = detect(tmp_path)
    with pytest.raises(Refused, match=r"UnsafeContent.*_own"):
        scan(tmp_path, found, trust=Trust.SCAN)


def test_a_skops_file_with_something_else_inside_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.skops", "w") as archive:
        archive.writestr("schema.json", "{}")
        archive.writestr("evil.pkl", "x")
    with pytest.raises(Refused, match=r"evil\.pkl"):
        detect(tmp_path)


PYTHON = {
    "class Model:\n    def predict(self, inputs): return inputs\n": "Model",
    "def load(path): return 1\ndef predict(model, inputs): return inputs\n": "load, predict",
    "def predict(inputs): return inputs\n": "predict",
    "from base import Base\nclass Model(Base):\n    pass\n": "Model",
}


@pytest.mark.parametrize("source", PYTHON)
def test_python_source_is_parsed_and_never_run(source: str, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("raise SystemExit('it ran')\n" + source)
    (tmp_path / "weights.pkl").write_bytes(b"anything")
    found = detect(tmp_path)
    assert (found.format, found.entry, found.algorithm) == (Format.PYTHON, "model.py", PYTHON[source])
    assert "Python code" in scan(tmp_path, found, trust=Trust.SCAN)[0]
    with pytest.raises(Refused, match=r"UnsafeContent.*trust is `never`"):
        scan(tmp_path, found, trust=Trust.NEVER)
    assert requirements(found) == ()


@pytest.mark.parametrize(
    ("source", "word"),
    [
        (b"def predict(:\n  pass", "line 1"),
        (b"x = 1\n\nclass Model\n", "line 3"),
        (b"x = (" + b"(" * 5000, "model.py"),
        (b"x = " + b"-" * 200_000 + b"1", "model.py"),
        (b"x = 1\0", "model.py"),
        (b"\xff\xfe\x00", "model.py"),
        (b"x = 1\n", "neither a class `Model`"),
        (b"class Model:\n  def other(self): pass\n", "it defines Model"),
        (b"", "neither a class"),
    ],
)
def test_python_source_that_is_no_model_is_refused_with_the_place(
    source: bytes, word: str, tmp_path: Path
) -> None:
    (tmp_path / "model.py").write_bytes(source)
    with pytest.raises(Refused) as caught:
        detect(tmp_path)
    assert word in caught.value.message


def test_a_syntax_error_in_another_source_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("def predict(inputs): return inputs\n")
    (tmp_path / "features").mkdir()
    (tmp_path / "features/text.py").write_text("\n\nimport\n")
    with pytest.raises(Refused, match=r"features/text\.py` line 3"):
        detect(tmp_path)


def test_a_single_source_file_of_any_name_is_a_model(tmp_path: Path) -> None:
    (tmp_path / "churn.py").write_text("def predict(inputs): return inputs\n")
    assert detect(tmp_path).entry == "churn.py"


def test_a_hint_chooses_between_source_and_file(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("def predict(inputs): return inputs\n")
    models.booster().save_model(tmp_path / "model.ubj")
    assert detect(tmp_path).format is Format.PYTHON
    assert detect(tmp_path, hint=Format.XGBOOST).format is Format.XGBOOST


def test_several_models_are_named_and_the_publisher_is_asked(tmp_path: Path) -> None:
    for name in ("a.ubj", "b.ubj"):
        models.booster().save_model(tmp_path / name)
    with pytest.raises(Invalid, match=r"several models are in it: a\.ubj, b\.ubj.*artifacts"):
        detect(tmp_path)


def test_other_files_beside_the_model_do_not_matter(tmp_path: Path) -> None:
    models.booster().save_model(tmp_path / "model.ubj")
    for name in ("README.md", "requirements.txt", "config.json", ".hidden.pkl"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/x.pkl").write_bytes(b"x")
    assert detect(tmp_path).entry == "model.ubj"


def test_a_model_in_a_folder_is_found(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    models.booster().save_model(tmp_path / "model/model.ubj")
    assert detect(tmp_path).entry == "model/model.ubj"


def test_an_empty_directory_is_invalid(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="there is no file in it"):
        detect(tmp_path)


def _torch(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02cos\nsystem\n.")


@pytest.mark.parametrize(
    ("name", "data", "word"),
    [
        ("model.pt", b"x", "not a file of PyTorch"),
        ("model.h5", b"\x89HDF", "too early"),
        ("model.pmml", b"<PMML/>", "no `version`"),
        ("model.cbm", b"", "empty"),
        ("model.model", b"binf" + b"x" * 50, "old binary format"),
        ("model.xyz", b"x", "not a model I know"),
        ("model.onnx", b"", "empty"),
        ("model.joblib", b"", "too early"),
        ("model.skops", b"", "not a whole zip"),
        ("model.ubj", b"", "empty"),
    ],
)
def test_files_that_cannot_be_served_say_what_to_do(
    name: str, data: bytes, word: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ModelyardError) as caught:
        detect(tmp_path)
    assert word in caught.value.message
    assert name in caught.value.message


def test_a_torch_archive_is_known_whatever_its_name(tmp_path: Path) -> None:
    _torch(tmp_path / "model.pkl")
    with pytest.raises(Refused, match=r"UnsafeContent.*system.*torch.export"):
        detect(tmp_path)


def test_single_precision_models_are_still_tables(tmp_path: Path) -> None:
    (tmp_path / "m.skops").write_bytes(models.skops_bytes("single-precision"))
    signature = detect(tmp_path).signature
    assert signature is not None
    assert signature.inputs[0].datatype is Datatype.FP64
