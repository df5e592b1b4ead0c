"""Models that are Python source code: parsed, never executed."""

from __future__ import annotations

import ast
import contextlib
import threading
import warnings
from pathlib import Path

from modelyard.domain.model import Format, Serialization
from modelyard.formats import limits
from modelyard.formats.bytesview import Damaged
from modelyard.formats.found import Detected

_PARSING = threading.Lock()
"""The parser of Python 3.11 fails when threads use it at once; so do the filters of warnings."""
_ATTEMPTS = 5
"""Formatting a traceback, in whatever thread, uses that parser too and knows no lock of ours."""

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def read(directory: Path, entry: str, sources: tuple[str, ...]) -> Detected:
    """Parse every source file and see what `entry` defines. Raises Damaged with the file and line."""
    for name in sources:
        parse(directory / name, name)
    defined = {
        node.name: node for node in parse(directory / entry, entry).body if isinstance(node, Definition)
    }
    model, predict = defined.get("Model"), defined.get("predict")
    if isinstance(model, ast.ClassDef) and _has_method(model, "predict"):
        algorithm = "Model"
    elif isinstance(predict, ast.FunctionDef):
        algorithm = "load, predict" if "load" in defined else "predict"
    else:
        raise Damaged(
            "it defines neither a class `Model` with a method `predict` nor a function `predict`"
            + (f"; it defines {', '.join(sorted(defined))[:200]}" if defined else "")
        )
    return Detected(
        format=Format.PYTHON,
        serialization=Serialization.PYTHON,
        entry=entry,
        algorithm=algorithm,
        notes=tuple(
            f"`{name}` is called around every prediction"
            for name in ("preprocess", "postprocess")
            if name in defined
        ),
    )


def parse(path: Path, name: str) -> ast.Module:
    """Parse one file. Raises Damaged when it is no Python, naming the line."""
    if path.stat().st_size > limits.MAX_SOURCE:
        raise Damaged(f"`{name}` is larger than {limits.MAX_SOURCE} bytes, too large for source code")
    try:
        return _tree(path.read_bytes(), name)
    except SyntaxError as error:
        raise Damaged(f"`{name}` line {error.lineno or '?'}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise Damaged(f"`{name}` cannot be parsed: {error}") from None


def _tree(source: bytes, name: str) -> ast.Module:
    with _PARSING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(_ATTEMPTS - 1):
            with contextlib.suppress(SystemError):
                return ast.parse(source, filename=name)
        return ast.parse(source, filename=name)


def _has_method(node: ast.ClassDef, name: str) -> bool:
    own = any(
        isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and item.name == name for item in node.body
    )
    return own or bool(node.bases)
