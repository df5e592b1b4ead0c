"""ModelStreamInfer: answers in the order of requests, errors that end nothing, and limits that hold."""

from __future__ import annotations

import queue
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from modelyard.oip.grpc import inference_pb2 as pb
from tests.serving.calls import SERVICE, Calls, calls, request, values
from tests.serving.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    RST_STREAM,
    WINDOW_UPDATE,
    client,
    frame,
    number,
)
from tests.serving.replicas import Replica, replica

STREAM = f"/{SERVICE}/ModelStreamInfer"


@pytest.fixture(scope="module")
def caller(echo: Replica) -> Iterator[Calls]:
    with calls(echo) as made:
        yield made


def test_answers_come_in_the_order_of_requests(caller: Calls) -> None:
    asked = [request(n, id=str(n)) for n in range(300)]
    answers = list(caller.stream(iter(asked)))
    assert [answer.infer_response.id for answer in answers] == [str(n) for n in range(300)]
    assert [values(answer.infer_response) for answer in answers] == [(n,) for n in range(300)]


def test_a_mistake_is_an_error_message_and_the_stream_goes_on(caller: Calls) -> None:
    asked = [
        request(1),
        request(2, model="nope", id="b"),
        pb.ModelInferRequest(model_name="echo"),
        request(3),
    ]
    first, second, third, fourth = caller.stream(iter(asked))
    assert (values(first.infer_response), values(fourth.infer_response)) == ((1,), (3,))
    assert 'unknown model "nope"' in second.error_message
    assert second.infer_response.id == "b"
    assert third.error_message.startswith("inputs: missing")


def test_an_answer_comes_before_the_stream_ends(caller: Calls) -> None:
    asked: queue.Queue[Any] = queue.Queue()
    answers = caller.stream(iter(asked.get, None))
    for n in range(3):
        asked.put(request(n))
        assert values(next(answers).infer_response) == (n,)
    asked.put(None)
    assert list(answers) == []
    assert answers.code() == grpc.StatusCode.OK


def test_the_end_is_told_to_who_asks_for_it(caller: Calls) -> None:
    wanted = request(1, id="x")
    wanted.parameters["triton_enable_empty_final_response"].bool_param = True
    (answer,) = caller.stream(iter([wanted]))
    assert values(answer.infer_response) == (1,)
    assert answer.infer_response.id == "x"
    assert answer.infer_response.parameters["triton_final_response"].bool_param


def test_a_model_that_yields_answers_in_parts_as_they_come() -> None:
    code = """
import time
def predict(inputs):
    for number in range(3):
        yield {"output": inputs["input"] + number}
        time.sleep(0.4)
"""
    with replica(code=code) as running, calls(running) as caller:
        wanted = request(1, id="a")
        wanted.parameters["triton_enable_empty_final_response"].bool_param = True
        began = time.monotonic()
        answers = caller.stream(iter([wanted, request(5, id="b")]))
        assert values(next(answers).infer_response) == (1,)
        assert time.monotonic() - began < 0.7
        rest = [answer.infer_response for answer in answers]
        assert [values(each) for each in rest if each.outputs] == [(2,), (3,), (5,), (6,), (7,)]
        (last,) = [each for each in rest if not each.outputs]
        assert (last.id, last.parameters["triton_final_response"].bool_param) == ("a", True)
        assert values(caller.infer(request(1))) == (1, 2, 3)


def test_many_large_messages_go_through_windows(caller: Calls) -> None:
    row = [float(n) for n in range(100_000)]
    answers = list(caller.stream(request(*row) for _ in range(12)))
    assert [len(values(answer.infer_response)) for answer in answers] == [100_000] * 12


def test_a_reader_that_rests_stops_the_reading_and_loses_nothing(caller: Calls) -> None:
    row = [float(n) for n in range(50_000)]
    answers = caller.stream(request(*row, id=str(n)) for n in range(60))
    time.sleep(1.0)
    assert [answer.infer_response.id for answer in answers] == [str(n) for n in range(60)]


def test_a_cancelled_stream_takes_its_requests_out_of_the_queue(steady: Replica) -> None:
    with calls(steady) as caller:
        asked: queue.Queue[Any] = queue.Queue()
        answers = caller.stream(iter(asked.get, None))
        for message in [request(7, 0.5), *[request(0, 1)] * 10]:
            asked.put(message)
        steady.wait_for(lambda: _depth(steady) == 10)
        answers.cancel()
        steady.wait_for(lambda: _depth(steady) == 0)
        asked.put(None)


def _depth(running: Replica) -> int:
    lines = running.call("GET", "/metrics").body.decode().splitlines()
    return next(int(line.rpartition(" ")[2]) for line in lines if line.startswith("modelyard_queue_depth{"))


def test_a_stream_ends_with_the_replica_and_what_was_asked_is_answered() -> None:
    code = "import time\ndef predict(inputs):\n    time.sleep(0.8)\n    return {'output': inputs['input']}\n"
    with replica(code=code) as running, calls(running) as caller:
        asked: queue.Queue[Any] = queue.Queue()
        answers = caller.stream(iter(asked.get, None))
        asked.put(request(5))
        time.sleep(0.3)
        ended = threading.Thread(target=running.terminate)
        ended.start()
        assert values(next(answers).infer_response) == (5,)
        with pytest.raises(grpc.RpcError) as caught:
            next(answers)
        error: Any = caught.value
        assert (error.code(), "leaving" in error.details()) == (grpc.StatusCode.UNAVAILABLE, True)
        asked.put(None)
        ended.join()
        assert running.process.returncode == 0


def _message(body: bytes) -> bytes:
    return struct.pack(">BI", 0, len(body)) + body


def test_messages_may_be_cut_anywhere_and_several_in_one_frame(echo: Replica) -> None:
    body = b"".join(_message(request(n).SerializeToString()) for n in range(5))
    with client(echo) as user:
        head = user.head(STREAM, "POST", content_type="application/grpc", te="trailers")
        user.say(frame(HEADERS, END_HEADERS, 1, head))
        for at in range(0, 60):
            user.say(frame(DATA, 0, 1, body[at : at + 1]))
        user.say(frame(DATA, END_STREAM, 1, body[60:]))
        headers, answer = user.answer(1)
        assert headers["grpc-status"] == "0"
        assert answer.count(b"output") == 5


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"\x00\x00\x00\x00\x05abc", "3"),
        (b"\x07\x00\x00\x00\x01a", "3"),
        (b"\x01\x00\x00\x00\x01a", "3"),
        (b"\x00\x7f\xff\xff\xff", "8"),
        (b"\x00", "3"),
    ],
)
@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
def test_bytes_that_are_no_messages_end_it(echo: Replica, body: bytes, status: str, method: str) -> None:
    with client(echo) as user:
        user.ask(1, f"/{SERVICE}/{method}", body, content_type="application/grpc")
        assert user.answer(1)[0]["grpc-status"] == status
        user.ask(3)
        assert user.answer(3)[0][":status"] == "200"


@pytest.mark.parametrize("method", ["ModelInfer", "ServerLive"])
def test_a_call_with_one_message_has_one(echo: Replica, method: str) -> None:
    with client(echo) as user:
        user.ask(1, f"/{SERVICE}/{method}", b"", content_type="application/grpc")
        headers, _ = user.answer(1)
        assert (headers["grpc-status"], headers["grpc-message"]) == (
            "3",
            "the call ended before its message was whole",
        )
        user.ask(3, f"/{SERVICE}/{method}", _message(b"") * 2, content_type="application/grpc")
        assert user.answer(3)[0]["grpc-message"] == "this method takes one message, and there are more"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"grpc_timeout": "soon"}, "3"),
        ({"grpc_timeout": "123456789S"}, "3"),
        ({"grpc_encoding": "snappy"}, "12"),
    ],
)
def test_headers_that_say_nothing_sensible_end_the_call(
    echo: Replica, headers: dict[str, str], status: str
) -> None:
    with client(echo) as user:
        body = _message(b"")
        user.ask(1, f"/{SERVICE}/ServerLive", body, content_type="application/grpc+proto", **headers)
        told, _ = user.answer(1)
        assert told["grpc-status"] == status
        if status == "12":
            assert "gzip" in told["grpc-accept-encoding"]


def test_other_kinds_of_messages_are_not_taken(echo: Replica) -> None:
    with client(echo) as user:
        for stream, kind in ((1, "application/grpc-web"), (3, "application/grpc+json")):
            user.ask(stream, f"/{SERVICE}/ServerLive", _message(b""), content_type=kind)
            assert user.answer(stream)[0][":status"] == "415"


def test_a_stream_whose_answers_nobody_takes_is_not_read_on(echo: Replica) -> None:
    """The server holds a bounded number of answers, and says no more windows."""
    big = request(*[float(n) for n in range(8000)]).SerializeToString()
    with client(echo, b"\x00\x04" + number(0)) as user:
        head = user.head(STREAM, "POST", content_type="application/grpc")
        user.say(frame(HEADERS, END_HEADERS, 1, head))
        window = 1 << 20
        sent = 0
        user.sock.settimeout(1.5)
        try:
            while sent < 64 << 20:
                part = _message(big)
                for at in range(0, len(part), 16000):
                    piece = part[at : at + 16000]
                    while window < len(piece):
                        heard = user.until(WINDOW_UPDATE, 1)
                        window += int.from_bytes(heard.payload, "big")
                    user.say(frame(DATA, 0, 1, piece))
                    window -= len(piece)
                    sent += len(piece)
        except TimeoutError:
            pass
        assert sent < 12 << 20
        user.say(frame(RST_STREAM, 0, 1, number(8)))
    assert echo.infer(1).status == 200
