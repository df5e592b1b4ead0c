"""multipart/form-data that lies in memory, as the fields of a form; every size is bounded."""

from __future__ import annotations

import re
from dataclasses import dataclass

from modelyard.oip.errors import Rejected

MOST_PARTS = 256
MOST_HEADER = 8 * 1024
MOST_NAME = 200
_BOUNDARY = re.compile(rb';\s*boundary=(?:"([^"\r\n]{1,70})"|([^\s;",]{1,70}))', re.IGNORECASE)
_DISPOSITION = re.compile(rb"^content-disposition:\s*form-data\s*(;[^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_KIND = re.compile(rb"^content-type:\s*([^\s;]+)", re.IGNORECASE | re.MULTILINE)
_NAME = re.compile(rb';\s*name="((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_FILENAME = re.compile(rb";\s*filename\*?=", re.IGNORECASE)
_ESCAPES = {"%22": '"', "%0D": "\r", "%0A": "\n", '\\"': '"', "\\\\": "\\"}
_ESCAPED = re.compile(r'%22|%0D|%0A|\\"|\\\\')


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form."""

    name: str
    data: bytes
    is_file: bool
    kind: str
    """Its content type, lower case; empty when it has none."""


def parse_form(content_type: bytes, body: bytes) -> tuple[Part, ...]:
    """The parts of a form in order. Raises Rejected, saying what is wrong, for a malformed or cut one."""
    boundary = _boundary(content_type)
    opening, delimiter = b"--" + boundary, b"\r\n--" + boundary
    at = 0 if body.startswith(opening) else body.find(delimiter)
    if at < 0:
        raise Rejected("", f'the body has no part: nothing begins with "--{_shown(boundary)}"')
    at += len(opening) if at == 0 and body.startswith(opening) else len(delimiter)
    parts: list[Part] = []
    while not body.startswith(b"--", at):
        start = _after_line(body, at)
        end = body.find(delimiter, start - 2)
        if start < 0 or end < 0:
            raise Rejected("", "the form ends in the middle of a part; send it again")
        if len(parts) == MOST_PARTS:
            raise Rejected("", f"the form has more than {MOST_PARTS} parts")
        parts.append(_part(body, start, end, len(parts)))
        at = end + len(delimiter)
    if not parts:
        raise Rejected("", "the form has no part")
    return tuple(parts)


def _boundary(content_type: bytes) -> bytes:
    kind = content_type.partition(b";")[0].strip().lower()
    match = _BOUNDARY.search(content_type)
    if kind != b"multipart/form-data" or match is None:
        shown = _shown(content_type)
        raise Rejected("headers.Content-Type", f"expected multipart/form-data with a boundary, got {shown}")
    return match[1] or match[2]


def _after_line(body: bytes, at: int) -> int:
    """Where the line that a boundary stands in ends; -1 when something else follows the boundary."""
    end = body.find(b"\r\n", at, at + 64)
    return end + 2 if end >= 0 and not body[at:end].strip(b" \t") else -1


def _part(body: bytes, start: int, end: int, index: int) -> Part:
    headers_end = body.find(b"\r\n\r\n", max(start - 2, 0), min(end, start + MOST_HEADER))
    if headers_end < 0:
        raise Rejected(f"parts[{index}]", f"it has no headers, or more than {MOST_HEADER} bytes of them")
    headers = body[start:headers_end]
    disposition = _DISPOSITION.search(headers)
    name = _NAME.search(disposition[1]) if disposition else None
    if disposition is None or name is None:
        raise Rejected(f"parts[{index}]", 'it has no `Content-Disposition: form-data; name="…"`')
    kind = _KIND.search(headers)
    return Part(
        name=_name(name[1], index),
        data=body[headers_end + 4 : max(end, headers_end + 4)],
        is_file=_FILENAME.search(disposition[1]) is not None,
        kind=kind[1].decode("latin-1").lower() if kind else "",
    )


def _name(raw: bytes, index: int) -> str:
    try:
        name = _ESCAPED.sub(lambda found: _ESCAPES[found[0]], raw.decode())
    except UnicodeDecodeError:
        raise Rejected(f"parts[{index}]", "its name is not UTF-8") from None
    if not 0 < len(name) <= MOST_NAME:
        raise Rejected(
            f"parts[{index}]", f"its name has {len(name)} characters, 1 to {MOST_NAME} are possible"
        )
    return name


def _shown(raw: bytes) -> str:
    return raw[:80].decode("latin-1")
