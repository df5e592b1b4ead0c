"""How amounts are read and written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain import quantity
from modelyard.domain.deployment import Resources
from modelyard.domain.errors import Invalid


@pytest.mark.parametrize(
    ("text", "millis"),
    [("0", 0), ("0.5", 500), ("500m", 500), ("2", 2000), ("1.250", 1250), ("10000", 10_000_000)],
)
def test_cores_are_read(text: str, millis: int) -> None:
    assert quantity.parse_cpu(text, "cpu") == millis


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1024", 1024),
        ("512Mi", 512 * 2**20),
        ("1G", 10**9),
        ("1.5Gi", 3 * 2**29),
        ("2k", 2000),
        ("0.1", 1),
        ("1Pi", 2**50),
    ],
)
def test_bytes_are_read_and_rounded_up(text: str, size: int) -> None:
    assert quantity.parse_memory(text, "memory") == size


NONSENSE = [
    "",
    " ",
    "-1",
    "nan",
    "NaN",
    "inf",
    "1e3",
    "1e9Gi",
    "+1",
    "1 ",
    "0x1",
    "1,5",
    "٣",
    "½",
    "1\n",
    "9" * 400,
    "--",
]


@pytest.mark.parametrize("text", [*NONSENSE, "0.0001", "0.5m", "10001", "99999999999", "2Gi", "2cores"])
def test_impossible_cores_are_refused_with_field_and_remedy(text: str) -> None:
    with pytest.raises(Invalid, match=r"^resources.cpu: .*`0.5`") as caught:
        quantity.parse_cpu(text, "resources.cpu")
    assert caught.value.errors[0].path == "resources.cpu"
    assert len(caught.value.message) < 250


@pytest.mark.parametrize("text", [*NONSENSE, "512m", "512MB", "1gb", "2000Ti", "9" * 18, "1Ei", "1Xi"])
def test_impossible_sizes_are_refused_with_field_and_remedy(text: str) -> None:
    with pytest.raises(Invalid, match=r"^resources.memory: .*`512Mi`") as caught:
        quantity.parse_memory(text, "resources.memory")
    assert caught.value.errors[0].path == "resources.memory"
    assert len(caught.value.message) < 250


def test_a_unit_that_is_nearly_right_is_mended() -> None:
    with pytest.raises(Invalid, match="did you mean `512Mi`"):
        quantity.parse_memory("512MB", "memory")


@given(st.integers(0, 10_000_000))
def test_cores_read_back_as_written(millis: int) -> None:
    assert quantity.parse_cpu(quantity.format_cpu(millis), "cpu") == millis


@given(st.integers(0, 2**50))
def test_bytes_are_never_shown_as_more_than_they_are(size: int) -> None:
    shown = quantity.parse_memory(quantity.format_memory(size), "memory")
    assert shown <= size + 1
    assert shown >= size * 0.9 - 1


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0"), (1023, "1023"), (3 * 2**30, "3Gi"), (1300 * 2**20, "1.2Gi")]
)
def test_bytes_are_written_for_people(size: int, text: str) -> None:
    assert quantity.format_memory(size) == text


def test_resources_refuse_what_no_replica_could_ask_for() -> None:
    with pytest.raises(Invalid, match=r"resources\.gpu"):
        Resources(gpu="half")
