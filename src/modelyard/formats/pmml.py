"""PMML documents: XML that is read piece by piece, without document types and so without entities."""

from __future__ import annotations

import xml.parsers.expat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from modelyard.domain.model import Datatype, Format, Function, Serialization, Signature, TensorSpec
from modelyard.formats import limits
from modelyard.formats.bytesview import Damaged
from modelyard.formats.found import Detected

CHUNK = 256 * 1024
ENCODINGS = frozenset(
    {"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin1", "utf-16", "windows-1252"}
)
NAMESPACE = "http://www.dmg.org/PMML-"
AROUND = frozenset({"Header", "MiningBuildTask", "DataDictionary", "TransformationDictionary", "Extension"})
"""Children of the root that are not the model."""
TARGETS = ("target", "predicted")
USED = ("active", "")
DATATYPES: Mapping[str, Datatype] = {
    "integer": Datatype.INT64,
    "double": Datatype.FP64,
    "float": Datatype.FP32,
    "boolean": Datatype.BOOL,
}
COUNTED = ("dateDaysSince", "dateTimeSecondsSince", "timeSeconds")
"""Dates that are whole numbers of days or seconds."""
FUNCTIONS = {
    "classification": Function.CLASSIFICATION,
    "regression": Function.REGRESSION,
    "clustering": Function.CLUSTERING,
}
Attributes = dict[str, str]


@dataclass(slots=True)
class _Document:
    """What was seen of a document."""

    version: str = ""
    fields: dict[str, Attributes] = field(default_factory=dict)
    """Of the data dictionary, by name."""
    with_missing: set[str] = field(default_factory=set)
    """Fields with values that stand for a missing one."""
    model: str = ""
    """Element of the first model, such as `TreeModel`."""
    about: Attributes = field(default_factory=dict)
    mining: list[Attributes] = field(default_factory=list)
    outputs: list[Attributes] = field(default_factory=list)
    models: int = 0


def read(path: Path, entry: str) -> Detected:
    """Read a PMML document. Raises Damaged when it is not whole, not PMML, or has a document type."""
    document = _parsed(path)
    if not document.model:
        raise Damaged("it holds no model, only a header and a dictionary")
    if document.about.get("isExecutable") == "false":
        raise Damaged("it says of itself that it is not executable; export the whole model")
    warnings: tuple[str, ...] = ()
    if document.models > 1:
        warnings = (f"{entry} holds {document.models} models; the first, a {document.model}, is served",)
    return Detected(
        format=Format.PMML,
        serialization=Serialization.PMML,
        entry=entry,
        algorithm=document.model,
        function=FUNCTIONS.get(document.about.get("functionName", ""), Function.UNKNOWN),
        signature=Signature(
            inputs=tuple(_input(document, each) for each in document.mining if _is_input(each)),
            targets=tuple(_target(document, each) for each in document.mining if _is_target(each)),
            outputs=_outputs(document),
        ),
        notes=(f"PMML {document.version}",),
        warnings=warnings,
    )


def _parsed(path: Path) -> _Document:
    reader = _Reader()
    with path.open("rb") as file:
        try:
            while chunk := file.read(CHUNK):
                reader.parser.Parse(chunk, False)
            reader.parser.Parse(b"", True)
        except xml.parsers.expat.ExpatError as error:
            words = xml.parsers.expat.errors.messages[error.code]
            place = f"line {error.lineno}, column {error.offset + 1}"
            raise Damaged(f"it is not whole XML ({words} at {place})") from None
        except (LookupError, ValueError):
            raise Damaged("its encoding is not known; save it as UTF-8") from None
    return reader.document


class _Reader:
    """Collects facts while a document streams past; what a document type could do never happens."""

    def __init__(self) -> None:
        self.document = _Document()
        self._path: list[str] = []
        self._inside = ""
        self.parser = xml.parsers.expat.ParserCreate(namespace_separator=" ")
        self.parser.XmlDeclHandler = self._declared
        self.parser.StartDoctypeDeclHandler = self._document_type
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end

    def _declared(self, version: str, encoding: str | None, standalone: int) -> None:
        if encoding and encoding.lower() not in ENCODINGS:
            raise Damaged(f"its encoding `{encoding[:40]}` is not taken; save it as UTF-8")

    def _document_type(self, *_: object) -> NoReturn:
        raise Damaged(
            "UnsafeContent: it has a document type (`<!DOCTYPE …>`), whose entities could read files or fill "
            "the memory; PMML needs none: remove it"
        )

    def _start(self, name: str, attributes: Attributes) -> None:
        space, _, tag = name.rpartition(" ")
        self._path.append(tag)
        if len(self._path) > limits.MAX_XML_DEPTH:
            raise Damaged(f"it is nested more than {limits.MAX_XML_DEPTH} levels deep")
        if len(self._path) == 1:
            self._root(space, tag, attributes)
        elif len(self._path) == 2:
            self._part(tag, attributes)
        elif len(self._path) <= 4:
            self._field(tag, attributes)

    def _end(self, _: str) -> None:
        self._path.pop()

    def _root(self, space: str, tag: str, attributes: Attributes) -> None:
        if tag != "PMML" or (space and not space.startswith(NAMESPACE)):
            raise Damaged(f"its root is `{tag[:40]}`, not PMML")
        self.document.version = attributes.get("version", "")
        if not self.document.version:
            raise Damaged("its root has no `version`")

    def _part(self, tag: str, attributes: Attributes) -> None:
        if tag in AROUND:
            return
        self.document.models += 1
        if not self.document.model:
            self.document.model, self.document.about = tag, attributes

    def _field(self, tag: str, attributes: Attributes) -> None:
        document, inside = self.document, self._path[1:-1]
        if inside == ["DataDictionary"] and tag == "DataField":
            self._bounded(document.fields)
            self._inside = attributes.get("name", "")
            document.fields[self._inside] = attributes
        elif inside == ["DataDictionary", "DataField"] and attributes.get("property") == "missing":
            document.with_missing.add(self._inside)
        elif document.models == 1 and inside == [document.model, "MiningSchema"] and tag == "MiningField":
            self._bounded(document.mining)
            document.mining.append(attributes)
        elif document.models == 1 and inside == [document.model, "Output"] and tag == "OutputField":
            self._bounded(document.outputs)
            document.outputs.append(attributes)

    def _bounded(self, collection: object) -> None:
        if isinstance(collection, dict | list) and len(collection) >= limits.MAX_PMML_FIELDS:
            raise Damaged(f"it has more than {limits.MAX_PMML_FIELDS} fields")


def _is_input(mining: Attributes) -> bool:
    return mining.get("usageType", "") in USED


def _is_target(mining: Attributes) -> bool:
    return mining.get("usageType") in TARGETS


def _input(document: _Document, mining: Attributes) -> TensorSpec:
    name = mining.get("name", "")
    declared = document.fields.get(name)
    if declared is None:
        raise Damaged(f"its mining schema names `{name[:60]}`, which its data dictionary does not have")
    kind = _datatype(declared.get("dataType", ""))
    if kind in (Datatype.INT64, Datatype.BOOL) and _may_be_missing(document, mining):
        kind = Datatype.FP64  # only floating-point numbers can say that a value is missing
    return TensorSpec(name=name, datatype=kind, shape=(-1,))


def _may_be_missing(document: _Document, mining: Attributes) -> bool:
    return (
        "missingValueReplacement" in mining
        or mining.get("missingValueTreatment", "returnInvalid") != "returnInvalid"
        or document.about.get("missingValueStrategy", "none") != "none"
        or mining.get("name") in document.with_missing
    )


def _target(document: _Document, mining: Attributes) -> TensorSpec:
    name = mining.get("name", "")
    declared = document.fields.get(name, {})
    return TensorSpec(name=name, datatype=_datatype(declared.get("dataType", "string")), shape=(-1,))


def _outputs(document: _Document) -> tuple[TensorSpec, ...]:
    """The declared outputs; none when one leaves its type to the library that evaluates it."""
    if not all(each.get("dataType") for each in document.outputs):
        return ()
    return tuple(
        TensorSpec(name=each.get("name", ""), datatype=_datatype(each["dataType"]), shape=(-1,))
        for each in document.outputs
    )


def _datatype(name: str) -> Datatype:
    if name.startswith(COUNTED):
        return Datatype.INT64
    return DATATYPES.get(name, Datatype.BYTES)
