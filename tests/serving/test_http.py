"""The HTTP/1.1 protocol itself, byte for byte: pipelining, limits, patience."""

from __future__ import annotations

import contextlib
import json
import socket
import time

import pytest

from tests.serving.replicas import Replica, infer_body

BODY = infer_body(1, 2)
HEAD = b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: x\r\n"


def post(body: bytes = BODY, *more: bytes) -> bytes:
    lines = b"".join(line + b"\r\n" for line in more)
    return HEAD + b"Content-Length: %d\r\n" % len(body) + lines + b"\r\n" + body


def read_responses(sock: socket.socket, count: int) -> list[tuple[int, dict[str, str], bytes]]:
    """Read `count` responses, or fewer if the other side closes."""
    stream = sock.makefile("rb")
    found = []
    for _ in range(count):
        line = stream.readline()
        if not line:
            break
        headers: dict[str, str] = {}
        while (header := stream.readline().strip()) != b"":
            name, _, value = header.decode().partition(": ")
            headers[name.lower()] = value
        body = stream.read(int(headers.get("content-length", 0)))
        found.append((int(line.split()[1]), headers, body))
    return found


def read_to_end(sock: socket.socket) -> bytes:
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := sock.recv(65536):
            parts.append(part)
    return b"".join(parts)


def talk(echo: Replica, *sent: bytes, count: int = 1) -> list[tuple[int, dict[str, str], bytes]]:
    with echo.connect() as sock:
        for part in sent:
            sock.sendall(part)
        return read_responses(sock, count)


def test_pipelined_requests_are_answered_in_order(echo: Replica) -> None:
    identities = [f"p-{number}" for number in range(300)]
    sent = b"".join(
        post(infer_body(n), b"X-Request-Id: " + identity.encode())
        if n % 3
        else b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Request-Id: " + identity.encode() + b"\r\n\r\n"
        for n, identity in enumerate(identities)
    )
    answers = talk(echo, sent, count=300)
    assert [headers["x-request-id"] for _, headers, _ in answers] == identities
    assert {status for status, _, _ in answers} == {200}


def test_a_request_may_come_in_single_bytes(echo: Replica) -> None:
    request = post()
    answers = talk(echo, *(request[at : at + 1] for at in range(len(request))))
    assert answers[0][0] == 200


def test_chunked_bodies_are_read(echo: Replica) -> None:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (BODY[:10], BODY[10:]))
    request = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    assert talk(echo, request + post(), count=2)[1][0] == 200


def test_chunked_bodies_end_at_the_limit(echo: Replica) -> None:
    with echo.connect() as sock:
        sock.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(8):
                sock.sendall(b"100000\r\n" + bytes(1 << 20) + b"\r\n")
        status, headers, body = read_responses(sock, 1)[0]
    assert (status, headers["connection"]) == (413, "close")
    assert json.loads(body)["code"] == "too_large"


def test_a_body_too_large_is_refused_before_it_is_sent(echo: Replica) -> None:
    with echo.connect() as sock:
        sock.sendall(HEAD + b"Content-Length: 4194305\r\n\r\n")
        assert read_responses(sock, 1)[0][0] == 413
    with echo.connect() as sock:
        sock.sendall(HEAD + b"Content-Length: 4194305\r\nExpect: 100-continue\r\n\r\n")
        assert read_to_end(sock).startswith(b"HTTP/1.1 413")


def test_clients_that_wait_for_100_get_it(echo: Replica) -> None:
    with echo.connect() as sock:
        sock.sendall(HEAD + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(BODY))
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(BODY)
        assert read_responses(sock, 1)[0][0] == 200
    assert talk(echo, post(BODY, b"Expect: magic"))[0][0] == 417


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (HEAD + b"Content-Length: -5\r\n\r\n", 400),
        (HEAD + b"Content-Length: five\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nBad Name: x\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nA: b\x00c\r\n\r\n", 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET /livez HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431),
        (b"GET /livez HTTP/1.1\r\nA: " + b"b" * 200_000, 431),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (HEAD + b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nabcde", 400),
    ],
)
def test_what_is_not_our_http_is_refused_and_the_connection_ends(
    echo: Replica, request_: bytes, status: int
) -> None:
    with echo.connect() as sock:
        sock.sendall(request_)
        answer = read_to_end(sock)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"\r\nConnection: close\r\n" in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]


def test_an_offer_to_upgrade_is_ignored(echo: Replica) -> None:
    request = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    assert talk(echo, request)[0][0] == 200


def test_http_1_0_connections_close_unless_asked(echo: Replica) -> None:
    with echo.connect() as sock:
        sock.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        assert b"Connection: close" in read_to_end(sock)
    keep = b"GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    answers = talk(echo, keep, keep, count=2)
    assert [headers["connection"] for _, headers, _ in answers] == ["keep-alive"] * 2


def test_the_client_is_told_before_a_refused_connection_ends_even_behind_other_answers(echo: Replica) -> None:
    answers = talk(echo, post() + b"NONSENSE\r\n\r\n", count=3)
    assert [status for status, _, _ in answers] == [200, 400]


def test_no_answer_waits_for_an_acknowledgement(echo: Replica) -> None:
    # With Nagle's algorithm and a delayed acknowledgement each of these would take 40 ms.
    with echo.connect() as sock:
        begun = time.monotonic()
        for _ in range(40):
            sock.sendall(post())
            assert read_responses(sock, 1)[0][0] == 200
        assert time.monotonic() - begun < 40 * 0.04


def test_a_client_that_leaves_does_not_stall_the_others(steady: Replica) -> None:
    for _ in range(5):
        with steady.connect() as sock:
            sock.sendall(post(infer_body(7, 0.3)))
    begun = time.monotonic()
    assert steady.infer(0, 1).status == 200
    # One of them is inside the model; those that waited have left the queue.
    assert time.monotonic() - begun < 0.9


def test_an_answer_larger_than_all_buffers_arrives_whole(echo: Replica) -> None:
    values = [float(n) for n in range(120_000)]
    with echo.connect() as sock:
        sock.sendall(post(infer_body(*values), b"Connection: close"))
        time.sleep(0.2)
        status, _, body = read_responses(sock, 1)[0]
    assert status == 200
    assert json.loads(body)["outputs"][0]["data"] == values


def test_many_connections_are_served_at_once(echo: Replica) -> None:
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(echo.connect()) for _ in range(300)]
        for sock in socks:
            sock.sendall(b"GET /v2/models/echo HTTP/1.1\r\n\r\n" * 3)
        assert {read_responses(sock, 1)[0][0] for sock in socks} == {200}
