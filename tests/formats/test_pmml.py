"""PMML documents tell their fields; document types, and with them entities, are refused first of all."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.domain.errors import Invalid, Refused
from modelyard.domain.model import Datatype, Format, Function
from modelyard.domain.project import Trust
from modelyard.formats import detect, limits, requirements, scan

WHOLE = """<?xml version="1.0" encoding="UTF-8"?>
<PMML xmlns="http://www.dmg.org/PMML-4_4" version="4.4"><Header/>
<DataDictionary>
  <DataField name="age" optype="continuous" dataType="integer"/>
  <DataField name="visits" optype="continuous" dataType="integer">
    <Value value="-1" property="missing"/></DataField>
  <DataField name="weight" optype="continuous" dataType="float"/>
  <DataField name="city" optype="categorical" dataType="string"><Value value="Rome"/></DataField>
  <DataField name="member" optype="categorical" dataType="boolean"/>
  <DataField name="since" optype="continuous" dataType="dateDaysSince[1970]"/>
  <DataField name="buys" optype="categorical" dataType="string"/>
</DataDictionary>
<TreeModel functionName="classification"><MiningSchema>
  <MiningField name="age"/><MiningField name="visits"/><MiningField name="weight"/><MiningField name="city"/>
  <MiningField name="member"/><MiningField name="since"/><MiningField name="buys" usageType="target"/>
  <MiningField name="city" usageType="supplementary"/>
</MiningSchema>
<Output><OutputField name="decision" dataType="string" feature="predictedValue"/>
<OutputField name="p" dataType="double" feature="probability" value="yes"/></Output>
<Node><True/><Node><MiningSchema><MiningField name="nowhere"/></MiningSchema></Node></Node></TreeModel></PMML>
"""


def _read(text: str | bytes, directory: Path, name: str = "model.pmml") -> object:
    data = text if isinstance(text, bytes) else text.encode()
    (directory / name).write_bytes(data)
    return detect(directory)


def test_a_document_tells_everything(tmp_path: Path) -> None:
    (tmp_path / "churn.xml").write_text(WHOLE)
    found = detect(tmp_path)
    assert (found.format, found.algorithm, found.function) == (
        Format.PMML,
        "TreeModel",
        Function.CLASSIFICATION,
    )
    assert found.notes == ("PMML 4.4",)
    assert found.signature is not None
    assert {each.name: each.datatype.value for each in found.signature.inputs} == {
        "age": "INT64", "visits": "FP64", "weight": "FP32", "city": "BYTES", "member": "BOOL",
        "since": "INT64",
    }  # fmt: skip
    assert [(each.name, each.datatype) for each in found.signature.targets] == [("buys", Datatype.BYTES)]
    assert [(each.name, each.datatype) for each in found.signature.outputs] == [
        ("decision", Datatype.BYTES),
        ("p", Datatype.FP64),
    ]
    assert scan(tmp_path, found, trust=Trust.NEVER) == ()
    assert requirements(found) == ("pypmml",)


def test_outputs_without_types_are_left_to_the_library(tmp_path: Path) -> None:
    found = _read(WHOLE.replace('name="p" dataType="double"', 'name="p"'), tmp_path)
    assert found.signature.outputs == ()  # type: ignore[attr-defined]


BOMB = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
HOSTILE = {
    "external entity": '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>',
    "entity bomb": f'<!DOCTYPE x [<!ENTITY e0 "ha">{BOMB}]>',
    "external document type": '<!DOCTYPE PMML SYSTEM "http://127.0.0.1:1/x.dtd">',
    "parameter entity": '<!DOCTYPE x [<!ENTITY % e SYSTEM "http://127.0.0.1:1/x.dtd"> %e;]>',
    "empty document type": "<!DOCTYPE PMML>",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_document_type_is_refused(kind: str, tmp_path: Path) -> None:
    text = WHOLE.replace("?>\n", f"?>\n{HOSTILE[kind]}", 1).replace("<Header/>", "<Header>&e;</Header>")
    with pytest.raises(
        Refused, match=r"model\.pmml: UnsafeContent: it has a document type.*remove it"
    ) as caught:
        _read(text, tmp_path)
    assert "root:" not in caught.value.message


def test_a_document_type_in_another_encoding_is_refused_as_well(tmp_path: Path) -> None:
    text = WHOLE.replace("?>\n", f"?>\n{HOSTILE['external entity']}", 1).replace("UTF-8", "UTF-16")
    with pytest.raises(Refused, match="document type"):
        _read(text.encode("utf-16"), tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no element found"),
        (WHOLE[:700], "it is not whole XML"),
        (WHOLE + "<more/>", "junk after document element"),
        (WHOLE.replace("UTF-8", "UTF-7"), "its encoding `UTF-7` is not taken"),
        (WHOLE.replace("UTF-8", "rot13"), "its encoding `rot13` is not taken"),
        (WHOLE.replace("http://www.dmg.org/PMML-4_4", "urn:other"), "its root is `PMML`, not PMML"),
        (WHOLE.replace(' version="4.4"', ""), "its root has no `version`"),
        (WHOLE.replace('name="age" optype', 'name="years" optype'), "mining schema names `age`"),
        (WHOLE.replace("<TreeModel ", '<TreeModel isExecutable="false" '), "not executable"),
        ('<PMML version="4.4"><Header/><DataDictionary/></PMML>', "it holds no model"),
        ('<PMML version="4.4">' + "<a>" * (limits.MAX_XML_DEPTH + 5), "levels deep"),
        ("<html><body/></html>", "its root is `html`"),
    ],
)
def test_what_is_not_a_whole_document_is_refused(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises((Refused, Invalid)) as caught:
        _read(text, tmp_path)
    assert said in caught.value.message
    assert "model.pmml" in caught.value.message


def test_too_many_fields_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_PMML_FIELDS", 3)
    with pytest.raises(Refused, match="more than 3 fields"):
        _read(WHOLE, tmp_path)


def test_the_first_of_several_models_is_served_with_a_warning(tmp_path: Path) -> None:
    found = _read(WHOLE.replace("</PMML>", '<ClusteringModel functionName="clustering"/></PMML>'), tmp_path)
    assert found.algorithm == "TreeModel"  # type: ignore[attr-defined]
    assert "holds 2 models" in found.warnings[0]  # type: ignore[attr-defined]
