"""Requests to whoever has the bytes: who gets which secret, what an answer means, when to try again."""

from __future__ import annotations

import http.client
import os
import random
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Callable, Dict, Iterator, Mapping, Optional
from urllib.parse import urlsplit

from modelyard_fetch import outcome, sigv4
from modelyard_fetch.manifest import Entry
from modelyard_fetch.outcome import Failed

CHUNK = 256 * 1024
SLOW_SECONDS = 60.0
SLOW_BYTES = 64 * 1024
"""A connection that brings less than this in `SLOW_SECONDS` is given up for a new one."""
_TIMEOUT_SECONDS = 30.0
_LONGEST_WAIT = 60.0
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_BROKEN = (OSError, http.client.HTTPException)


class Again(Exception):
    """It did not work this time; `after` is how many seconds the server asks to wait."""

    def __init__(self, message: str, after: Optional[float] = None) -> None:
        super().__init__(message)
        self.after = after


class NoRanges(Exception):
    """The server sends files only as a whole."""


@dataclass(frozen=True)
class S3:
    """Where `s3://` addresses lead."""

    keys: Optional[sigv4.Keys]
    endpoint: str = ""
    path_style: bool = True

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> S3:
        """From the variables that Amazon's tools read."""
        access, secret = environ.get("AWS_ACCESS_KEY_ID", ""), environ.get("AWS_SECRET_ACCESS_KEY", "")
        region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        keys = sigv4.Keys(access, secret, environ.get("AWS_SESSION_TOKEN", ""), region) if access else None
        endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or ""
        style = environ.get("MODELYARD_S3_PATH_STYLE", "true").lower() not in ("0", "false", "no")
        return cls(keys, (endpoint or "https://s3.%s.amazonaws.com" % region).rstrip("/"), style)

    def address(self, url: str) -> str:
        """The HTTP address of an object."""
        parts = urlsplit(self.endpoint)
        bucket, key = url[len("s3://") :].split("/", 1) if url.count("/") > 2 else (url[len("s3://") :], "")
        if not key:
            raise Failed(outcome.USAGE, "%s names no object" % url)
        key = sigv4.quoted(key)
        if self.path_style:
            return "%s/%s/%s" % (self.endpoint, bucket, key)
        return "%s://%s.%s%s/%s" % (parts.scheme, bucket, parts.netloc, parts.path, key)


@dataclass
class Remote:
    """Asks for bytes, and asks again; safe to use from several threads."""

    base: str = ""
    token: str = ""
    """Sent to the base's origin only."""
    s3: S3 = field(default_factory=lambda: S3(None))
    attempts: int = 8
    ca_file: str = ""
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random
    now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)

    def __post_init__(self) -> None:
        context = ssl.create_default_context()
        if self.ca_file:
            try:
                context.load_verify_locations(self.ca_file)
            except (OSError, ssl.SSLError) as error:
                raise Failed(outcome.USAGE, "%s is no certificate: %s" % (self.ca_file, error)) from None
        self._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))

    def read(self, entry: Entry, start: int, end: int) -> Iterator[bytes]:
        """Bytes `start` to `end` (exclusive) of a file; goes on where a connection broke.

        Raises Failed when the server's answer is final or patience ends, NoRanges when it has no ranges.
        """
        at, failures = start, 0
        while True:
            try:
                for data in self._once(entry, at, end):
                    at, failures = at + len(data), 0
                    yield data
                if at >= end:
                    return
                raise Again("the connection ended %d bytes early" % (end - at))
            except Again as again:
                failures += 1
                self.pause(failures, again, entry.url)

    def pause(self, failures: int, again: Again, url: str) -> None:
        """Wait before the next try; raises Failed when there were enough."""
        if failures >= self.attempts:
            said = "%s: %s; %d tries in a row brought nothing" % (_shown(url), again, failures)
            raise Failed(outcome.UNREACHABLE, said)
        asked = again.after
        backoff = min(30.0, 0.5 * 2.0**failures) * (0.5 + self.chance() / 2)
        self.sleep(backoff if asked is None else min(asked, _LONGEST_WAIT))

    def _once(self, entry: Entry, at: int, end: int) -> Iterator[bytes]:
        request, url = self._request(entry, at, end), entry.url
        try:
            with self._opener.open(request, timeout=_TIMEOUT_SECONDS) as response:
                _check_range(response, at, end, entry)
                yield from _pieces(response, end - at)
        except urllib.error.HTTPError as error:
            with error:
                raise _judged(error, url) from None
        except ssl.SSLCertVerificationError as error:
            raise Failed(outcome.UNREACHABLE, "%s: %s" % (_shown(url), error)) from None
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise Failed(outcome.UNREACHABLE, "%s: %s" % (_shown(url), error.reason)) from None
            raise Again(str(error.reason)) from None
        except _BROKEN as error:
            raise Again(str(error) or type(error).__name__) from None

    def _request(self, entry: Entry, at: int, end: int) -> urllib.request.Request:
        url, size = entry.url, entry.size
        part = {"Range": "bytes=%d-%d" % (at, end - 1)} if (at, end) != (0, size) else {}
        if url.startswith("s3://"):
            address = self.s3.address(url)
            split = urlsplit(address)
            keys = self.s3.keys
            headers = sigv4.headers(keys, split.netloc, split.path, self.now(), part) if keys else part
        else:
            address, headers = url, dict(part)
            token = entry.token or (self.token if _origin(url) == _origin(self.base) else "")
            if token:
                headers["Authorization"] = "Bearer " + token
        plain = {"Accept-Encoding": "identity", **part}
        request = urllib.request.Request(address, headers=plain)  # noqa: S310 - the manifest allows HTTP only
        for name in headers.keys() - part.keys():  # a redirect to another server takes no secrets along
            request.add_unredirected_header(name, headers[name])
        return request


def token_of(path: str, environ: Mapping[str, str]) -> str:
    """The token from a file, else from the environment; raises Failed when the file cannot be read."""
    if not path:
        return environ.get("MODELYARD_FETCH_TOKEN", "").strip()
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except (OSError, ValueError) as error:
        raise Failed(outcome.USAGE, "token file %s cannot be read: %s" % (path, error)) from None


def _pieces(response: http.client.HTTPResponse, left: int) -> Iterator[bytes]:
    """What comes, as long as it comes; raises Again when it hardly does."""
    since, brought = time.monotonic(), 0
    while left:
        data = response.read1(min(CHUNK, left))
        if not data:
            return
        left -= len(data)
        brought += len(data)
        yield data
        passed = time.monotonic() - since
        if passed > SLOW_SECONDS:
            if brought < SLOW_BYTES:
                raise Again("only %d bytes came in %d seconds" % (brought, passed))
            since, brought = time.monotonic(), 0


def _check_range(response: http.client.HTTPResponse, at: int, end: int, entry: Entry) -> None:
    url, size = entry.url, entry.size
    if response.status == 200:
        length = response.headers.get("Content-Length")
        if length is not None and length.isdigit() and int(length) != size:
            raise Failed(outcome.DIFFERS, "%s has %s bytes, published were %d" % (_shown(url), length, size))
        if (at, end) != (0, size):
            raise NoRanges
        return
    if response.status != 206:
        raise Again("the server answered %d" % response.status)
    told = response.headers.get("Content-Range", "")
    if told not in ("bytes %d-%d/%d" % (at, end - 1, size), "bytes %d-%d/*" % (at, end - 1)):
        raise Failed(
            outcome.DIFFERS,
            "%s: asked for bytes %d to %d of %d, got `%s`" % (_shown(url), at, end, size, told),
        )


def _judged(error: urllib.error.HTTPError, url: str) -> Exception:
    said = "%s: %d %s" % (_shown(url), error.code, error.reason)
    if error.code in _BUSY:
        after = error.headers.get("Retry-After", "")
        return Again("the server answered %d" % error.code, float(after) if after.isdigit() else None)
    if error.code == 416:
        return Failed(outcome.DIFFERS, said + "; the file there is shorter than the published one")
    if error.code in (401, 403):
        return Failed(outcome.REFUSED, said + "; check the token or the keys")
    if error.code in (404, 410):
        return Failed(outcome.NOT_FOUND, said)
    return Failed(outcome.REFUSED, said)


def _origin(url: str) -> Dict[str, object]:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return {"scheme": parts.scheme, "host": parts.hostname, "port": port}


def _shown(url: str) -> str:
    """The address without what may be secret in it."""
    parts = urlsplit(url)
    return "%s://%s%s" % (parts.scheme, parts.netloc.rpartition("@")[2], parts.path)


def environ() -> Mapping[str, str]:
    """The process's own environment."""
    return os.environ
