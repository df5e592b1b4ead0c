"""Reading what users hand over on the command line: JSON, CSV, YAML."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

from modelyard.domain import documents
from modelyard.domain.errors import FieldError, Invalid


def given(data: str | None, file: Path | None) -> Any:
    """The value of `-d JSON` or `-f FILE` (`-` is standard input); None when neither was given."""
    if data is not None and file is not None:
        raise _invalid("--data", "give either -d or -f, not both")
    if data is not None:
        return parse_json(data, "--data")
    if file is None:
        return None
    if file.suffix == ".csv":
        return _csv(file)
    return parse_json(read(file), str(file))


def parse_json(text: str, name: str) -> Any:
    """JSON from text. Raises Invalid with line and column."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise _invalid(name, f"not JSON at {where}: {error.msg}") from None
    except (RecursionError, ValueError):
        raise _invalid(name, "not usable JSON: it is nested too deeply, or has too long a number") from None


def parse_yaml(file: Path) -> list[Any]:
    """The documents of a YAML or JSON file. Raises Invalid."""
    return [document for document in documents.read(read(file), str(file)) if document is not None]


def read(file: Path) -> str:
    """The text of a file, or of standard input for `-`. Raises Invalid."""
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise _invalid(str(file), f"cannot be read: {error}") from None


def pairs(values: list[str], name: str) -> dict[str, str]:
    """`KEY=VALUE` options; an `=` in the value is kept. Raises Invalid."""
    split = [value.partition("=") for value in values]
    wrong = [key for key, equals, _ in split if not equals]
    if wrong:
        raise _invalid(name, f"`{wrong[0]}` has no `=`; write {name} KEY=VALUE")
    return {key: value for key, _, value in split}


def form(values: list[str]) -> dict[str, Any]:
    """`FIELD=@FILE`, `FIELD=TEXT`, `FIELD:=JSON` options; the same field twice is a batch. Raises Invalid."""
    fields: dict[str, list[Any]] = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not name.strip(":"):
            raise _invalid("--form", f"`{value}` has no field; write FIELD=@FILE, FIELD=TEXT or FIELD:=JSON")
        if name.endswith(":"):
            fields.setdefault(name[:-1], []).append(parse_json(text, "--form"))
        else:
            fields.setdefault(name, []).append(Path(text[1:]) if text.startswith("@") else text)
    return {name: given if len(given) > 1 else given[0] for name, given in fields.items()}


def seconds(text: str, name: str) -> float:
    """A duration such as `60`, `60s`, `5m` or `1h`. Raises Invalid."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (text[:-1], text[-1]) if text[-1:] in units else (text, "s")
    try:
        value = float(number) * units[unit]
    except ValueError:
        raise _invalid(name, f"{text} is not a duration; write it as 60s, 5m or 1h") from None
    if not 0 < value < 1e7:
        raise _invalid(name, f"{text} is not a usable duration; write it as 60s, 5m or 1h")
    return value


def _csv(file: Path) -> list[dict[str, Any]]:
    reader, rows = csv.DictReader(read(file).splitlines()), []
    for row in reader:
        if None in row:
            message = f"line {reader.line_num} has more values than the first line has names"
            raise _invalid(str(file), f"{message}; quote values that hold a comma")
        rows.append({key: _number(value) for key, value in row.items()})
    return rows


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except (TypeError, ValueError):
            continue
    return text


def _invalid(name: str, message: str) -> Invalid:
    return Invalid(f"{name}: {message}", errors=[FieldError(name, message)])
