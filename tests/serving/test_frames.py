"""Frames between front and worker: what one side writes the other reads, in whatever pieces it comes."""

from __future__ import annotations

import socket
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from modelyard.oip.tensor import Tensor, from_array, to_array
from modelyard.serving.workers import frames
from modelyard.serving.workers.frames import (
    MARK,
    MOST_KNOWN,
    Fixed,
    Layouts,
    NotAFrame,
    Splitter,
    frame,
    padded,
    read_tensors,
    request_frame,
)
from modelyard_worker.channel import Channel

NAMES = st.text(min_size=1, max_size=8)
SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
DTYPES = st.sampled_from(["<f8", "<f4", "<f2", "<i8", "<i4", "u1", "?", "<u8"])
ARRAYS = DTYPES.flatmap(lambda dtype: arrays.arrays(dtype, SHAPES))
TENSORS = st.dictionaries(NAMES, ARRAYS, max_size=3)


def channel() -> tuple[Channel, socket.socket]:
    ours, theirs = socket.socketpair()
    return Channel(theirs), ours


def asked(tensors: list[Tensor], number: int, **more: Any) -> bytes:
    layout = Layouts().of(tensors)
    body = padded(layout.places, [tensor.data for tensor in tensors])
    return request_frame(Fixed(number, 3, 12.5), {"op": "infer", **more}, layout, body)


@settings(max_examples=150, deadline=None)
@given(TENSORS, st.integers(0, 2**63), st.dictionaries(NAMES, st.one_of(NAMES, st.booleans()), max_size=2))
def test_the_worker_reads_what_the_front_writes(
    given_arrays: dict[str, Any], number: int, parameters: dict[str, Any]
) -> None:
    reader, ours = channel()
    sent = asked(
        [from_array(name, array) for name, array in given_arrays.items()], number, parameters=parameters
    )
    with ours:
        for _ in range(2):  # the second time from memory
            ours.sendall(sent)
            got = reader.receive()
            assert got is not None
            assert (got.header["id"], got.header["op"], got.header["slot"]) == (number, "infer", 3)
            assert got.header["deadline"] == 12.5
            assert (got.header["shm"], got.header["parameters"]) == (None, parameters)
            found = reader.tensors(got)
            assert list(found) == list(given_arrays)
            for name, array in given_arrays.items():
                np.testing.assert_array_equal(found[name], array)
                assert found[name].dtype == array.dtype


@settings(max_examples=150, deadline=None)
@given(st.lists(TENSORS, min_size=1, max_size=4), st.data())
def test_the_front_reads_what_the_worker_writes_in_whatever_pieces(
    answers: list[dict[str, Any]], data: st.DataObject
) -> None:
    writer, ours = channel()
    ours.close()
    stream = b"".join(
        writer.answer(
            {"id": number, "op": "result", "seconds": number / 8, "preprocess": number / 16}, answer, None
        )
        for number, answer in enumerate(answers)
        for _ in range(2)
    )
    splitter, got, at = Splitter(), [], 0
    while at < len(stream):
        size = data.draw(st.integers(1, len(stream)))
        got += splitter.feed(stream[at : at + size])
        at += size
    assert len(got) == 2 * len(answers)
    for index, message in enumerate(got):
        assert message.header["id"] == index // 2
        assert message.header["seconds"] == index // 2 / 8
        assert message.header["preprocess"] == index // 2 / 16
        tensors = read_tensors(message.header["tensors"], message.body)
        answer = answers[index // 2]
        assert [tensor.name for tensor in tensors] == list(answer)
        for tensor in tensors:
            np.testing.assert_array_equal(to_array(tensor), answer[tensor.name])


def test_text_survives_both_ways() -> None:
    words = np.array([["a", ""], ["ä" * 300, "z"]], dtype=object)
    tensor = from_array("words", words)
    reader, ours = channel()
    with ours:
        ours.sendall(asked([tensor], 1, parameters={}))
        got = reader.receive()
        assert got is not None
        back = reader.answer({"id": 1, "op": "result", "seconds": 0.0}, reader.tensors(got), None)
    (message,) = Splitter().feed(back)
    assert read_tensors(message.header["tensors"], message.body) == (tensor,)


@settings(max_examples=300, deadline=None)
@given(TENSORS, st.data())
def test_a_worker_that_writes_nonsense_is_found_out(answer: dict[str, Any], data: st.DataObject) -> None:
    writer, ours = channel()
    ours.close()
    stream = bytearray(writer.answer({"id": 1, "op": "result", "seconds": 0.5}, answer, None))
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    splitter = Splitter()
    try:
        for message in splitter.feed(bytes(stream)):
            read_tensors(message.header.get("tensors"), message.body)
    except NotAFrame:
        return


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b'{"tensors":7}',
        b'{"tensors":[{"name":"x"}]}',
        b'{"tensors":[{"name":"x","datatype":"FP64","shape":[2],"offset":0,"nbytes":8}]}',
        b'{"tensors":[{"name":"x","datatype":"FP64","shape":[-1],"offset":0,"nbytes":8}]}',
        b'{"tensors":[{"name":"x","datatype":"FP99","shape":[1],"offset":0,"nbytes":8}]}',
        b'{"tensors":[{"name":"x","datatype":"FP64","shape":[1],"offset":-8,"nbytes":8}]}',
    ],
)
def test_a_wrong_description_is_refused(text: bytes) -> None:
    fixed = frames.COMPACT.pack(MARK, 0, 0, 1, 0.0, 0.0, 0.0)
    stream = frames.PREFIX.pack(len(fixed) + len(text), 8) + fixed + text + bytes(8)
    with pytest.raises(NotAFrame):
        Splitter().feed(stream)


@pytest.mark.parametrize(
    "seconds", [(float("nan"), 0.0), (float("inf"), 0.0), (-1.0, 0.0), (1.0, float("nan"))]
)
def test_an_impossible_duration_is_refused(seconds: tuple[float, float]) -> None:
    fixed = frames.COMPACT.pack(MARK, 0, 0, 1, *seconds, 0.0)
    text = b'{"op":"result","tensors":[]}'
    with pytest.raises(NotAFrame, match="seconds"):
        Splitter().feed(frames.PREFIX.pack(len(fixed) + len(text), 0) + fixed + text)


def test_tensors_beyond_the_body_are_refused() -> None:
    writer, ours = channel()
    ours.close()
    whole = writer.answer({"id": 1, "op": "result", "seconds": 0.0}, {"x": np.arange(4.0)}, None)
    header_size, body_size = frames.PREFIX.unpack_from(whole)
    cut = frames.PREFIX.pack(header_size, body_size - 8) + whole[frames.PREFIX.size : -8]
    (message,) = Splitter().feed(cut)
    with pytest.raises(NotAFrame, match="beyond"):
        read_tensors(message.header["tensors"], message.body)


def test_what_is_remembered_is_bounded_and_changes_nothing() -> None:
    writer, ours = channel()
    ours.close()
    splitter = Splitter()
    for size in [*range(2 * MOST_KNOWN), *range(2 * MOST_KNOWN)]:
        answer = {"x": np.arange(float(size))}
        (message,) = splitter.feed(writer.answer({"id": size, "op": "result", "seconds": 0.0}, answer, None))
        (tensor,) = read_tensors(message.header["tensors"], message.body)
        assert to_array(tensor).tolist() == list(range(size))
    assert len(splitter._known) <= MOST_KNOWN
    assert len(writer._layouts) <= MOST_KNOWN


def test_times_are_no_part_of_what_is_remembered() -> None:
    writer, ours = channel()
    ours.close()
    splitter = Splitter()
    for number in range(9):
        header = {"id": number, "op": "result", "seconds": number / 3, "preprocess": number / 7}
        splitter.feed(writer.answer(header, {"x": np.arange(2.0)}, None))
    assert (len(splitter._known), len(writer._layouts)) == (1, 1)


def test_layouts_of_requests_are_remembered_within_bounds() -> None:
    layouts = Layouts()
    for size in [*range(2 * MOST_KNOWN), *range(2 * MOST_KNOWN)]:
        tensor = from_array("x", np.arange(float(size)))
        assert layouts.of([tensor]) == Layouts().of([tensor])
    assert len(layouts._known) <= MOST_KNOWN


def test_other_headers_stay_plain_json() -> None:
    (message,) = Splitter().feed(frame({"op": "ping", "id": 0}))
    assert message.header == {"op": "ping", "id": 0}
    assert orjson.loads(frame({"op": "ping"})[frames.PREFIX.size :]) == {"op": "ping"}
