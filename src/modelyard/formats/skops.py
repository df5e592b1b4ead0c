"""skops files: a zip with a schema that names every type it would make."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelyard.formats import jsontext, limits
from modelyard.formats.bytesview import Damaged
from modelyard.formats.pickles.values import Global

SCHEMA = "schema.json"
CHUNK = 1024 * 1024
_SAFE_NODES = (
    "BytearrayNode BytesNode CachedNode ConstructorFromReduceNode DTypeNode DefaultDictNode DictNode "
    "FunctionNode JsonNode ListNode LossNode MaskedArrayNode NdArrayNode ObjectNode RandomGeneratorNode "
    "RandomStateNode SetNode SliceNode SparseMatrixNode TreeNode TupleNode TypeNode "
    "_DictWithDeprecatedKeysNode"
)
LOADERS = frozenset(_SAFE_NODES.split())
"""Node kinds that only make the type they name. Left out: methods, partials, operators."""
GENERATOR = "RandomGeneratorNode"
BIT_GENERATORS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")
NAMELESS = frozenset({"CachedNode"})
IMPLIED = frozenset({"builtins.NoneType", "builtins.str"})
"""What plain JSON values are labelled with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """What a skops file says about itself."""

    root: Global
    imports: tuple[Global, ...]
    loaders: tuple[str, ...]
    """Kinds of node that are not among those known to be safe."""
    sklearn_version: str
    features: int
    columns: tuple[str, ...]


def read(path: Path) -> Schema:
    """Read and check a skops file; every member's checksum is verified. Raises Damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            schema = _schema(archive, path.stat().st_size)
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        ValueError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise Damaged(f"it is not a whole zip file ({error})") from None
    nodes = tuple(_nodes(schema))
    attributes = _attributes(schema)
    width = attributes.get("n_features_in_")
    return Schema(
        root=_named(schema),
        imports=tuple(dict.fromkeys(_named(node) for node in nodes if _names_something(node))),
        loaders=tuple(dict.fromkeys(name for name in map(_loader, nodes) if name not in LOADERS)),
        sklearn_version=str(attributes.get("_sklearn_version", "")),
        features=width if type(width) is int and width > 0 else 0,
        columns=_columns(schema),
    )


def _schema(archive: zipfile.ZipFile, size: int) -> dict[str, object]:
    members = archive.infolist()
    names = [member.filename for member in members]
    if len(names) > limits.MAX_ZIP_ENTRIES or len(set(names)) != len(names):
        raise Damaged("it has too many members, or two of the same name")
    if SCHEMA not in names:
        raise Damaged(f"it has no {SCHEMA}, so skops did not write it")
    odd = [name for name in names if name != SCHEMA and not name.endswith((".npy", ".npz"))]
    if odd:
        raise Damaged(f"it holds `{odd[0][:100]}`, which skops does not write")
    if sum(member.file_size for member in members) > size * limits.MAX_INFLATION + limits.INFLATION_FLOOR:
        raise Damaged("it unfolds to far more than its size")
    for member in members:
        with archive.open(member) as file:
            while file.read(CHUNK):
                pass
    if archive.getinfo(SCHEMA).file_size > limits.MAX_SCHEMA:
        raise Damaged(f"its {SCHEMA} is larger than {limits.MAX_SCHEMA} bytes")
    return _parsed(archive.read(SCHEMA))


def _parsed(text: bytes) -> dict[str, object]:
    jsontext.require_nothing_after(text, 0)
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError):
        raise Damaged(f"its {SCHEMA} is not JSON") from None
    if not isinstance(schema, dict) or "__loader__" not in schema:
        raise Damaged(f"its {SCHEMA} describes no object")
    return schema


def _nodes(schema: object) -> Iterator[dict[str, object]]:
    waiting = [schema]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if item.keys() & {"__loader__", "__class__", "__module__"}:
                yield item
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _loader(node: dict[str, object]) -> str:
    """The node's kind; a generator of random numbers also says which, as skops looks that up by name."""
    loader = node.get("__loader__")
    if loader == GENERATOR:
        return _generator(node)
    return loader[:100] if isinstance(loader, str) else "a node without a kind"


def _generator(node: dict[str, object]) -> str:
    inner: object = node
    for key in ("content", "bit_generator", "content", "bit_generator", "content"):
        inner = inner.get(key) if isinstance(inner, dict) else None
    known = isinstance(inner, str) and _plain(inner) in BIT_GENERATORS
    return GENERATOR if known else f"{GENERATOR} of `{str(inner)[:60]}`"


def _names_something(node: dict[str, object]) -> bool:
    return _loader(node) not in NAMELESS and str(_named(node)) not in IMPLIED


def _named(node: dict[str, object]) -> Global:
    module, name = node.get("__module__"), node.get("__class__")
    if not isinstance(module, str) or not isinstance(name, str):
        return Global("", "?")
    return Global(module[:200], name[:200])


def _attributes(schema: dict[str, object]) -> dict[str, object]:
    """The plain values among the root object's attributes."""
    made: dict[str, object] = {}
    for key, node in _content(schema).items():
        if (
            isinstance(node, dict)
            and node.get("__loader__") == "JsonNode"
            and isinstance(node.get("content"), str)
        ):
            made[key] = _plain(str(node["content"]))
    return made


def _content(schema: dict[str, object]) -> dict[str, object]:
    inner = schema.get("content")
    content = inner.get("content") if isinstance(inner, dict) else None
    return content if isinstance(content, dict) else {}


def _columns(schema: dict[str, object]) -> tuple[str, ...]:
    node = _content(schema).get("feature_names_in_")
    found: list[str] = []
    for item in _nodes(node):
        if item.get("__loader__") == "JsonNode" and isinstance(item.get("content"), str):
            value = _plain(str(item["content"]))
            if isinstance(value, str):
                found.append(value)
    return tuple(reversed(found))


def _plain(text: str) -> object:
    try:
        return json.loads(text) if len(text) < limits.KEPT_TEXT else None
    except (ValueError, RecursionError):
        return None
