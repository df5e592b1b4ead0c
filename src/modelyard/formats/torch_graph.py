"""The graph of a `torch.export` archive: what it takes, and what loading would evaluate as code.

PyTorch evaluates the expressions of symbolic shapes, executes guards, and looks up what a node calls by
attribute. All three are compared with what exporting itself writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from modelyard.domain.model import Datatype, Signature, TensorSpec
from modelyard.formats.bytesview import Damaged

DATATYPES = {
    1: Datatype.UINT8, 2: Datatype.INT8, 3: Datatype.INT16, 4: Datatype.INT32, 5: Datatype.INT64,
    6: Datatype.FP16, 7: Datatype.FP32, 8: Datatype.FP64, 12: Datatype.BOOL, 28: Datatype.UINT16,
}  # fmt: skip
"""Numbers of `torch._export.serde.schema.ScalarType`."""

_FUNCTIONS = frozenset(
    (
        "Symbol", "Integer", "Rational", "Float", "Add", "Mul", "Pow", "Max", "Min", "Mod", "PythonMod",
        "FloorDiv", "CleanDiv", "CeilDiv", "CeilToInt", "FloorToInt", "IntTrueDiv", "FloatTrueDiv",
        "TruncToInt", "RoundToInt", "ToFloat", "ModularIndexing", "Where", "Identity", "PowByNatural",
        "FloatPow", "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "And", "Or", "Not", "floor", "ceiling", "Abs",
        "sqrt", "positive", "integer", "nonnegative", "real", "True", "False", "true", "false", "oo",
        "int_oo", "and", "or", "not", "L", "size", "stride", "storage_offset",
    )
)  # fmt: skip
_SYMBOL = re.compile(r"(?:s|u|f|i|zf|zuf|ps|b)[0-9]+")
_QUOTED = re.compile(r"'[A-Za-z_][A-Za-z0-9_]*'")
_NAME = re.compile(r"[A-Za-z_]\w*")
_PUNCTUATION = re.compile(r"[0-9 +*/%(),.=<>!&|~\[\]-]*")
_DOT = re.compile(r"\.(?![0-9]|(?:size|stride|storage_offset)\()")
_CALLS = re.compile(
    r"torch\.ops\.(?!load_library|import_module)[A-Za-z]\w*\.[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)?"
    r"|torch\._?sym_\w+|math\.[a-z]\w*|_operator\.(?:add|sub|mul|floordiv|truediv|mod|neg|pos|pow|abs|getitem"
    r"|eq|ne|lt|le|gt|ge|and_|or_|xor|not_|lshift|rshift|invert|index)"
)
_OPERATORS = frozenset({"__and__", "__or__", "__xor__", "__lshift__", "__rshift__"})
_FILES = re.compile(r"torch\.ops\.aten\.(?:from_file|save|load)\b")
_TREE_TYPES = frozenset(
    {"null", "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}
)
_TREE = re.compile(r'"type"\s*:\s*(?:"([^"]*)"|(null))')


def unsafe(document: dict[str, object]) -> Iterator[str]:
    """Name what loading the graph would evaluate or call that exporting does not write."""
    for key, value in _texts(document, ""):
        if key == "target" and not _harmless_call(value):
            yield f"a node that calls `{value[:80]}`"
        elif key in ("expr_str", "guards_code", "range_constraints") and not harmless(value):
            yield f"an expression that is evaluated, `{value[:80]}`"
        elif key in ("in_spec", "out_spec") and not _harmless_tree(value):
            yield f"containers of another kind, `{value[:80]}`"


def harmless(expression: str) -> bool:
    """Whether an expression consists of symbols, numbers and the functions of symbolic shapes."""
    bare = _QUOTED.sub("", expression)
    names = _NAME.findall(bare)
    known = all(name in _FUNCTIONS or _SYMBOL.fullmatch(name) for name in names)
    return known and bool(_PUNCTUATION.fullmatch(_NAME.sub("", bare))) and not _DOT.search(bare)


def signature(document: dict[str, object]) -> Signature | None:
    """The inputs of the exported `forward`; None when some are not plain tensors. Raises Damaged."""
    try:
        module = document["graph_module"]
        tensors = module["graph"]["tensor_values"]  # type: ignore[index]
        inputs = [_input(each["user_input"], tensors) for each in module["signature"]["input_specs"]  # type: ignore[index]
                  if "user_input" in each]  # fmt: skip
    except (KeyError, TypeError, AttributeError):
        raise Damaged("its graph is not described as torch.export does") from None
    known = [each for each in inputs if each is not None]
    return Signature(inputs=tuple(known)) if known and len(known) == len(inputs) else None


def _input(
    spec: dict[str, dict[str, dict[str, str]]], tensors: dict[str, dict[str, object]]
) -> TensorSpec | None:
    named = spec["arg"].get("as_tensor")
    if named is None:
        return None
    found = tensors[named["name"]]
    datatype, sizes = DATATYPES.get(found["dtype"]), found["sizes"]  # type: ignore[call-overload]
    if datatype is None or not isinstance(sizes, list):
        return None
    shape = tuple(int(size.get("as_int", -1)) for size in sizes)
    return TensorSpec(name=named["name"], datatype=datatype, shape=shape)


def _harmless_call(target: str) -> bool:
    dunder = any(part.startswith("__") and part not in _OPERATORS for part in target.split("."))
    return bool(_CALLS.fullmatch(target)) and not dunder and not _FILES.match(target)


def _harmless_tree(text: str) -> bool:
    kinds = {named or null for named, null in _TREE.findall(text)}
    return kinds <= _TREE_TYPES and "\\u" not in text


def _texts(value: object, key: str) -> Iterator[tuple[str, str]]:
    """Every text below `value` with the nearest key above it; keys of range constraints are texts too."""
    waiting: list[tuple[str, object]] = [(key, value)]
    while waiting:
        name, item = waiting.pop()
        if isinstance(item, str):
            yield name, item
        elif isinstance(item, list):
            waiting.extend((name, each) for each in item)
        elif isinstance(item, dict):
            if name == "range_constraints":
                yield from ((name, str(each)) for each in item)
            waiting.extend((str(inner), each) for inner, each in item.items())
