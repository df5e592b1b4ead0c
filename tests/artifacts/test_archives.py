"""Archives from strangers."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import zipfile

import pytest

from modelyard.artifacts import Artifacts, Bounds
from modelyard.domain.errors import Invalid, ModelyardError, NotFound, Refused, TooLarge
from tests.artifacts.conftest import Make
from tests.artifacts.streams import plain_tar, stream, tar, zipped


async def unpack(store: Artifacts, data: bytes, *, name: str = "model.tar.gz") -> dict[str, bytes]:
    async with store.upload() as upload:
        await upload.add(name, stream(data, size=65536))
        try:
            await upload.unpack(name)
        except ModelyardError:
            assert [file.path for file in upload.files] == [name], "what was unpacked is undone"
            on_disk = [path for path in upload.directory.rglob("*") if path.is_file()]
            assert on_disk == [upload.directory / name]
            raise
        files = await upload.commit()
        assert not (upload.directory / name).exists()
        return {file.path: (upload.directory / file.path).read_bytes() for file in files}


FILES = {"model.onnx": b"graph", "data/weights.bin": b"w" * 5000}


@pytest.mark.parametrize("mode", ["w", "w:gz"])
async def test_a_tar_is_unpacked_where_it_lies(store: Artifacts, mode: str) -> None:
    assert await unpack(store, plain_tar(FILES, mode=mode)) == FILES


async def test_a_zip_is_unpacked_in_its_folder(store: Artifacts) -> None:
    found = await unpack(store, zipped([("./model.onnx", b"graph"), ("data/", b"")]), name="a/model.zip")
    assert found == {"a/model.onnx": b"graph"}


async def test_an_archive_that_was_not_sent_is_not_found(store: Artifacts) -> None:
    async with store.upload() as upload:
        with pytest.raises(NotFound, match=r"`x.tar` is not in this upload"):
            await upload.unpack("x.tar")


@pytest.mark.parametrize("name", ["../evil", "/etc/cron.d/evil", "a/../../evil", "a\\..\\evil", "a\nb"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
async def test_a_member_outside_the_folder_is_refused_by_name(store: Artifacts, name: str, kind: str) -> None:
    members = {"good": b"x", name: b"evil"}
    data = plain_tar(members) if kind == "tar" else zipped(list(members.items()))
    with pytest.raises(Refused, match=r"evil|a.b"):
        await unpack(store, data)


def _special(kind: bytes, target: str = "") -> bytes:
    info = tarfile.TarInfo("innocent")
    info.type, info.linkname = kind, target
    return tar([(info, b"")])


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (tarfile.SYMTYPE, "link to `/etc/passwd`"),
        (tarfile.LNKTYPE, "link to `/etc/passwd`"),
        (tarfile.CHRTYPE, "device"),
        (tarfile.BLKTYPE, "device"),
        (tarfile.FIFOTYPE, "device or pipe"),
    ],
)
async def test_links_and_devices_in_a_tar_are_refused(store: Artifacts, kind: bytes, word: str) -> None:
    with pytest.raises(Refused, match=f"`innocent` is a {word}"):
        await unpack(store, _special(kind, "/etc/passwd"))


async def test_a_link_in_a_zip_is_refused(store: Artifacts) -> None:
    info = zipfile.ZipInfo("innocent")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(Refused, match="`innocent` is a link"):
        await unpack(store, zipped([(info, b"/etc/passwd")]))


async def test_a_name_that_comes_twice_is_refused(store: Artifacts) -> None:
    twice = [(tarfile.TarInfo("model"), b"good"), (tarfile.TarInfo("./model"), b"evil")]
    with pytest.raises(Refused, match=r"`\./model` is in the archive twice"):
        await unpack(store, tar(twice))


async def test_a_member_that_replaces_the_archive_is_refused(store: Artifacts) -> None:
    with pytest.raises(Refused, match="twice, or was sent beside it"):
        await unpack(store, plain_tar({"model.tar.gz": b"evil"}))


@pytest.mark.parametrize("kind", ["tar", "zip"])
async def test_a_bomb_is_refused_by_its_ratio(make: Make, kind: str) -> None:
    store = make(Bounds(max_ratio=50, ratio_floor=1_000_000))
    bomb = {"small": b"x", "bomb": bytes(30_000_000)}
    data = plain_tar(bomb) if kind == "tar" else zipped(list(bomb.items()))
    with pytest.raises(TooLarge, match="`bomb` unfolds to more than is allowed"):
        await unpack(store, data)


async def test_many_members_together_are_a_bomb_too(make: Make) -> None:
    store = make(Bounds(max_ratio=50, ratio_floor=1_000_000))
    with pytest.raises(TooLarge, match="unfolds to more"):
        await unpack(store, plain_tar({f"part{i}": bytes(400_000) for i in range(10)}))


async def test_more_members_than_allowed_are_refused(make: Make) -> None:
    store = make(Bounds(max_files=20))
    with pytest.raises(ModelyardError, match="20"):
        await unpack(store, plain_tar({f"f{i}": b"" for i in range(30)}))
    with pytest.raises(ModelyardError, match="20"):
        await unpack(store, zipped([(f"f{i}", b"") for i in range(60)]))


async def test_a_header_that_would_fill_the_memory_is_refused(store: Artifacts) -> None:
    info = tarfile.TarInfo("long")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 50_000_000
    data = gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(50_000_000 + 1024))
    with pytest.raises(Refused, match="has a header of 50000000 bytes"):
        await unpack(store, data)


async def test_an_encrypted_zip_is_refused(store: Artifacts) -> None:
    data = bytearray(zipped([("secret", b"x" * 100)]))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(Refused, match="`secret` is encrypted"):
        await unpack(store, bytes(data))


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
async def test_an_archive_cut_anywhere_is_refused_and_never_half_unpacked(
    store: Artifacts, kind: str
) -> None:
    files = {f"f{i}": os.urandom(1500) for i in range(3)}
    whole = {
        "tar": lambda: plain_tar(files, mode="w"),
        "tar.gz": lambda: plain_tar(files),
        "zip": lambda: zipped(list(files.items())),
    }[kind]()
    end = len(whole) - 1 if kind != "tar" else 512 * 12
    for cut in range(0, end, max(1, end // 40)):
        with pytest.raises((Invalid, Refused)):
            await unpack(store, whole[:cut])


async def test_a_flipped_bit_in_an_archive_is_refused(store: Artifacts) -> None:
    for data in (plain_tar({"a": os.urandom(5000)}), zipped([("a", os.urandom(5000))])):
        broken = bytearray(data)
        broken[2500] ^= 4
        with pytest.raises(Invalid, match="not a whole archive"):
            await unpack(store, bytes(broken))


@pytest.mark.parametrize(
    "data", [b"", b"x", b"hello world" * 100, b"PK\x03\x04" + b"x" * 50, b"\x1f\x8b" + b"x" * 50]
)
async def test_what_is_no_archive_is_invalid(store: Artifacts, data: bytes) -> None:
    with pytest.raises(Invalid, match="not a whole archive"):
        await unpack(store, data)


async def test_a_sparse_member_is_refused(store: Artifacts) -> None:
    info = tarfile.TarInfo("holes")
    info.type = tarfile.GNUTYPE_SPARSE
    info.size = 0
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    with pytest.raises((Refused, Invalid)):
        await unpack(store, gzip.compress(bytes(block) + io.BytesIO(bytes(1024)).read()))
