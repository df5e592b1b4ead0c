"""PyTorch models in the process that answers for them, with PyTorch itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.frameworks.models import agrees, config
from tests.worker import process

DECLARED = ("cnn-export", "mlp-export")
SAMPLED = ("mlp-script", "mlp-safetensors", "mlp-weights", "pair-trace")


@pytest.mark.parametrize("name", DECLARED)
def test_an_exported_program_says_its_inputs_and_answers_as_pytorch_does(
    name: str, torch_python: Path, torch_models: dict[str, Any], tmp_path: Path
) -> None:
    written = torch_models[name]
    inspected = process.inspect(config(written), tmp_path, python=torch_python)
    (spec,) = inspected.result["signature"]["inputs"]
    ((given, rows),) = written["inputs"].items()
    assert (spec["name"], spec["datatype"], spec["shape"][0]) == (given, "FP32", -1)
    assert inspected.result["device"] == "PyTorch device: CPU"
    assert inspected.stdout.splitlines() == ["PyTorch device: CPU"]
    assert inspected.result["framework_version"] == "2.13.0"
    signature = inspected.result["signature"]
    answer = process.ask(torch_python, config(written, signature=signature), {"rows": rows}, tmp_path)
    agrees(answer.result["outputs"], written["expected"])


@pytest.mark.parametrize("name", SAMPLED)
def test_a_model_without_shapes_takes_them_from_its_sample(
    name: str, torch_python: Path, torch_models: dict[str, Any], tmp_path: Path
) -> None:
    written = torch_models[name]
    inputs = written["inputs"]
    sample = {"input": next(iter(inputs.values()))} if len(inputs) == 1 else inputs
    result = process.inspect(config(written, sample=sample), tmp_path, python=torch_python).result
    signature = result["signature"]
    assert [each["name"] for each in signature["inputs"]] == list(inputs)
    assert signature["sample"] == {key: [rows[0]] for key, rows in inputs.items()}
    agrees(result["sample_outputs"], written["expected"], rows=1)


def test_the_signature_that_an_inspection_found_is_enough_to_answer(
    torch_python: Path, torch_models: dict[str, Any], tmp_path: Path
) -> None:
    written = torch_models["pair-trace"]
    shapes = {"tokens": ("INT64", [-1, 3]), "weight": ("FP32", [-1, 1])}
    inputs = [{"name": name, "datatype": kind, "shape": shape} for name, (kind, shape) in shapes.items()]
    said = {"inputs": inputs}
    answer = process.ask(
        torch_python, config(written, signature=said), {"inputs": written["inputs"]}, tmp_path
    )
    agrees(answer.result["outputs"], written["expected"])


@pytest.mark.parametrize("name", ["mlp-script", "mlp-export"])
def test_names_of_a_signature_that_the_network_does_not_use_stand_for_its_own_in_order(
    name: str, torch_python: Path, torch_models: dict[str, Any], tmp_path: Path
) -> None:
    written = torch_models[name]
    said = {
        "inputs": [{"name": "INPUT__0", "datatype": "FP32", "shape": [-1, 2]}],
        "outputs": [{"name": "OUTPUT__0", "datatype": "FP32", "shape": [-1, 3]}],
    }
    request = {"inputs": {"INPUT__0": written["inputs"]["points"]}}
    answer = process.ask(torch_python, config(written, signature=said), request, tmp_path)
    agrees(answer.result["outputs"], {"OUTPUT__0": written["expected"]["output"]})


def test_without_a_sample_it_is_said_how_to_publish_one(
    torch_python: Path, torch_models: dict[str, Any], tmp_path: Path
) -> None:
    reason, message = process.inspect(
        config(torch_models["mlp-script"]), tmp_path, python=torch_python
    ).failure
    assert reason == "SignatureMismatch"
    assert '`--sample sample.json` that holds {"points": [[…]]}' in message


def test_whole_numbers_in_a_sample_are_what_the_network_computes_with(
    torch_python: Path, torch_models: dict[str, Any], tmp_path: Path
) -> None:
    result = process.inspect(
        config(torch_models["mlp-script"], sample=[[1, 2]]), tmp_path, python=torch_python
    ).result
    assert result["signature"]["inputs"][0]["datatype"] == "FP32"


def test_a_row_of_another_width_is_the_clients_mistake(
    torch_python: Path, torch_models: dict[str, Any], tmp_path: Path
) -> None:
    written = torch_models["mlp-export"]
    reason, message = process.ask(
        torch_python, config(written), {"inputs": {"points": [[1.0, 2.0, 3.0]]}}, tmp_path
    ).failure
    assert (reason, message) == ("SignatureMismatch", "inputs.points: expected 2 columns, got 3")


def test_a_program_for_three_rows_takes_three_rows(
    torch_python: Path, torch_models: dict[str, Any], tmp_path: Path
) -> None:
    written = torch_models["mlp-fixed"]
    result = process.inspect(config(written, sample=written["inputs"]), tmp_path, python=torch_python).result
    assert result["signature"]["inputs"][0]["shape"] == [3, 2]
    agrees(result["sample_outputs"], written["expected"])
    one = {"inputs": {"points": written["inputs"]["points"][:1]}}
    assert "expected 3 in dimension 0" in process.ask(torch_python, config(written), one, tmp_path).failure[1]


def test_weights_that_do_not_fit_their_source_are_named(
    torch_python: Path, torch_models: dict[str, Any], tmp_path: Path
) -> None:
    written = torch_models["mlp-weights"]
    directory = tmp_path / "model"
    directory.mkdir()
    for path in Path(written["directory"]).iterdir():
        (directory / path.name).write_bytes(path.read_bytes())
    (directory / "config.json").write_text('{"hidden": 8}')
    changed = {**written, "directory": str(directory)}
    reason, message = process.inspect(
        config(changed, sample=[[1.0, 2.0]]), tmp_path, python=torch_python
    ).failure
    assert reason == "ModelLoadFailed"
    assert "first.weight is [16, 2] and not [8, 2]" in message
    assert "config.json" in message


def test_threads_are_those_of_the_configuration_and_dropout_is_off(
    torch_python: Path, torch_models: dict[str, Any], tmp_path: Path
) -> None:
    written = torch_models["mlp-weights"]
    directory = tmp_path / "model"
    directory.mkdir()
    for path in Path(written["directory"]).iterdir():
        (directory / path.name).write_bytes(path.read_bytes())
    source = (directory / "model.py").read_text()
    shown = "torch.get_num_threads(), self.training, torch.is_inference_mode_enabled()"
    check = f"        print('threads', {shown})\n"
    source = source.replace("        return torch.softmax", check + "        return torch.softmax")
    (directory / "model.py").write_text(source)
    changed = {**written, "directory": str(directory)}
    inspected = process.inspect(
        config(changed, sample=[[1.0, 2.0]], threads=2), tmp_path, python=torch_python
    )
    assert "threads 2 False True" in inspected.stdout.splitlines()


def test_a_signature_that_the_file_contradicts_is_named(
    torch_python: Path, torch_models: dict[str, Any], tmp_path: Path
) -> None:
    said = {"inputs": [{"name": "points", "datatype": "FP32", "shape": [-1, 7], "columns": []}]}
    reason, message = process.inspect(
        config(torch_models["mlp-export"], signature=said), tmp_path, python=torch_python
    ).failure
    assert reason == "SignatureMismatch"
    assert "signature.inputs[0].shape" in message
