"""Texts of problems: whatever a file is called, the answer can be sent."""

from __future__ import annotations

import orjson

from modelyard.api import problems
from modelyard.domain.errors import FieldError, Refused

NAME = b"mod\xe8le.onnx".decode(errors="surrogateescape")


def test_names_that_are_no_utf_8_do_not_break_the_answer() -> None:
    error = Refused(f"{NAME}: is a link", errors=[FieldError(NAME, f"{NAME} is a link")])
    answer = problems.from_error(error, protocol=True)
    said = orjson.loads(answer.body)
    assert said["detail"] == said["error"] == "mod?le.onnx: is a link"
    assert said["errors"] == [{"path": "mod?le.onnx", "message": "mod?le.onnx is a link"}]
