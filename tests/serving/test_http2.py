"""HTTP/2 without TLS: the same answers as over HTTP/1.1, within windows, and the rules kept by both sides."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time

import httpx2
import pytest

from tests.serving.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    Client,
    client,
    frame,
    number,
)
from tests.serving.replicas import Replica, infer_body, replica

PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR = 1, 3, 5, 6
REFUSED_STREAM, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 7, 9, 11
INFER = "/v2/models/echo/infer"


def test_httpx_speaks_http2_with_prior_knowledge(echo: Replica) -> None:
    with httpx2.Client(http1=False, http2=True, trust_env=False) as user:
        for _ in range(3):
            answer = user.post(f"http://127.0.0.1:{echo.port}{INFER}", content=infer_body(1, 2))
            assert (answer.http_version, answer.status_code) == ("HTTP/2", 200)
            assert answer.json()["outputs"][0]["data"] == [1, 2]
            assert answer.headers["x-modelyard-revision"] == "7"


def test_curl_speaks_http2_with_prior_knowledge(echo: Replica) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    url = f"http://127.0.0.1:{echo.port}{INFER}"
    command = [curl, "-s", "--http2-prior-knowledge", "-w", "\n%{http_version} %{http_code}", "-d", "@-", url]
    done = subprocess.run(command, input=infer_body(5), capture_output=True, timeout=20, check=True)
    body, _, told = done.stdout.decode().partition("\n")
    assert (json.loads(body)["outputs"][0]["data"], told) == ([5], "2 200")


def test_http1_goes_on_at_the_same_port(echo: Replica) -> None:
    with contextlib.closing(echo.connect()) as sock:
        for piece in (
            b"P",
            b"OST /v2/models/echo/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n",
            b"{}",
        ):
            sock.sendall(piece)
            time.sleep(0.02)
        assert sock.recv(1000).startswith(b"HTTP/1.1 400 ")


def test_the_preface_may_come_in_pieces(echo: Replica) -> None:
    with client(echo, None) as user:
        for byte in PREFACE:
            user.say(bytes((byte,)))
        user.say(frame(SETTINGS))
        user.ask(1)
        assert user.answer(1)[0][":status"] == "200"


def test_errors_are_the_same_as_over_http1(echo: Replica) -> None:
    with client(echo) as user:
        for stream, (path, body, status) in enumerate(
            [("/nothing", None, "404"), (INFER, b"{}", "400"), (INFER, None, "405"), ("/livez", b"", "405")]
        ):
            user.ask(2 * stream + 1, path, body)
            headers, answer = user.answer(2 * stream + 1)
            assert headers[":status"] == status
            assert json.loads(answer)["request_id"] == headers["x-request-id"]


def test_requests_are_answered_in_any_order(steady: Replica) -> None:
    with client(steady) as user:
        user.ask(1, INFER, infer_body(7, 0.4))
        user.ask(3)
        began = time.monotonic()
        assert json.loads(user.answer(3)[1]) == {"live": True}
        assert time.monotonic() - began < 0.3
        assert json.loads(user.answer(1)[1])["outputs"][0]["data"] == [7, 0.4]


def test_a_head_may_come_in_pieces_with_padding_and_priority(echo: Replica) -> None:
    with client(echo) as user:
        block = user.head(INFER, "POST")
        first = b"\x05" + number(0) + b"\x10" + block[:3] + bytes(5)
        user.say(frame(HEADERS, PADDED | WITH_PRIORITY, 1, first))
        user.say(frame(CONTINUATION, 0, 1, block[3:9]) + frame(CONTINUATION, END_HEADERS, 1, block[9:]))
        body = infer_body(1)
        user.say(frame(PRIORITY, 0, 1, bytes(5)))
        user.say(frame(DATA, PADDED | END_STREAM, 1, b"\x03" + body + bytes(3)))
        assert user.answer(1)[0][":status"] == "200"


def test_trailers_of_a_request_end_it(echo: Replica) -> None:
    with client(echo) as user:
        user.say(frame(HEADERS, END_HEADERS, 1, user.head(INFER, "POST")) + frame(DATA, 0, 1, infer_body(1)))
        user.say(frame(HEADERS, END_HEADERS | END_STREAM, 1, user.encoder.encode([("x-sum", "1")])))
        assert user.answer(1)[0][":status"] == "200"


def test_pings_are_answered_and_unknown_frames_ignored(echo: Replica) -> None:
    with client(echo) as user:
        user.say(frame(200, 255, 7, b"what") + frame(PING, 0, 0, b"12345678"))
        assert user.until(PING).payload == b"12345678"


def test_answers_wait_for_the_clients_windows(echo: Replica) -> None:
    row = [float(n) for n in range(20_000)]
    with client(echo, b"\x00\x04" + number(10)) as user:
        user.ask(1, INFER, infer_body(*row))
        first = user.until(DATA, 1)
        assert len(first.payload) == 10
        user.say(frame(WINDOW_UPDATE, 0, 1, number(5)))
        assert len(user.until(DATA, 1).payload) == 5
        # Larger windows of streams leave the one of the connection; both must be opened.
        user.say(frame(SETTINGS, 0, 0, b"\x00\x04" + number(1 << 24)))
        user.say(frame(WINDOW_UPDATE, 0, 0, number(1 << 24)))
        body = first.payload
        while True:
            heard = user.until(DATA, 1)
            assert len(heard.payload) <= 16384
            body += heard.payload
            if heard.flags & END_STREAM:
                break
        assert len(body) > 100_000


def test_a_slow_reader_does_not_hold_up_others_on_its_connection(echo: Replica) -> None:
    with client(echo, b"\x00\x04" + number(0)) as user:
        user.ask(1, INFER, infer_body(1))
        assert user.until(HEADERS, 1)
        user.ask(3, "/livez")
        user.until(HEADERS, 3)
        user.say(frame(WINDOW_UPDATE, 0, 3, number(1000)))
        assert user.until(DATA, 3).payload == b'{"live":true}'


def test_a_body_may_be_larger_than_the_window(echo: Replica) -> None:
    """The window is refilled while the body is read; the client here keeps to it."""
    body = infer_body(*[float(n) for n in range(400_000)])
    assert len(body) > 3 << 20
    with httpx2.Client(http1=False, http2=True, trust_env=False, timeout=30) as user:
        answer = user.post(f"http://127.0.0.1:{echo.port}{INFER}", content=body)
        assert answer.status_code == 200
        answer = user.post(f"http://127.0.0.1:{echo.port}{INFER}", content=bytes((4 << 20) + 1))
        assert answer.status_code == 413


def test_a_head_request_has_no_body(echo: Replica) -> None:
    with client(echo) as user:
        user.say(frame(HEADERS, END_HEADERS | END_STREAM, 1, user.head("/livez", "HEAD")))
        headers, body = user.answer(1)
        assert (headers["content-length"], body) == ("13", b"")


def test_an_expected_continue_is_given(echo: Replica) -> None:
    with client(echo) as user:
        body = infer_body(1)
        head = user.head(INFER, "POST", expect="100-continue", content_length=str(len(body)))
        user.say(frame(HEADERS, END_HEADERS, 1, head))
        assert dict(user.decoder.decode(user.until(HEADERS, 1).payload)) == {":status": "100"}
        user.say(frame(DATA, END_STREAM, 1, body))
        assert user.answer(1)[0][":status"] == "200"


def _many(kind: int, count: int, payload: bytes, flags: int = 0, stream: int = 0) -> bytes:
    return frame(kind, flags, stream, payload) * count


BROKEN = {
    "not the preface": (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + bytes(40), None),
    "no settings first": (PREFACE + frame(PING, 0, 0, bytes(8)), PROTOCOL_ERROR),
    "a frame too large": (PREFACE + frame(SETTINGS) + b"\x7f\xff\xff\x00\x00" + number(1), FRAME_SIZE_ERROR),
    "settings of a strange size": (PREFACE + frame(SETTINGS, 0, 0, b"123"), FRAME_SIZE_ERROR),
    "settings on a stream": (PREFACE + frame(SETTINGS, 0, 1), PROTOCOL_ERROR),
    "an acknowledgement with settings": (PREFACE + frame(SETTINGS, ACK, 0, bytes(6)), PROTOCOL_ERROR),
    "a window beyond bounds": (
        PREFACE + frame(SETTINGS, 0, 0, b"\x00\x04" + number(1 << 31)),
        FLOW_CONTROL_ERROR,
    ),
    "frames beyond bounds": (PREFACE + frame(SETTINGS, 0, 0, b"\x00\x05" + number(100)), PROTOCOL_ERROR),
    "push that is neither": (PREFACE + frame(SETTINGS, 0, 0, b"\x00\x02" + number(2)), PROTOCOL_ERROR),
    "data on no stream": (PREFACE + frame(SETTINGS) + frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
    "data on an idle stream": (PREFACE + frame(SETTINGS) + frame(DATA, 0, 1, b"x"), PROTOCOL_ERROR),
    "a stream of the server's": (PREFACE + frame(SETTINGS) + frame(HEADERS, 5, 2, b"\x82"), PROTOCOL_ERROR),
    "a push": (PREFACE + frame(SETTINGS) + frame(PUSH_PROMISE, 4, 1, bytes(4)), PROTOCOL_ERROR),
    "a continuation of nothing": (PREFACE + frame(SETTINGS) + frame(CONTINUATION, 4, 1, b""), PROTOCOL_ERROR),
    "something else within a head": (
        PREFACE + frame(SETTINGS) + frame(HEADERS, 0, 1, b"\x82") + frame(PING, 0, 0, bytes(8)),
        PROTOCOL_ERROR,
    ),
    "padding longer than its frame": (
        PREFACE + frame(SETTINGS) + frame(HEADERS, 4 | PADDED, 1, b"\xff\x82"),
        PROTOCOL_ERROR,
    ),
    "an index that is not in the table": (
        PREFACE + frame(SETTINGS) + frame(HEADERS, 5, 1, b"\xff\x7f"),
        COMPRESSION_ERROR,
    ),
    "half a header": (PREFACE + frame(SETTINGS) + frame(HEADERS, 5, 1, b"\x40\x0aabc"), COMPRESSION_ERROR),
    "an integer without end": (
        PREFACE + frame(SETTINGS) + frame(HEADERS, 5, 1, b"\xff" + b"\x80" * 9000),
        COMPRESSION_ERROR,
    ),
    "a ping of a strange size": (PREFACE + frame(SETTINGS) + frame(PING, 0, 0, b"x"), FRAME_SIZE_ERROR),
    "a window opened by nothing": (
        PREFACE + frame(SETTINGS) + frame(WINDOW_UPDATE, 0, 0, number(0)),
        PROTOCOL_ERROR,
    ),
    "a window opened too far": (
        PREFACE + frame(SETTINGS) + frame(WINDOW_UPDATE, 0, 0, number((1 << 31) - 1)),
        FLOW_CONTROL_ERROR,
    ),
    "a reset of an idle stream": (
        PREFACE + frame(SETTINGS) + frame(RST_STREAM, 0, 1, bytes(4)),
        PROTOCOL_ERROR,
    ),
    "a flood of pings": (PREFACE + frame(SETTINGS) + _many(PING, 40_000, bytes(8)), ENHANCE_YOUR_CALM),
    "a flood of settings": (PREFACE + _many(SETTINGS, 40_000, b""), ENHANCE_YOUR_CALM),
    "a flood of priorities": (
        PREFACE + frame(SETTINGS) + _many(PRIORITY, 40_000, bytes(5), stream=3),
        ENHANCE_YOUR_CALM,
    ),
    "continuations without end": (
        PREFACE + frame(SETTINGS) + frame(HEADERS, 0, 1) + _many(CONTINUATION, 200, b"", stream=1),
        ENHANCE_YOUR_CALM,
    ),
    "a head without end": (
        PREFACE + frame(SETTINGS) + frame(HEADERS, 0, 1) + _many(CONTINUATION, 30, bytes(16000), stream=1),
        ENHANCE_YOUR_CALM,
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_whoever_breaks_the_rules_is_told_which_and_cut_off(echo: Replica, what: str) -> None:
    said, code = BROKEN[what]
    with client(echo, None) as user:
        with contextlib.suppress(OSError):
            user.say(said)
        if code is not None:
            with contextlib.suppress(ConnectionError):
                assert user.until(GOAWAY).code == code
        assert user.ended()
    assert echo.infer(1).status == 200


def test_a_bomb_of_headers_is_cut_off(echo: Replica) -> None:
    """One large entry in the table, and thousands of one-byte references to it."""
    with client(echo) as user:
        entry = b"\x40\x01a\x7f\x81\x1e" + b"v" * 4000
        head = b"\x82\x86\x84" + entry + b"\xbe" * 12_000
        user.say(frame(HEADERS, END_HEADERS | END_STREAM, 1, head))
        assert user.until(GOAWAY).code in (ENHANCE_YOUR_CALM, COMPRESSION_ERROR)
        assert user.ended()


@pytest.mark.parametrize(
    "fields",
    [
        [(":method", "GET"), (":path", "/livez")],
        [(":method", "GET"), (":scheme", "http"), (":path", "")],
        [(":method", "GET"), (":scheme", "http"), (":path", "/livez"), (":path", "/livez")],
        [(":method", "GET"), (":scheme", "http"), ("a", "b"), (":path", "/livez")],
        [(":method", "GET"), (":scheme", "http"), (":path", "/livez"), (":status", "200")],
        [(":method", "GET"), (":scheme", "http"), (":path", "/livez"), ("Upper", "x")],
        [(":method", "GET"), (":scheme", "http"), (":path", "/livez"), ("connection", "close")],
        [(":method", "GET"), (":scheme", "http"), (":path", "/livez"), ("te", "gzip")],
        [(":method", "GET"), (":scheme", "http"), (":path", "/livez"), ("x", "a\r\nb: c")],
    ],
)
def test_malformed_heads_end_their_stream_alone(echo: Replica, fields: list[tuple[str, str]]) -> None:
    with client(echo) as user:
        user.say(frame(HEADERS, END_HEADERS | END_STREAM, 1, user.encoder.encode(fields)))
        assert user.until(RST_STREAM, 1).code == PROTOCOL_ERROR
        user.ask(3)
        assert user.answer(3)[0][":status"] == "200"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (frame(DATA, END_STREAM, 1, b"xx"), PROTOCOL_ERROR),
        (frame(WINDOW_UPDATE, 0, 1, number(0)), PROTOCOL_ERROR),
        (frame(WINDOW_UPDATE, 0, 1, number((1 << 31) - 1)), FLOW_CONTROL_ERROR),
        (frame(HEADERS, END_HEADERS, 1, b"\x82"), PROTOCOL_ERROR),
    ],
)
def test_mistakes_on_a_stream_end_it_alone(echo: Replica, said: bytes, code: int) -> None:
    with client(echo) as user:
        user.say(frame(HEADERS, END_HEADERS, 1, user.head(INFER, "POST", content_length="1")) + said)
        assert user.until(RST_STREAM, 1).code == code
        user.ask(3)
        assert user.answer(3)[0][":status"] == "200"


def test_unfinished_requests_of_one_connection_hold_a_bounded_number_of_bytes(echo: Replica) -> None:
    """Four bodies of the largest size, which is 4 MiB here."""
    with client(echo) as user:
        sent = 0
        for stream in range(1, 61, 2):
            user.say(frame(HEADERS, END_HEADERS, stream, user.head(INFER, "POST")))
            for _ in range(60):
                user.say(frame(DATA, 0, stream, bytes(16384)))
                sent += 16384
            user.say(frame(PING, 0, 0, bytes(8)))
            heard = user.until_one_of(PING, RST_STREAM)
            if heard.kind == RST_STREAM:
                break
        assert heard.code == ENHANCE_YOUR_CALM
        assert 16 << 20 <= sent <= 18 << 20
    assert echo.infer(1).status == 200


def test_too_many_streams_at_once_are_refused(steady: Replica) -> None:
    with client(steady) as user:
        heads = (frame(HEADERS, END_HEADERS, 2 * n + 1, user.head(INFER, "POST")) for n in range(1001))
        user.say(b"".join(heads))
        refused = user.until(RST_STREAM)
        assert (refused.stream, refused.code) == (2001, REFUSED_STREAM)


def test_a_rapid_reset_is_cut_off_and_costs_others_nothing(steady: Replica) -> None:
    with client(steady) as user:
        with contextlib.suppress(OSError):
            for first in range(0, 6000, 500):
                user.say(
                    b"".join(
                        frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, user.head("/livez", "POST"))
                        + frame(HEADERS, END_HEADERS, 2 * n + 3, user.head(INFER, "POST"))
                        + frame(RST_STREAM, 0, 2 * n + 3, number(8))
                        for n in range(first * 2, first * 2 + 1000, 2)
                    )
                )
        assert user.ended()
    assert steady.infer(0, 1).status == 200


def test_requests_taken_back_leave_the_queue(steady: Replica) -> None:
    with client(steady) as user:
        user.ask(1, INFER, infer_body(7, 0.5))
        time.sleep(0.1)
        for stream in range(3, 13, 2):
            user.ask(stream, INFER, infer_body(0, 1))
        depth = 'modelyard_queue_depth{project="default",service="echo",stage="test"'
        steady.wait_for(lambda: _metric(steady, depth) == 5)
        for stream in range(3, 13, 2):
            user.say(frame(RST_STREAM, 0, stream, number(8)))
        steady.wait_for(lambda: _metric(steady, depth) == 0)
        assert json.loads(user.answer(1)[1])["outputs"][0]["data"] == [7, 0.5]


def _metric(running: Replica, name: str) -> float:
    lines = running.call("GET", "/metrics").body.decode().splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def test_draining_answers_what_is_under_way_and_refuses_the_rest() -> None:
    code = "import time\ndef predict(inputs):\n    time.sleep(1.2)\n    return {'output': inputs['input']}\n"
    with replica(code=code) as running, client(running) as user:
        user.ask(1, INFER, infer_body(1))
        time.sleep(0.2)
        running.process.terminate()
        notice = user.until(GOAWAY)
        assert (int.from_bytes(notice.payload[:4], "big"), notice.code) == ((1 << 31) - 1, 0)
        last = user.until(GOAWAY)
        assert (int.from_bytes(last.payload[:4], "big"), last.code) == (1, 0)
        user.ask(3)
        assert user.until(RST_STREAM, 3).code == REFUSED_STREAM
        head = dict(user.decoder.decode(user.until(HEADERS, 1).payload))
        assert head[":status"] == "200"
        assert running.process.wait(10) == 0


def test_whoever_says_nothing_after_the_preface_is_cut_off_in_time() -> None:
    with replica(listen="tcp", limits={"keep_alive_seconds": 0.6}) as running, client(running) as user:
        user.ask(1)
        assert user.answer(1)[0][":status"] == "200"
        began = time.monotonic()
        assert user.until(GOAWAY).code == 0
        assert user.ended()
        assert 0.3 < time.monotonic() - began < 4


def test_no_connection_and_no_request_is_left_behind(echo: Replica) -> None:
    base = _metric(echo, "modelyard_connections")
    made = [Client(echo) for _ in range(20)]
    for user in made:
        user.greet()
        user.ask(1, INFER, infer_body(1))
    echo.wait_for(lambda: _metric(echo, "modelyard_connections") >= base + 20)
    for user in made:
        user.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        user.sock.close()
    echo.wait_for(lambda: _metric(echo, "modelyard_connections") <= base)
    assert _metric(echo, "modelyard_inflight") == 0
