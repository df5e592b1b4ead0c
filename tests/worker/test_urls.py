"""Addresses that requests name: fetched from allowed hosts alone, in bounds; mistakes are the client's."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from modelyard_worker import context, urls
from tests.support.tls_door import door

Allow = Callable[[str], None]


class Pictures(BaseHTTPRequestHandler):
    """What a server of pictures, and of trouble, answers."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        answer: Any = getattr(
            self, f"give_{self.path[1:].partition('?')[0].partition('/')[0]}", self.give_404
        )
        answer()

    def give_picture(self) -> None:
        self._send(200, f"{self.headers['Host']} {self.path}".encode())

    def give_404(self) -> None:
        self._send(404, b"nothing here")

    def give_away(self) -> None:
        self.send_response(302)
        self.send_header("Location", self.path.removeprefix("/away/"))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def give_raw(self) -> None:
        location = "/picture/图".encode()
        self.wfile.write(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n")

    def give_round(self) -> None:
        self.path = "/away//round"
        self.give_away()

    def give_much(self) -> None:
        self._send(200, b"x" * 5000)

    def give_endless(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _ in range(100):
            self.wfile.write(b"3e8\r\n" + b"x" * 1000 + b"\r\n")

    def give_half(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"x" * 50)
        self.close_connection = True

    def give_drops(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        for _ in range(1000):
            self.wfile.write(b"x")
            time.sleep(0.02)

    def give_headers(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        self._drip(b"x")

    def give_continues(self) -> None:
        self._drip(b"HTTP/1.1 100 Continue\r\n\r\n")

    def give_trailers(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n")
        self._drip(b"X: y\r\n")

    def give_talk(self) -> None:
        for _ in range(100_000):
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def give_silence(self) -> None:
        time.sleep(2)

    def _drip(self, drop: bytes) -> None:
        for _ in range(100):
            self.wfile.write(drop)
            time.sleep(0.02)

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """It does not mind clients that have enough."""

    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """That of a server on loopback."""
    server = Server(("127.0.0.1", 0), Pictures)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def nobody_waits() -> Iterator[None]:
    """Outside of a request, whichever was worked on last in this process."""
    context.enter(context.Request())
    yield
    context.enter(context.Request())


@pytest.fixture
def allow(monkeypatch: pytest.MonkeyPatch) -> Allow:
    """Says what the deployment allows."""
    return lambda entries: monkeypatch.setenv("FETCH_HOSTS", entries)


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Gives every name the given addresses, one for each time that somebody asks, and notes who asks."""

    def known_as(*addresses: str) -> list[str]:
        asked: list[str] = []

        def found(host: str, port: int, **_: Any) -> list[Any]:
            asked.append(host)
            address = addresses[min(len(asked), len(addresses)) - 1]
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

        monkeypatch.setattr(socket, "getaddrinfo", found)
        return asked

    return known_as


@pytest.fixture
def gone(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Where connections would have gone; none is made."""
    goals: list[Any] = []

    def connect(goal: Any, _: Any) -> Any:
        goals.append(goal)
        raise OSError("that was enough")

    monkeypatch.setattr(socket, "create_connection", connect)
    return goals


def test_what_is_allowed_is_fetched(port: int, allow: Allow) -> None:
    allow(f"images.example.com, 127.0.0.1:{port}")
    assert urls.fetch(f"http://127.0.0.1:{port}/picture/ä b?x=1&y=%20".replace(" ", "%20")) == (
        f"127.0.0.1:{port} /picture/%C3%A4%20b?x=1&y=%20".encode()
    )


def test_nothing_is_allowed_that_nobody_named(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FETCH_HOSTS", raising=False)
    with pytest.raises(
        ValueError, match=rf"127\.0\.0\.1:{port} is not among .* \(nothing\): set FETCH_HOSTS"
    ):
        urls.fetch(f"http://127.0.0.1:{port}/picture")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "https://127.0.0.1:{port}1/",
        "http://localhost:{port}/",
        "http://127.1:{port}/",
        "http://2130706433:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://example.com.evil.net/",
        "http://notexample.com/",
        "http://sub.example.com/",
        "http://example.com:8080/",
        "http://wild.net/",
        "http://a.wild.net:81/",
    ],
)
def test_another_host_or_port_is_refused(port: int, allow: Allow, url: str) -> None:
    allow(f"127.0.0.1:{port}, example.com, *.wild.net")
    with pytest.raises(ValueError, match=r"is not among the hosts|is no address"):
        urls.fetch(url.format(port=port))


@pytest.mark.parametrize(
    "url",
    [
        "", "picture.jpg", "file:///etc/passwd", "ftp://example.com/", "gopher://example.com/", "http://",
        "http://example.com@evil.net/", "http://u:p@example.com/", "http://example.com/\r\nX: y",
        "http://example.com/ HTTP/1.1", "http://example.com:x/", "http://[::1/", f"http://{'a' * 300}/",
        b"\xff", 7,
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(allow: Allow, url: Any) -> None:
    allow("example.com, evil.net")
    with pytest.raises(ValueError, match=r"expected|is no address"):
        urls.fetch(url)


@pytest.mark.parametrize(
    ("entry", "address", "refused"),
    [
        ("images.example.com", "127.0.0.1", True),
        ("images.example.com", "169.254.169.254", True),
        ("images.example.com", "0.0.0.0", True),
        ("images.example.com", "224.0.0.1", True),
        ("images.example.com", "10.1.2.3", False),
        ("images.example.com", "93.184.216.34", False),
        ("*.example.com", "10.1.2.3", True),
        ("*.example.com", "100.64.0.1", True),
        ("*.example.com", "127.0.0.1", True),
        ("*.example.com", "93.184.216.34", False),
        ("images.example.com", "168.63.129.16", True),
        ("images.example.com", "100.100.100.200", True),
        ("images.example.com", "fd00:ec2::254", True),
        ("images.example.com", "0.1.2.3", True),
        ("images.example.com", "::1", True),
        ("images.example.com", "fe80::1", True),
        ("images.example.com", "::ffff:127.0.0.1", True),
        ("images.example.com", "64:ff9b::7f00:1", True),
        ("images.example.com", "64:ff9b::a9fe:a9fe", True),
        ("images.example.com", "64:ff9b:1::a00:1", True),
        ("images.example.com", "2002:a00:1::1", True),
        ("images.example.com", "2001:0:a00:1::1", True),
        ("images.example.com", "::a00:1", True),
        ("images.example.com", "fec0::5", True),
        ("images.example.com", "fd12::1", False),
        ("images.example.com", "64:ff9b::a00:1", False),
        ("*.example.com", "64:ff9b::a00:1", True),
        ("*.example.com", "fd12::1", True),
        ("*.example.com", "64:ff9b::5db8:d822", False),
        ("*.example.com", "2606:2800:220:1::1", False),
    ],
)
def test_a_name_may_not_lead_inside(
    allow: Allow, called: Callable[..., list[str]], gone: list[Any], entry: str, address: str, refused: bool
) -> None:
    called(address)
    allow(f"{entry}, BÜCHER.example.")
    with pytest.raises(ValueError, match="an address that is not fetched from" if refused else "was enough"):
        urls.fetch("https://images.example.com/1.jpg")
    assert gone == ([] if refused else [(address, 443)])


def test_hosts_are_compared_as_they_are_looked_up(allow: Allow, called: Callable[..., list[str]]) -> None:
    asked = called("127.0.0.1")
    allow("BÜCHER.example., *.图片.example")
    for url in ("http://bücher.example/", "http://xn--bcher-kva.EXAMPLE./", "http://a.图片.example/"):
        with pytest.raises(ValueError, match="an address that is not fetched from"):
            urls.fetch(url)
    third = "a.图片.example".encode("idna").decode()
    assert asked == ["xn--bcher-kva.example", "xn--bcher-kva.example", third]


def test_a_silent_name_server_is_not_waited_for(allow: Allow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **more: threading.Event().wait())
    allow("example.com")
    with pytest.raises(ValueError, match=r"example\.com is not known: it took too long"):
        urls.fetch("http://example.com/", seconds=0.1)


def test_another_address_is_tried_where_one_is_dead(
    port: int, allow: Allow, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM)
    dead = [(*real[0][:4], ("127.0.0.1", 1))]  # nobody listens there
    connect, goals = socket.create_connection, []

    def connected(goal: Any, seconds: Any) -> Any:
        goals.append(goal)
        if len(goals) == 1:
            raise OSError("it is dead")
        return connect(goal, seconds)

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **more: [*dead, *real])
    monkeypatch.setattr(socket, "create_connection", connected)
    allow(f"127.0.0.1:{port}")
    assert urls.fetch(f"http://127.0.0.1:{port}/picture") == f"127.0.0.1:{port} /picture".encode()
    assert len(goals) == 2


def test_a_name_that_changes_meanwhile_leads_where_it_was_judged(
    allow: Allow, called: Callable[..., list[str]], gone: list[Any]
) -> None:
    asked = called("93.184.216.34", "127.0.0.1")
    allow("*.example.com")
    with pytest.raises(ValueError, match="was enough"):
        urls.fetch("http://a.example.com/")
    assert (asked, gone) == (["a.example.com"], [("93.184.216.34", 80)])


def test_redirects_are_judged_anew(port: int, allow: Allow) -> None:
    allow(f"127.0.0.1:{port}")
    here = f"http://127.0.0.1:{port}"
    assert urls.fetch(f"{here}/away//picture") == f"127.0.0.1:{port} /picture".encode()
    with pytest.raises(ValueError, match=r"127\.0\.0\.2:\d+ is not among"):
        urls.fetch(f"{here}/away/http://127.0.0.2:{port}/picture")
    with pytest.raises(ValueError, match="expected http"):
        urls.fetch(f"{here}/away/file:///etc/passwd")
    with pytest.raises(ValueError, match="more than 3 redirects"):
        urls.fetch(f"{here}/round")
    assert urls.fetch(f"{here}/raw").endswith(b"/picture/%E5%9B%BE")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nowhere", "answered 404 Not Found"),
        ("much", "more than 4000 bytes"),
        ("endless", "more than 4000 bytes"),
        ("half", "ended before its answer did"),
        ("talk", "says too much"),
    ],
)
def test_what_comes_is_bounded(port: int, allow: Allow, what: str, message: str) -> None:
    allow(f"127.0.0.1:{port}")
    with pytest.raises(ValueError, match=message):
        urls.fetch(f"http://127.0.0.1:{port}/{what}", most_bytes=4000, seconds=60)


@pytest.mark.parametrize("what", ["drops", "silence", "headers", "continues", "trailers"])
def test_whatever_comes_late_or_slowly_is_given_up(port: int, allow: Allow, what: str) -> None:
    allow(f"127.0.0.1:{port}")
    with pytest.raises(ValueError, match=r"took too long|timed out"):
        urls.fetch(f"http://127.0.0.1:{port}/{what}", most_bytes=4000, seconds=0.3)


def test_it_waits_no_longer_than_the_request(port: int, allow: Allow) -> None:
    allow(f"127.0.0.1:{port}")
    context.enter(context.Request(deadline=0.0))  # when the machine began
    with pytest.raises(ValueError, match="too long"):
        urls.fetch(f"http://127.0.0.1:{port}/picture")


def test_a_host_must_prove_who_it_is(
    port: int, allow: Allow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with door(f"http://127.0.0.1:{port}", tmp_path) as (address, trusted):
        allow(address.removeprefix("https://"))
        with pytest.raises(ValueError, match="certificate verify failed"):
            urls.fetch(f"{address}/picture")
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        assert urls.fetch(f"{address}/picture").startswith(b"127.0.0.1:")
        with pytest.raises(ValueError, match="redirects to an address without TLS"):
            urls.fetch(f"{address}/away/http://127.0.0.1:{port}/picture")
