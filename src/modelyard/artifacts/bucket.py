"""One bucket of a server that speaks S3: requests by obstore, its errors in our words."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
from obstore import exceptions
from obstore.store import S3Store

from modelyard.domain.errors import FieldError, Invalid, Unavailable
from modelyard.domain.storage import StoreOptions

if TYPE_CHECKING:
    from obstore.store import S3Config

PART_BYTES = 16 * 1024 * 1024
"""Larger objects are sent in parts of this size; S3 takes 10,000 of them."""
_MOST_PARTS = 10_000
_AT_ONCE = 4
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_SIGNED_FOR = timedelta(hours=1)
_WAIT_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Who is asking."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is known of an object without reading it."""

    name: str
    size: int
    changed: datetime


def keys(options: StoreOptions, environ: Mapping[str, str]) -> Keys:
    """From the file of the settings, else from the environment; raises Invalid naming what is missing."""
    found = dict(environ)
    if options.credentials_file:
        found |= {f"AWS_{name.strip().upper()}": value for name, value in _lines(options.credentials_file)}
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    missing = next((name for name in names if not found.get(name)), None)
    if missing:
        raise _invalid(
            "credentials_file", f"no {missing.removeprefix('AWS_').lower()} there; or set {missing}"
        )
    return Keys(
        access_key_id=found["AWS_ACCESS_KEY_ID"],
        secret_access_key=found["AWS_SECRET_ACCESS_KEY"],
        session_token=found.get("AWS_SESSION_TOKEN", ""),
    )


class Bucket:
    """Objects below one prefix; whole or not there at all, because S3 shows no half ones."""

    def __init__(self, options: StoreOptions, keys: Keys, *, patience_seconds: float = 30.0) -> None:
        self.name, self.prefix = place(options.url)
        self._endpoint = options.endpoint or f"https://s3.{options.region}.amazonaws.com"
        if urlsplit(self._endpoint).scheme not in ("http", "https"):
            raise _invalid("endpoint", "must begin with http:// or https://")
        self._store = S3Store(
            self.name,
            prefix=self.prefix or None,
            config=_config(
                options, keys, _endpoint(self._endpoint, self.name, path_style=options.path_style)
            ),
            client_options={
                "allow_http": self._endpoint.startswith("http:"),
                "connect_timeout": "5s",
                "read_timeout": "30s",
                "timeout": "1h",
                **({"root_certificate": _certificate(options.ca_file)} if options.ca_file else {}),
            },
            retry_config={"max_retries": 5, "retry_timeout": timedelta(seconds=patience_seconds)},
        )

    async def put(self, name: str, path: Path) -> None:
        """Send a file; large ones in parts, of which nothing shows before the last."""
        size = (await asyncio.to_thread(path.stat)).st_size
        chunk = max(PART_BYTES, -(-size // _MOST_PARTS))
        with self._explained(f"storing {name}"):
            await obstore.put_async(self._store, name, path, chunk_size=chunk, max_concurrency=_AT_ONCE)

    async def head(self, name: str) -> Seen | None:
        """What is known of an object; None when there is none of that name."""
        with self._explained(f"looking for {name}"):
            try:
                meta = await obstore.head_async(self._store, name)
            except FileNotFoundError:
                return None
        return Seen(name=name, size=meta["size"], changed=meta["last_modified"])

    async def read(self, name: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """An object's bytes, or those from `start` to before `end`; raises FileNotFoundError."""
        with self._explained(f"reading {name}"):
            if end is None:
                found = await obstore.get_async(self._store, name)
            else:
                found = await obstore.get_async(self._store, name, options={"range": (start, end)})
            async for data in found.stream(min_chunk_size=1024 * 1024):
                yield bytes(data)

    async def delete(self, name: str) -> None:
        """Remove an object; nothing when it is gone already."""
        with self._explained(f"removing {name}"):
            await obstore.delete_async(self._store, name)

    async def list(self, prefix: str) -> AsyncIterator[Seen]:
        """Every object below a prefix; an empty one is all."""
        with self._explained("listing it"):
            async for page in obstore.list(self._store, prefix or None, chunk_size=1000):
                for meta in page:
                    yield Seen(name=meta["path"], size=meta["size"], changed=meta["last_modified"])

    async def signed(self, name: str) -> str:
        """An address that reads the object without keys, for an hour."""
        with self._explained("signing an address"):
            return await obstore.sign_async(self._store, "GET", name, _SIGNED_FOR)

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Turn what the server or the network says into Unavailable with its remedy."""
        try:
            yield
        except FileNotFoundError as error:
            if "NoSuchBucket" not in str(error):
                raise
            raise self._unavailable(what, str(error)) from None
        except (exceptions.BaseError, OSError) as error:
            raise self._unavailable(what, str(error)) from None

    def _unavailable(self, what: str, said: str) -> Unavailable:
        code = _CODE.search(said)
        reason = next(
            (text for words, text in self._reasons() if any(word in said for word in words)),
            f"{self._endpoint} answered with an error",
        )
        told = f" ({code[1]})" if code else ""
        return Unavailable(
            f"the artifact store failed while {what}: {reason}{told}", retry_after_seconds=_WAIT_SECONDS
        )

    def _reasons(self) -> tuple[tuple[tuple[str, ...], str], ...]:
        """Words of an error, and what they mean; the first that fits."""
        there = self._endpoint
        return (
            (
                ("NoSuchBucket",),
                f"there is no bucket `{self.name}` at {there}; make it, or mend `artifacts.url`",
            ),
            (
                ("403 Forbidden", "401 Unauthorized", "necessary privileges"),
                f"{there} refuses the keys; check them, and what they may do in `{self.name}`",
            ),
            (
                ("certificate", "UnknownIssuer"),
                f"the certificate of {there} is not trusted; name its authority in `artifacts.ca_file`",
            ),
            (
                ("error sending request", "timed out", "connection closed", "error decoding response"),
                f"{there} does not answer; check the network and `artifacts.endpoint`",
            ),
        )


def _config(options: StoreOptions, keys: Keys, endpoint: str) -> S3Config:
    config: S3Config = {
        "endpoint": endpoint,
        "region": options.region,
        "access_key_id": keys.access_key_id,
        "secret_access_key": keys.secret_access_key,
        "virtual_hosted_style_request": not options.path_style,
    }
    if keys.session_token:
        config["session_token"] = keys.session_token
    return config


def place(url: str, name: str = "artifacts.url") -> tuple[str, str]:
    """Bucket and prefix of an address; raises Invalid naming where it stands."""
    parts = urlsplit(url)
    if parts.scheme != "s3" or not _NAME.fullmatch(parts.netloc) or parts.query or parts.fragment:
        message = f"`{url[:100]}` must be s3://BUCKET or s3://BUCKET/PREFIX"
        raise Invalid(f"{name}: {message}", errors=[FieldError(name, message)])
    return parts.netloc, parts.path.strip("/")


def _endpoint(endpoint: str, bucket: str, *, path_style: bool) -> str:
    """obstore wants the bucket in the host when that is how it is addressed."""
    if path_style:
        return endpoint
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{bucket}.{parts.netloc}"


def _lines(path: str) -> Iterator[tuple[str, str]]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise _invalid("credentials_file", f"{path} cannot be read: {reason}") from None
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.lstrip().startswith("#"):
            yield name, value.strip()


def _certificate(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise _invalid("ca_file", f"{path} cannot be read: {error.strerror}") from None


def _invalid(name: str, message: str) -> Invalid:
    return Invalid(f"artifacts.{name}: {message}", errors=[FieldError(f"artifacts.{name}", message)])
