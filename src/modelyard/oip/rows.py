"""The rows dialect: tables as records or split, answered in the same orientation.

| request                                   | answer                                    | names of outputs |
|-------------------------------------------|-------------------------------------------|------------------|
| `{"args":{"X": TABLE}}`                   | `{"result": TABLE}`                       | DaaS             |
| `{"X": TABLE}`                            | `{"result": TABLE}`                       | the signature's  |
| `{"rows": TABLE}`                         | `{"rows": TABLE}`                         | the signature's  |
| TABLE                                     | TABLE                                     | the signature's  |

A TABLE is records `[{"a":1,"b":2}]`, or split `{"columns":["a","b"],"data":[[1,2]]}`, or plain rows
`[[1,2]]` in the signature's order (answered as records).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from modelyard.oip.document import load_json, parameters_at, timeout_at
from modelyard.oip.errors import Rejected, shown
from modelyard.oip.model import Query, ServedModel
from modelyard.oip.rows_answer import Orientation, render_table
from modelyard.oip.rows_tensors import tensors_for
from modelyard.oip.signature import check_given

EXPECTED = (
    'rows such as [{"a":1,"b":2}], {"columns":["a","b"],"data":[[1,2]]}, {"rows":[…]} or {"args":{"X":[…]}}'
)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows as a client sent them, each a list in the order of `columns`."""

    columns: tuple[str, ...] | None
    """None for plain rows without names."""
    rows: list[list[Any]]
    path: str
    records: bool
    """Whether the client sent records; cells are then named, else numbered, in errors."""

    def place(self, row: int, column: int) -> str:
        """The path of a cell."""
        if self.records and self.columns:
            return f"{self.path}[{row}].{self.columns[column]}"
        body = self.path if self.columns is None else (f"{self.path}.data" if self.path else "data")
        return f"{body}[{row}][{column}]"


def parse_rows(body: bytes, model: ServedModel) -> Query:
    """Read a table and turn it into the tensors of the model's signature.

    Raises Rejected with the place of the mistake.
    """
    document = load_json(body, expected=EXPECTED)
    content, path, envelope, daas = _unwrapped(document)
    table = table_of(content, path)
    if not table.rows:
        raise Rejected(path, "there are no rows to predict")
    inputs = tensors_for(table.columns, table.rows, model.signature, path=path, place=table.place)
    check_given(model.signature, inputs, path)
    parameters = parameters_at(document, "parameters") if isinstance(document, dict) else {}
    orientation = Orientation(envelope, split=isinstance(content, dict), daas=daas, rows=len(table.rows))
    return Query(
        inputs=inputs,
        render=partial(render_table, orientation=orientation),
        parameters=parameters,
        timeout_seconds=timeout_at(parameters, "parameters"),
    )


def _unwrapped(document: Any) -> tuple[Any, str, str, bool]:
    """The table, its path, the key its answer is wrapped in, and whether outputs get DaaS names."""
    if isinstance(document, list):
        return document, "", "", False
    if isinstance(document, dict):
        if "args" in document:
            arguments = document["args"]
            if not isinstance(arguments, dict) or "X" not in arguments:
                raise Rejected("args", f'expected an object with "X", got {shown(arguments)}')
            return arguments["X"], "args.X", "result", True
        for key, envelope in (("X", "result"), ("rows", "rows")):
            if key in document:
                return document[key], key, envelope, False
        if "columns" in document and "data" in document:
            return document, "", "", False
    raise Rejected("", f"expected {EXPECTED}, got {shown(document)}")


def table_of(content: Any, path: str) -> Table:
    """The table in any of the forms; raises Rejected."""
    if isinstance(content, dict):
        return split_table(content, path)
    if not isinstance(content, list):
        raise Rejected(path, f"expected a list of rows, got {shown(content)}")
    if content and isinstance(content[0], dict):
        return records_table(content, path)
    for index, row in enumerate(content):
        if not isinstance(row, list):
            raise Rejected(f"{path}[{index}]", f"expected a row as an object or a list, got {shown(row)}")
    return Table(None, content, path, records=False)


def split_table(content: dict[str, Any], path: str) -> Table:
    """The table in `{"columns": […], "data": [[…]]}`; raises Rejected."""
    below = f"{path}." if path else ""
    columns, data = content.get("columns"), content.get("data")
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise Rejected(f"{below}columns", f"expected a list of names, got {shown(columns)}")
    if len(set(columns)) != len(columns):
        raise Rejected(f"{below}columns", "a name is there twice")
    if not isinstance(data, list):
        raise Rejected(f"{below}data", f"expected a list of rows, got {shown(data)}")
    for index, row in enumerate(data):
        if not isinstance(row, list):
            raise Rejected(f"{below}data[{index}]", f"expected a list of values, got {shown(row)}")
        if len(row) != len(columns):
            raise Rejected(f"{below}data[{index}]", f"expected {len(columns)} values, got {len(row)}")
    return Table(tuple(columns), data, path, records=False)


def records_table(content: list[Any], path: str) -> Table:
    """The table in a list of objects with the same keys; raises Rejected."""
    columns = tuple(content[0])
    names = set(columns)
    rows: list[list[Any]] = []
    for index, record in enumerate(content):
        if not isinstance(record, dict):
            raise Rejected(f"{path}[{index}]", f"expected an object like the first row, got {shown(record)}")
        if record.keys() != names:
            odd = sorted(record.keys() ^ names)[0]
            problem = "is missing here" if odd in names else "is not in the first row"
            raise Rejected(
                f"{path}[{index}]", f"column {shown(odd)} {problem}: rows must have the same columns"
            )
        rows.append([record[name] for name in columns])
    return Table(columns, rows, path, records=True)
