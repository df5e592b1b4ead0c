"""Which changes of a signature break callers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.compatibility import breaking, comparable
from modelyard.domain.model import Datatype, Signature, TensorSpec

ROWS = TensorSpec(name="rows", datatype=Datatype.FP64, shape=(-1, 2), columns=("age", "income"))
LABEL = TensorSpec(name="label", datatype=Datatype.INT64, shape=(-1,))
BEFORE = Signature(inputs=(ROWS,), outputs=(LABEL,))
TENSORS = st.builds(
    TensorSpec,
    name=st.sampled_from(("a", "b", "c")),
    datatype=st.sampled_from(Datatype),
    shape=st.lists(st.sampled_from((-1, 1, 3)), max_size=3).map(tuple),
)
SIDES = st.lists(TENSORS, max_size=3, unique_by=lambda t: t.name).map(tuple)
SIGNATURES = st.builds(Signature, inputs=SIDES, outputs=SIDES)


@pytest.mark.parametrize(
    ("inputs", "place"),
    [
        ((replace(ROWS, name="x"),), "inputs.rows: is not taken any more"),
        ((ROWS, replace(LABEL, name="day")), "inputs.day: is new"),
        ((replace(ROWS, datatype=Datatype.FP32),), "inputs.rows: the datatype was FP64 and would be FP32"),
        ((replace(ROWS, shape=(-1, 3)),), "inputs.rows: the shape was [any, 2] and would be [any, 3]"),
        ((replace(ROWS, shape=(1, 2)),), "would be [1, 2], which takes less"),
        ((replace(ROWS, shape=(-1,)),), "inputs.rows: the shape was [any, 2] and would be [any]"),
        ((replace(ROWS, columns=("income", "age")),), "columns were age, income and would be income, age"),
    ],
)
def test_inputs_that_todays_requests_do_not_fit(inputs: tuple[TensorSpec, ...], place: str) -> None:
    assert any(place in each for each in breaking(BEFORE, replace(BEFORE, inputs=inputs)))


@pytest.mark.parametrize(
    ("outputs", "place"),
    [
        ((replace(LABEL, name="class"),), "outputs.label: is not answered any more"),
        ((replace(LABEL, datatype=Datatype.BYTES),), "outputs.label: the datatype was INT64"),
        ((replace(LABEL, shape=(-1, 2)),), "outputs.label: the shape was [any]"),
    ],
)
def test_outputs_that_todays_callers_do_not_read(outputs: tuple[TensorSpec, ...], place: str) -> None:
    [found] = breaking(BEFORE, replace(BEFORE, outputs=outputs))
    assert place in found


def test_what_only_grows_breaks_nobody() -> None:
    fixed = Signature(inputs=(replace(ROWS, shape=(1, 2)),), outputs=(LABEL,))
    more = Signature(inputs=(ROWS,), outputs=(LABEL, replace(LABEL, name="score")))
    assert breaking(fixed, more) == ()


@given(SIGNATURES)
def test_a_signature_breaks_nothing_of_its_own(signature: Signature) -> None:
    assert breaking(signature, signature) == ()


@given(SIGNATURES, SIGNATURES)
def test_each_finding_names_a_place_and_silent_sides_break_nothing(one: Signature, two: Signature) -> None:
    found = breaking(one, two)
    assert all(each.partition(": ")[0].split(".")[0] in ("inputs", "outputs") for each in found)
    assert breaking(Signature(), two) == breaking(one, Signature()) == ()
    assert comparable(one, two) is bool(one.inputs and two.inputs)


@given(SIGNATURES, SIGNATURES)
def test_other_names_or_datatypes_of_inputs_always_break(one: Signature, two: Signature) -> None:
    kinds = ({(t.name, t.datatype) for t in s.inputs} for s in (one, two))
    if comparable(one, two) and next(kinds) != next(kinds):
        assert breaking(one, two)
