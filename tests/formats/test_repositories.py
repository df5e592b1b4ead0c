"""Which models a path holds, as other servers lay them out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.errors import NotFound
from modelyard.domain.model import Datatype, Format, TensorSpec
from modelyard.formats.bytesview import Damaged
from modelyard.formats.repositories import Candidate, find, pbtxt

TRITON = """
name: "served"  # another name than the directory's
platform: "onnxruntime_onnx"
max_batch_size: 8
input [
  { name: "X" data_type: TYPE_FP32 dims: [ 4 ] },
  { name: 'words', data_type: TYPE_STRING; dims: 1 }
]
output { name: "Y" data_type: TYPE_INT64 dims: [ -1, 2 ] }
"""


def lay(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def only(path: Path) -> Candidate:
    (found,) = find(path)
    return found


def test_a_file_is_one_model_whatever_lies_beside_it(tmp_path: Path) -> None:
    lay(tmp_path, {"iris.v2.joblib": "x", "other.txt": "y"})
    found = only(tmp_path / "iris.v2.joblib")
    assert (found.name, found.directory, found.entry) == ("iris", tmp_path, "iris.v2.joblib")


def test_a_directory_with_files_is_one_model(tmp_path: Path) -> None:
    found = only(lay(tmp_path / "churn", {"model.py": "x", "sub/data.txt": "y"}))
    assert (found.name, found.entry) == ("churn", "")


def test_directories_alone_are_a_model_each(tmp_path: Path) -> None:
    lay(tmp_path, {"b/model.onnx": "", "a/model.txt": "", ".git/x": "", "__pycache__/x": ""})
    assert [candidate.name for candidate in find(tmp_path)] == ["a", "b"]


def test_nothing_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no file or directory at"):
        find(tmp_path / "none")


def test_tritons_configuration_tells_name_tensors_and_versions(tmp_path: Path) -> None:
    lay(
        tmp_path,
        {"m/1/model.onnx": "", "m/2/model.onnx": "", "m/10/model.onnx": "", "m/config.pbtxt": TRITON},
    )
    found = only(tmp_path)
    assert (found.name, found.version, found.entry) == ("served", "10", "model.onnx")
    assert found.signature is not None
    assert found.signature.inputs == (
        TensorSpec(name="X", datatype=Datatype.FP32, shape=(-1, 4)),
        TensorSpec(name="words", datatype=Datatype.BYTES, shape=(-1, 1)),
    )
    assert found.signature.outputs[0].shape == (-1, -1, 2)


@pytest.mark.parametrize(
    ("policy", "versions"),
    [
        ("", ["10"]),
        ("version_policy: { latest { num_versions: 2 } }", ["10", "2"]),
        ("version_policy { all { } }", ["10", "2", "1"]),
        ("version_policy: { specific: { versions: [1, 10] } }", ["10", "1"]),
    ],
)
def test_tritons_version_policies(tmp_path: Path, policy: str, versions: list[str]) -> None:
    files = {f"m/{version}/model.onnx": "" for version in ("1", "2", "10", "0", "notes")}
    lay(tmp_path, files | {"m/config.pbtxt": policy})
    assert [candidate.version for candidate in find(tmp_path)] == versions


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            'backend: "python"',
            "needs Triton's backend `python`, which is not here: write it as a Python model",
        ),
        ('platform: "ensemble"', "needs Triton's backend `ensemble`"),
        ('backend: "tensorrt"', "export the model as ONNX"),
        ("input [ { name: 'X' data_type: TYPE_X dims: 1 } ]", "input[0].data_type: TYPE_X is not known"),
        ("input [ { dims: 1 } ]", "input[0]: a name is missing"),
        ("max_batch_size: many", "max_batch_size: a whole number was expected, found 'many'"),
        ("input [ {", "line 1: a field's name was expected"),
        ("a: }", "a value was expected before this"),
        ("a: \x01", "is not protocol-buffer text"),
        ("version_policy: { newest { } }", "version_policy: newest is not known"),
        ("a {" * 40, "more than 20 messages in one another"),
    ],
)
def test_what_triton_would_serve_and_we_cannot_says_why(tmp_path: Path, config: str, words: str) -> None:
    lay(tmp_path, {"m/1/model.x": "", "m/config.pbtxt": config})
    assert words in only(tmp_path).problem


def test_a_model_of_tritons_without_a_version_says_so(tmp_path: Path) -> None:
    lay(tmp_path, {"m/config.pbtxt": "", "n/1/model.onnx": ""})
    assert "m has no version to serve" in find(tmp_path)[0].problem


def test_a_whole_saved_model_is_its_directory(tmp_path: Path) -> None:
    lay(tmp_path, {"m/1/model.savedmodel/saved_model.pb": "", "m/config.pbtxt": 'backend: "tensorflow"'})
    found = only(tmp_path)
    assert (found.directory.name, found.entry, found.problem) == ("model.savedmodel", "", "")


@given(st.text(alphabet="ab:{}[]<>,;\"' 1\n#", max_size=60))
def test_any_configuration_is_read_or_refused(text: str) -> None:
    try:
        pbtxt.parse(text)
    except Damaged as error:
        assert "line " in str(error)  # noqa: PT017 - hypothesis needs both outcomes


def settings(**more: object) -> str:
    return json.dumps({"name": "skl", "implementation": "mlserver_sklearn.SKLearnModel"} | more)


def test_mlservers_settings_tell_name_version_format_and_file(tmp_path: Path) -> None:
    parameters = {"uri": "./files/model.joblib", "version": "v1"}
    inputs = [{"name": "input", "datatype": "FP64", "shape": [-1, 4]}]
    lay(
        tmp_path,
        {
            "one/model-settings.json": settings(parameters=parameters, inputs=inputs),
            "one/files/model.joblib": "",
        },
    )
    found = only(tmp_path)
    assert (found.name, found.version, found.format) == ("skl", "v1", Format.SKLEARN)
    assert (found.directory.name, found.entry) == ("files", "model.joblib")
    assert found.signature is not None
    assert found.signature.inputs[0].shape == (-1, 4)
    assert only(tmp_path / "one") == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "model-settings.json: "),
        ("[]", "it must be an object"),
        (settings(implementation="mine.Model"), "is served by mine.Model, which is not here: write it as"),
        (settings(parameters={"uri": "s3://b/m"}), "parameters.uri: s3://b/m is not on this machine"),
        (settings(parameters={"uri": "none.joblib"}), "there is nothing at none.joblib"),
        (settings(inputs=[{"name": "x"}]), "inputs[0]: expected name, datatype and shape"),
        (settings(inputs=[7]), "inputs[0]: expected name, datatype and shape"),
    ],
)
def test_settings_of_mlserver_that_cannot_be_followed_say_why(tmp_path: Path, text: str, words: str) -> None:
    lay(tmp_path, {"model-settings.json": text})
    assert words in only(tmp_path).problem
