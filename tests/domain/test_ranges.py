"""Which bytes a request means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain import ranges
from modelyard.domain.ranges import Beyond, Span


@pytest.mark.parametrize(
    ("header", "meant"),
    [
        (None, None),
        ("", None),
        ("bytes=0-0", Span(0, 1)),
        ("bytes=2-5", Span(2, 6)),
        ("Bytes = 2 - 5", Span(2, 6)),
        ("bytes=2-", Span(2, 10)),
        ("bytes=2-999", Span(2, 10)),
        ("bytes=-3", Span(7, 10)),
        ("bytes=-99", Span(0, 10)),
        ("bytes=-0", Beyond()),
        ("bytes=10-", Beyond()),
        ("bytes=10-20", Beyond()),
        ("bytes=5-2", None),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("lines=1-2", None),
        ("bytes=a-b", None),
        ("bytes=٣-٤", None),
        ("bytes=" + "9" * 100 + "-", None),
    ],
)
def test_a_header_means_bytes_or_the_whole_file(header: str | None, meant: object) -> None:
    assert ranges.choose(header, 10) == meant


@given(st.text(alphabet="bytes=-, 0123456789", max_size=20), st.integers(0, 50))
def test_an_answered_range_lies_inside_the_file(header: str, size: int) -> None:
    match ranges.choose(header, size):
        case Span(start, end):
            assert 0 <= start < end <= size


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 50))
def test_a_range_of_two_numbers_is_what_slicing_gives(first: int, last: int, size: int) -> None:
    data = bytes(range(size))
    match ranges.choose(f"bytes={first}-{last}", size):
        case Span(start, end):
            assert data[start:end] == data[first : last + 1]
        case Beyond():
            assert data[first:] == b""
        case None:
            assert last < first


def test_conditions_compare_strong_tags() -> None:
    assert ranges.still_holds(None, '"a"')
    assert ranges.still_holds('"a"', '"a"')
    assert not ranges.still_holds('"b"', '"a"')
    assert not ranges.still_holds("Wed, 21 Oct 2015 07:28:00 GMT", '"a"')
    assert ranges.matches('"x", W/"a"', '"a"')
    assert ranges.matches("*", '"a"')
    assert not ranges.matches(None, '"a"')
