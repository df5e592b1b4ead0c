"""Bytes of a pickle, plain or compressed, read forward only and never more than asked for."""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from pathlib import Path
from typing import BinaryIO, Protocol

from modelyard.formats import limits
from modelyard.formats.pickles.values import Blob, Malformed

CHUNK = 256 * 1024
MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ", "xz"),
    (b"\x5d\x00", "lzma"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"ZF", "joblib-z"),
    (b"\x78", "zlib"),
)
"""First bytes to the compression that joblib takes them for."""


def compression(head: bytes) -> str:
    """Name the compression of a file that starts with `head`; empty when it has none."""
    return next((name for magic, name in MAGIC if head.startswith(magic)), "")


def open_source(path: Path) -> tuple[Source, str]:
    """Open a pickle for reading; returns it with the name of its compression (empty for none).

    Raises Malformed for a compression that cannot be read here.
    """
    file = path.open("rb", buffering=CHUNK)
    try:
        kind = compression(file.read(8))
        file.seek(0)
        size = path.stat().st_size
        if not kind:
            return Source(file, size), kind
        limit = min(limits.MAX_INFLATED, size * limits.MAX_INFLATION + limits.INFLATION_FLOOR)
        return Source(io.BufferedReader(_Inflating(file, kind), CHUNK), limit), kind
    except BaseException:
        file.close()
        raise


class Source:
    """A forward reader that knows pickle frames and says plainly where a file ends too early."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._file = file
        self._limit = limit
        """More bytes than this cannot be there, so a larger length is a lie."""
        self.position = 0
        self._frame_end: int | None = None

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, count: int) -> bytes:
        """Return exactly `count` bytes. Raises Malformed when the file ends before."""
        self._advance(count)
        data = self._file.read(count)
        if len(data) != count:
            raise self._ended()
        return data

    def byte(self) -> int:
        """Return the next byte as a number."""
        return self.read(1)[0]

    def number(self, size: int) -> int:
        """Return an unsigned little-endian number of `size` bytes."""
        return int.from_bytes(self.read(size), "little")

    def blob(self, count: int, *, keep: int = limits.KEPT_BYTES) -> Blob:
        """Read past `count` bytes and keep the first `keep` of them."""
        self._advance(count)
        head = self._file.read(min(count, keep))
        if len(head) != min(count, keep):
            raise self._ended()
        left = count - len(head)
        while left:
            data = self._file.read(min(left, CHUNK))
            if not data:
                raise self._ended()
            left -= len(data)
        return Blob(count, head)

    def line(self) -> bytes:
        """Return the bytes up to the next newline, without it."""
        data = self._file.readline(limits.MAX_LINE + 1)
        if len(data) > limits.MAX_LINE:
            raise Malformed(f"a line is longer than {limits.MAX_LINE} bytes")
        if not data.endswith(b"\n"):
            raise self._ended()
        self._advance(len(data))
        return data[:-1]

    def begin_frame(self, size: int) -> None:
        """Note that the next `size` bytes are one frame; instructions may not cross its end."""
        if self.framed:
            raise Malformed(f"a frame begins inside a frame at byte {self.position}")
        if size > self._limit - self.position:
            raise self._ended()
        self._frame_end = self.position + size

    @property
    def framed(self) -> bool:
        """Whether bytes of the current frame are left."""
        return self._frame_end is not None and self.position < self._frame_end

    def at_end(self) -> bool:
        """Whether no byte is left, in this frame or after it."""
        return not self.framed and not self._file.read(1)

    def _advance(self, count: int) -> None:
        end = self._frame_end
        if end is not None:
            if self.position >= end:
                self._frame_end = None
            elif self.position + count > end:
                raise Malformed(f"an instruction crosses the end of its frame at byte {self.position}")
        self.position += count
        if self.position > self._limit:
            raise self._ended()

    def _ended(self) -> Malformed:
        if self.position > self._limit and self._limit >= limits.INFLATION_FLOOR:
            return Malformed(f"it ends too early, or unfolds to more than {self._limit} bytes")
        return Malformed("it ends too early: the file is truncated or damaged")


class _Codec(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


class _Inflating(io.RawIOBase):
    """The unfolded bytes of one compressed stream that fills its file."""

    def __init__(self, file: BinaryIO, kind: str) -> None:
        self._in = file
        self._codec = _codec(kind)
        self._kind = kind
        self._rest = b""

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._in.close()
        super().close()

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        try:
            data = self._some(len(view))
        except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError, MemoryError) as error:
            raise Malformed(f"its {self._kind} compression is damaged ({error})") from None
        view[: len(data)] = data
        return len(data)

    def _some(self, count: int) -> bytes:
        while not self._codec.eof:
            data = self._inflate(count)
            if data:
                return data
        if self._codec.unused_data or self._in.read(1):
            raise Malformed("more bytes follow the end of its compressed data")
        return b""

    def _inflate(self, count: int) -> bytes:
        codec = self._codec
        if isinstance(codec, bz2.BZ2Decompressor | lzma.LZMADecompressor):
            more = self._in.read(CHUNK) if codec.needs_input else b""
            if codec.needs_input and not more:
                raise EOFError("it ends too early")
            return codec.decompress(more, max_length=count)
        more = self._rest or self._in.read(CHUNK)
        if not more:
            raise EOFError("it ends too early")
        data: bytes = codec.decompress(more, count)  # type: ignore[attr-defined]
        self._rest = codec.unconsumed_tail  # type: ignore[attr-defined]
        return data


def _codec(kind: str) -> _Codec:
    match kind:
        case "zlib":
            return zlib.decompressobj()
        case "gzip":
            return zlib.decompressobj(wbits=31)
        case "bz2":
            return bz2.BZ2Decompressor()
        case "xz" | "lzma":
            return lzma.LZMADecompressor(memlimit=limits.LZMA_MEMORY)
        case "lz4":
            raise Malformed(
                "it is compressed with lz4, which cannot be checked here; "
                "write it again with joblib.dump(model, path, compress=('zlib', 3))"
            )
        case _:
            raise Malformed(
                "it was written by joblib before 0.10; load it and write it again with joblib.dump"
            )
