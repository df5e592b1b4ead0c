"""PyTorch, Keras and TensorFlow files are known, described and judged without their frameworks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modelyard.domain.errors import Refused
from modelyard.domain.model import Datatype, Format, Serialization, TensorSpec
from modelyard.domain.project import Trust
from modelyard.formats import Detected, detect, requirements, scan
from tests.formats import networks
from tests.formats.networks import Call

MODULE = "import torch\n\n\nclass Model(torch.nn.Module):\n    def forward(self, x):\n        return x\n"
SYSTEM = Call("posix", "system", "true")


def scanned(directory: Path, *, trust: Trust = Trust.SCAN) -> tuple[Detected, tuple[str, ...]]:
    found = detect(directory)
    return found, scan(directory, found, trust=trust)


def refusal(directory: Path, *, trust: Trust = Trust.SCAN) -> str:
    with pytest.raises(Refused) as caught:
        scanned(directory, trust=trust)
    return caught.value.message


def test_torchscript_is_known_and_asks_for_torch(tmp_path: Path) -> None:
    networks.script(tmp_path / "model.pt")
    found, _ = scanned(tmp_path)
    assert (found.format, found.serialization) == (Format.TORCH, Serialization.TORCHSCRIPT)
    assert (found.algorithm, found.signature) == ("Net", None)
    assert requirements(found) == ("torch",)


def test_an_exported_program_declares_its_inputs_and_its_version(tmp_path: Path) -> None:
    networks.exported(tmp_path / "model.pt2", data__sample_inputs__model=b"")
    found, _ = scanned(tmp_path)
    assert found.serialization is Serialization.TORCH_EXPORT
    assert found.signature is not None
    assert found.signature.inputs == (TensorSpec(name="x", datatype=Datatype.FP32, shape=(-1, 4)),)
    assert requirements(found) == ("torch==2.13.*",)
    assert found.warnings == ()


def test_a_program_that_was_exported_for_one_size_only_is_told(tmp_path: Path) -> None:
    networks.exported(tmp_path / "model.pt2")
    text = (tmp_path / "model.pt2").read_bytes()
    assert b"as_expr" in text
    sizes = {"x": {"dtype": 7, "sizes": [{"as_int": 3}, {"as_int": 4}]}}
    graph = {"graph_module": {"graph": {"tensor_values": sizes}, "signature": {"input_specs": [
        {"user_input": {"arg": {"as_tensor": {"name": "x"}}}}]}}}  # fmt: skip
    networks.exported(tmp_path / "model.pt2", graph=graph)
    assert "exactly 3 rows" in detect(tmp_path).warnings[0]


@pytest.mark.parametrize("wrapped", ["plain", "state_dict", "model"])
def test_weights_with_the_source_of_their_module_are_a_model(wrapped: str, tmp_path: Path) -> None:
    state = networks.state()
    networks.weights(tmp_path / "weights.pt", state if wrapped == "plain" else {wrapped: state, "epoch": 3})
    (tmp_path / "model.py").write_text(MODULE)
    found, notes = scanned(tmp_path)
    assert (found.serialization, found.entry) == (Serialization.TORCH_WEIGHTS, "weights.pt")
    assert "Python code" in notes[0]
    assert "trust is `never`" in refusal(tmp_path, trust=Trust.NEVER)


def test_weights_alone_say_what_is_missing(tmp_path: Path) -> None:
    networks.weights(tmp_path / "weights.pt")
    message = refusal(tmp_path)
    assert "weights only (2 tensors)" in message
    assert "model.py" in message


def test_a_python_model_with_its_own_predict_keeps_its_weights_beside_it(tmp_path: Path) -> None:
    networks.weights(tmp_path / "weights.pt")
    (tmp_path / "model.py").write_text(
        "class Model:\n    def predict(self, inputs):\n        return inputs\n"
    )
    assert detect(tmp_path).format is Format.PYTHON


def test_safetensors_with_source_are_a_model_and_a_truncated_one_is_refused(tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    whole = len(header).to_bytes(8, "little") + header + bytes(8)
    (tmp_path / "model.safetensors").write_bytes(whole)
    assert "weights only (1 tensors)" in refusal(tmp_path)
    (tmp_path / "model.py").write_text(MODULE)
    found, _ = scanned(tmp_path)
    assert found.serialization is Serialization.SAFETENSORS
    assert requirements(found) == ("torch", "safetensors")
    (tmp_path / "model.safetensors").write_bytes(whole[:-1])
    assert "truncated" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("write", "named"),
    [
        (lambda p: networks.weights(p, SYSTEM), "posix.system"),
        (lambda p: networks.weights(p, {"a": networks.tensor("0", 1), "b": SYSTEM}), "posix.system"),
        (lambda p: networks.script(p, **{"more.pkl": networks.pickled(SYSTEM)}), "posix.system"),
        (lambda p: networks.script(p, code="  torch.save(x, 'f')\n"), "torch.save"),
        (lambda p: networks.script(p, code="y = ops.aten.from_file('f')\n"), "ops.aten.from_file"),
        (lambda p: networks.script(p, code="y = ['#', torch. # c\n  save (x, 'f')]\n"), "torch.save"),
        (lambda p: networks.script(p, code="y = '\n"), "cannot be read as code"),
        (lambda p: networks.weights(p, {**networks.state(), "b": Call("torch.hub", "load", "x")}), "hub"),
        (lambda p: networks.weights(p, {**networks.state(), "b": Call("torch", "load", "x")}), "torch.load"),
    ],
)  # fmt: skip
def test_what_would_run_code_while_it_loads_is_refused_before_that(
    write: Any, named: str, tmp_path: Path
) -> None:
    write(tmp_path / "model.pt")
    (tmp_path / "model.py").write_text(MODULE)
    message = refusal(tmp_path)
    assert "UnsafeContent" in message
    assert named in message


@pytest.mark.parametrize(
    ("graph", "named"),
    [
        ({"range_constraints": {"__import__('os')": {}}}, "__import__"),
        ({"guards_code": ["print(1)"]}, "print"),
        ({"guards_code": ["L['x'].device"]}, "device"),
        ({"guards_code": ["s0 == 1\n)"]}, "s0 == 1"),
        ({"nodes": [{"target": "torch.hub.load"}]}, "torch.hub.load"),
        ({"nodes": [{"target": "torch.ops.load_library"}]}, "load_library"),
        ({"nodes": [{"target": "torch.ops.aten.__class__.mro"}]}, "__class__"),
        ({"nodes": [{"target": "torch.ops.aten.from_file.default"}]}, "from_file"),
        ({"nodes": [{"target": "_operator.methodcaller"}]}, "methodcaller"),
        ({"sizes": [networks.symbol("().__class__")]}, "__class__"),
        ({"sizes": [networks.symbol("Symbol('s0').subs(1)")]}, "subs"),
        ({"in_spec": '[1, {"type": "enum.Enum", "context": "os"}]'}, "enum"),
    ],
)
def test_an_exported_graph_that_would_evaluate_code_is_refused(
    graph: dict[str, Any], named: str, tmp_path: Path
) -> None:
    networks.exported(tmp_path / "model.pt2", graph=graph)
    message = refusal(tmp_path)
    assert "UnsafeContent" in message
    assert named in message


def test_pickles_and_native_code_inside_an_exported_program_are_found(tmp_path: Path) -> None:
    inner = networks.weights(tmp_path / "inner", SYSTEM).read_bytes()
    (tmp_path / "inner").unlink()
    path = tmp_path / "model.pt2"
    networks.exported(path, **{"data/sample_inputs/model.pt": inner})
    assert "posix.system" in refusal(tmp_path)
    networks.exported(path, **{"data/aotinductor/m/a.so": b"\x7fELF"})
    assert "native code" in refusal(tmp_path)
    networks.exported(path, **{"data/constants/opaque_obj_0": b"x"})
    assert "custom object" in refusal(tmp_path)
    networks.exported(path)
    assert "trust is `never`" in refusal(tmp_path, trust=Trust.NEVER)


@pytest.mark.parametrize("entry", [{"use_pickle": True}, {"use_pickle": 1}, {}])
@pytest.mark.parametrize("folder", ["weights", "constants"])
def test_a_plain_pickle_among_the_weights_of_an_exported_program_is_refused(
    entry: dict[str, Any], folder: str, tmp_path: Path
) -> None:
    table = json.dumps({"config": {"w": {"path_name": "weight_0", **entry}}}).encode()
    members = {f"data/{folder}/model_{folder}_config.json": table, f"data/{folder}/weight_0": b"\x80\x02."}
    networks.exported(tmp_path / "model.pt2", **members)
    assert "would be unpickled" in refusal(tmp_path)
    outside = json.dumps({"config": {"w": {"path_name": "../../x", **entry}}}).encode()
    networks.exported(tmp_path / "model.pt2", **{**members, next(iter(members)): outside})
    assert "not beside it" in refusal(tmp_path)


def test_a_second_graph_under_another_name_is_not_overlooked(tmp_path: Path) -> None:
    networks.exported(tmp_path / "model.pt2", **{"models/other": b"{}"})
    assert "2 exported programs" in refusal(tmp_path)


def test_a_project_that_trusts_fully_admits_what_is_named(tmp_path: Path) -> None:
    networks.script(tmp_path / "model.pt", code="  torch.save(x, 'f')\n")
    _, notes = scanned(tmp_path, trust=Trust.FULL)
    assert "torch.save" in notes[0]


@pytest.mark.parametrize("share", [0.2, 0.6, 0.98])
@pytest.mark.parametrize("write", [networks.script, networks.exported, networks.weights, networks.keras])
def test_a_truncated_archive_is_refused(write: Any, share: float, tmp_path: Path) -> None:
    path = write(tmp_path / ("model.keras" if write is networks.keras else "model.pt"))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert "not a whole zip file" in refusal(tmp_path)


def test_a_plain_pickle_under_the_name_of_a_torch_file_is_refused_by_what_it_imports(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(networks.pickled(SYSTEM))
    assert "UnsafeContent" in refusal(tmp_path)
    (tmp_path / "model.pt").write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")
    assert "before 1.6" in refusal(tmp_path)


def test_a_keras_archive_declares_its_inputs_and_its_version(tmp_path: Path) -> None:
    networks.keras(tmp_path / "model.keras", networks.keras_layer("Dense", units=2, activation="relu"))
    found, _ = scanned(tmp_path)
    assert (found.format, found.serialization) == (Format.KERAS, Serialization.KERAS)
    assert found.signature is not None
    assert found.signature.inputs == (TensorSpec(name="x", datatype=Datatype.FP32, shape=(-1, 4)),)
    assert requirements(found) == ("keras==3.15.*", "tensorflow-cpu")


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (networks.keras_layer("Lambda", function={"class_name": "__lambda__", "config": {}}), "Lambda"),
        (networks.keras_layer("TFSMLayer", filepath="/tmp/x"), "TFSMLayer"),
        (networks.keras_layer("TorchModuleWrapper"), "TorchModuleWrapper"),
        (networks.keras_layer("system", module="os"), "os.system"),
        (networks.keras_layer("get_file", module="keras.utils"), "keras.utils"),
        (networks.keras_layer("Own", module="__main__"), "__main__.Own"),
        (networks.keras_layer("StringLookup", vocabulary="/etc/passwd"), "/etc/passwd"),
        (networks.keras_layer("mine>Own"), "mine>Own"),
        (networks.keras_layer("Dense", activation={"module": "builtins", "class_name": "function",
                                                   "config": "os.system"}), "os.system"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_a_keras_model_with_code_in_it_is_refused_unless_trusted(
    layer: dict[str, Any], named: str, kind: str, tmp_path: Path
) -> None:
    if kind == "keras":
        networks.keras(tmp_path / "model.keras", networks.keras_layer("Dropout"), layer)
    else:
        networks.h5(tmp_path / "model.h5", model_config=networks.keras_config(layer))
    message = refusal(tmp_path)
    assert "UnsafeContent" in message
    assert named in message
    assert "model.py" in message
    _, notes = scanned(tmp_path, trust=Trust.FULL)
    assert named in notes[0]


def test_code_in_what_is_not_loaded_does_not_matter(tmp_path: Path) -> None:
    networks.keras(
        tmp_path / "model.keras", compile_config={"loss": networks.keras_layer("mine", module="os")}
    )
    assert scanned(tmp_path)[1] == ()


def test_an_h5_model_is_read_without_the_library(tmp_path: Path) -> None:
    config = networks.keras_config(networks.keras_layer("Dense", units=2))
    networks.h5(tmp_path / "model.h5", keras_version="3.15.1", model_config=config)
    found, _ = scanned(tmp_path)
    assert (found.serialization, found.framework_version) == (Serialization.KERAS_H5, "3.15.1")
    assert found.signature is not None
    assert found.signature.inputs[0].shape == (-1, 4)


def test_an_h5_file_of_another_kind_or_of_an_older_keras_is_told(tmp_path: Path) -> None:
    path = networks.h5(tmp_path / "model.h5", keras_version="2.15.0", model_config=networks.keras_config())
    assert "Keras 2.15.0" in detect(tmp_path).warnings[0]
    assert requirements(detect(tmp_path))[0] == "keras"
    networks.h5(path, keras_version="3.15.1")
    assert "weights only" in refusal(tmp_path)
    whole = networks.h5(path, model_config=networks.keras_config()).read_bytes()
    path.write_bytes(whole[:-100])
    assert "too early" in refusal(tmp_path)
    path.write_bytes(whole.replace(b"GCOL", b"GCOX"))
    assert "outside its heap" in refusal(tmp_path)
    path.write_bytes(whole.replace(b"\x89HDF", b"\x89HDX"))
    assert "not an HDF5 file" in refusal(tmp_path)


def test_two_configurations_in_one_h5_file_are_refused(tmp_path: Path) -> None:
    path = networks.h5(tmp_path / "m.h5", model_config=networks.keras_config(), model_confih="{}")
    path.write_bytes(path.read_bytes().replace(b"model_confih", b"model_config"))
    assert "two attributes" in refusal(tmp_path)


def test_a_saved_model_tells_its_serving_signature(tmp_path: Path) -> None:
    networks.saved_model(tmp_path / "export", "MatMul")
    found, notes = scanned(tmp_path)
    assert (found.serialization, found.entry) == (Serialization.SAVED_MODEL, "export/saved_model.pb")
    assert found.signature is not None
    assert found.signature.inputs == (TensorSpec(name="x", datatype=Datatype.FP32, shape=(-1, 3)),)
    assert found.signature.outputs == (TensorSpec(name="y", datatype=Datatype.FP32, shape=(-1, 2)),)
    assert requirements(found) == ("tensorflow-cpu==2.20.*",)
    assert notes == ()


@pytest.mark.parametrize("operation", ["WriteFile", "ReadFile", "EagerPyFunc"])
def test_a_saved_model_that_reaches_outside_its_graph_is_refused_unless_trusted(
    operation: str, tmp_path: Path
) -> None:
    networks.saved_model(tmp_path, "MatMul", operation)
    assert f"the operation {operation}" in refusal(tmp_path)
    assert operation in scanned(tmp_path, trust=Trust.FULL)[1][0]


def test_a_saved_model_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    networks.saved_model(tmp_path / "a", variables=False)
    assert "variables are missing" in refusal(tmp_path / "a")
    networks.saved_model(tmp_path / "b")
    (tmp_path / "b/variables/variables.data-00000-of-00001").rename(
        tmp_path / "b/variables/variables.data-00000-of-00002"
    )
    assert "part 1 of its 2 parts" in refusal(tmp_path / "b")
    networks.saved_model(tmp_path / "c", signature="__saved_model_init_op")
    assert "no signature `serving_default`" in refusal(tmp_path / "c")
    networks.saved_model(tmp_path / "d")
    file = tmp_path / "d/saved_model.pb"
    file.write_bytes(file.read_bytes()[:-5])
    assert "ends too early" in refusal(tmp_path / "d")
