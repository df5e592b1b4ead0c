"""Files come whole or the reason is told: against a real server that misbehaves."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelyard_fetch import manifest as reading
from modelyard_fetch import outcome
from modelyard_fetch.places import PIECE
from tests.fetch.faults import Files, serving
from tests.fetch.running import command, entry, manifest, run, start, tree
from tests.support import tls_door

BIG = os.urandom(20 * 1024 * 1024)
SMALL = b"graph"


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def server() -> Iterator[Files]:
    with serving({f"/a/{sha(data)}": data for data in (BIG, SMALL, b"")}) as files:
        yield files


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "models"


def listed(tmp_path: Path, server: Files) -> Path:
    files = [
        entry("model/big.bin", BIG),
        entry("model.onnx", SMALL),
        entry("empty", b""),
        entry("b/x", SMALL),
    ]
    return manifest(tmp_path, files, base=f"{server.url}/a")


WHOLE = {"model/big.bin": BIG, "model.onnx": SMALL, "empty": b"", "b/x": SMALL}


def test_files_come_in_pieces_and_only_once(tmp_path: Path, into: Path, server: Files) -> None:
    wanted = listed(tmp_path, server)
    assert run(wanted, into)[0] == outcome.OK
    assert tree(into) == WHOLE
    assert sorted(each for _, each, _ in server.asked if each) == [
        "bytes=0-8388607",
        "bytes=16777216-20971519",
        "bytes=8388608-16777215",
    ]
    server.asked.clear()
    assert run(wanted, into)[0] == outcome.OK
    assert server.asked == []


def test_a_file_that_was_damaged_meanwhile_is_fetched_again(
    tmp_path: Path, into: Path, server: Files
) -> None:
    wanted = listed(tmp_path, server)
    run(wanted, into)
    (into / "model.onnx").write_bytes(b"grapf")
    assert run(wanted, into)[0] == outcome.OK
    assert tree(into) == WHOLE


def test_resets_and_errors_are_survived_without_fetching_again_what_came(
    tmp_path: Path, into: Path, server: Files
) -> None:
    server.cuts = [3_000_000, 1_000_000, 100, 2_000_000]
    server.statuses = [(503, {"Retry-After": "0"}), (429, {"Retry-After": "0"}), (500, {})]
    assert run(listed(tmp_path, server), into)[0] == outcome.OK
    assert tree(into) == WHOLE
    starts = [int(each.removeprefix("bytes=").split("-")[0]) for _, each, _ in server.asked if each]
    assert any(start % PIECE for start in starts), "it goes on in the middle of a piece"


def test_a_server_without_ranges_is_read_in_one_go(tmp_path: Path, into: Path, server: Files) -> None:
    server.ranges = False
    server.cuts = [3_000_000]
    assert run(listed(tmp_path, server), into)[0] == outcome.OK
    assert tree(into) == WHOLE


def test_wrong_bytes_are_never_placed(tmp_path: Path, into: Path, server: Files) -> None:
    server.content[f"/a/{sha(BIG)}"] = BIG[:-1] + bytes([BIG[-1] ^ 1])
    wanted = listed(tmp_path, server)
    code, said = run(wanted, into)
    assert code == outcome.DIFFERS
    assert said.splitlines()[-1].startswith("modelyard-fetch: ArtifactCorrupt: what came differs")
    assert (tmp_path / "termination").read_text().startswith("ArtifactCorrupt: ")
    assert not (into / "model/big.bin").exists()
    server.content[f"/a/{sha(BIG)}"] = BIG
    assert run(wanted, into)[0] == outcome.OK
    assert tree(into) == WHOLE


@pytest.mark.parametrize(
    ("status", "code", "word"),
    [
        (404, outcome.NOT_FOUND, "ArtifactNotFound"),
        (401, outcome.REFUSED, "ArtifactRefused"),
        (403, outcome.REFUSED, "check the token"),
        (416, outcome.DIFFERS, "shorter than the published"),
        (400, outcome.REFUSED, "400"),
    ],
)
def test_a_final_answer_ends_it_at_once(
    tmp_path: Path, into: Path, server: Files, status: int, code: int, word: str
) -> None:
    server.statuses = [(status, {})] * 20
    found, said = run(listed(tmp_path, server), into)
    assert (found, word in said) == (code, True)
    assert len(set(server.asked)) == len(server.asked), "nothing is asked for again"
    assert "Traceback" not in said


def test_another_size_than_published_is_told(tmp_path: Path, into: Path, server: Files) -> None:
    server.content[f"/a/{sha(SMALL)}"] = SMALL + b"more"
    code, said = run(listed(tmp_path, server), into)
    assert code == outcome.DIFFERS
    assert "has 9 bytes, published were 5" in said


def test_errors_without_end_end_with_the_reason(tmp_path: Path, into: Path, server: Files) -> None:
    server.statuses = [(503, {"Retry-After": "0"})] * 200
    code, said = run(listed(tmp_path, server), into, "--attempts", "3")
    assert code == outcome.UNREACHABLE
    assert "the server answered 503; 3 tries in a row brought nothing" in said


def test_nobody_there_is_told(tmp_path: Path, into: Path) -> None:
    wanted = manifest(tmp_path, [entry("a", SMALL)], base="http://127.0.0.1:9")
    code, said = run(wanted, into, "--attempts", "2")
    assert code == outcome.UNREACHABLE
    assert "Connection refused" in said


def test_the_token_goes_to_the_base_and_to_no_other_server(tmp_path: Path, into: Path, server: Files) -> None:
    server.token = "mya_secret"
    secret = tmp_path / "token"
    secret.write_text("mya_secret\n")
    with serving({"/other": SMALL}) as other:
        server.statuses = [(302, {"Location": f"{other.url}/other"})]
        files = [entry("a", SMALL), entry("b", SMALL, url=f"{other.url}/other")]
        wanted = manifest(tmp_path, files[:1], base=f"{server.url}/a")
        assert run(wanted, into, "--token-file", str(secret))[0] == outcome.OK
        wanted = manifest(tmp_path, files[1:], base=f"{server.url}/a")
        assert run(wanted, into, env={"MODELYARD_FETCH_TOKEN": "mya_secret"})[0] == outcome.OK
        assert [each[2] for each in other.asked] == ["", ""]
    assert server.asked[0][2] == "Bearer mya_secret"
    files = [entry("d", SMALL, url=f"{server.url}/a/{sha(SMALL)}", token="mya_secret")]
    assert run(manifest(tmp_path, files), into)[0] == outcome.OK
    server.token = "other"
    code, said = run(
        manifest(tmp_path, [entry("c", BIG)], base=f"{server.url}/a"), into, "--token-file", str(secret)
    )
    assert code == outcome.REFUSED
    assert "mya_secret" not in said


def _bytes_below(directory: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*.part"))


def test_kill_9_in_the_middle_goes_on_where_it_was(tmp_path: Path, into: Path, server: Files) -> None:
    server.pace = 0.004
    wanted = listed(tmp_path, server)
    process = start(wanted, into, "--parallel", "1")
    while server.sent < 13_000_000:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (into / "model/big.bin").exists()
    assert _bytes_below(into) > 0
    server.asked.clear()
    server.pace = 0
    assert run(wanted, into)[0] == outcome.OK
    assert tree(into) == WHOLE
    assert all(each != "bytes=0-8388607" for _, each, _ in server.asked)


def test_a_stopped_fetch_keeps_what_came_and_ends_quickly(tmp_path: Path, into: Path, server: Files) -> None:
    server.pace = 0.05
    process = start(listed(tmp_path, server), into)
    while server.sent < 500_000:
        time.sleep(0.01)
    process.terminate()
    _, said = process.communicate(timeout=20)
    assert process.returncode == outcome.INTERRUPTED
    assert server.sent < len(BIG), "it does not wait for the rest"
    assert "what has arrived is kept" in said


def test_a_ledger_that_lies_is_found_by_the_checksum(tmp_path: Path, into: Path, server: Files) -> None:
    parts = into / ".modelyard"
    parts.mkdir(parents=True)
    (parts / f"{sha(BIG)}.part").write_bytes(bytes(len(BIG)))
    (parts / f"{sha(BIG)}.done").write_text("0\n1\n2\n")
    assert run(listed(tmp_path, server), into)[0] == outcome.OK
    assert tree(into) == WHOLE


def test_a_full_volume_is_told_and_nothing_half_is_placed(tmp_path: Path, into: Path, server: Files) -> None:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    done = subprocess.run(
        command(listed(tmp_path, server), into),
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        preexec_fn=limit,
    )
    assert done.returncode == outcome.NO_SPACE
    assert "DiskFull: no space left" in done.stderr
    assert not (into / "model/big.bin").exists()


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="mounting takes root")
def test_a_small_volume_is_refused_before_anything_comes(tmp_path: Path, server: Files) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(small)], check=False)
    if mounted.returncode:
        pytest.skip("this machine allows no mounts")
    try:
        code, said = run(listed(tmp_path, server), small)
        assert code == outcome.NO_SPACE
        assert f"{len(BIG) + len(SMALL)} bytes are needed" in said
        assert server.asked == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "a/../../x", "", "a//b", ".", "a\\b", "a\nb", ".modelyard/x", "x" * 300]
)
def test_a_path_that_escapes_is_refused_by_the_manifest(path: str) -> None:
    with pytest.raises(outcome.Failed, match=r"files\[0\].path") as caught:
        reading.parse({"base": "http://x", "files": [entry(path, b"")]})
    assert caught.value.code == outcome.USAGE


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ([], "must be an object"),
        ({"files": [3]}, r"files\[0\] must be an object"),
        ({"files": [{**entry("a", b""), "size": -1}]}, "size"),
        ({"files": [{**entry("a", b""), "size": True}]}, "size"),
        ({"files": [{**entry("a", b""), "sha256": "XYZ"}]}, "64 hex digits"),
        ({"files": [entry("a", b"")]}, "url must be"),
        ({"files": [entry("a", b"", url="file:///etc/passwd")]}, "url must be"),
        ({"files": [entry("a", b"", url="http://x/a", token="a\nb: c")]}, "token"),
        ({"base": "http://x", "files": [entry("a", b""), entry("a", b"")]}, "twice"),
        ({"base": "http://x", "files": [entry("a", b""), entry("a/b", b"")]}, "lies below"),
    ],
)
def test_a_wrong_manifest_names_what_is_wrong(document: object, word: str) -> None:
    with pytest.raises(outcome.Failed, match=word):
        reading.parse(document)


def test_a_link_that_leads_out_is_refused(tmp_path: Path, into: Path, server: Files) -> None:
    into.mkdir()
    (tmp_path / "outside").mkdir()
    (into / "model").symlink_to(tmp_path / "outside")
    code, said = run(listed(tmp_path, server), into)
    assert code == outcome.USAGE
    assert "leads out of" in said
    assert not list((tmp_path / "outside").iterdir())


def test_pods_of_a_node_fetch_once_into_their_cache(tmp_path: Path, server: Files) -> None:
    wanted, cache = listed(tmp_path, server), str(tmp_path / "cache")
    server.pace = 0.002
    pods = [start(wanted, tmp_path / f"pod{n}", "--cache", cache) for n in range(3)]
    assert [pod.communicate(timeout=100) and pod.returncode for pod in pods] == [0, 0, 0]
    assert all(tree(tmp_path / f"pod{n}") == WHOLE for n in range(3))
    assert server.sent == len(BIG) + len(SMALL)
    (tmp_path / "pod0/model.onnx").write_bytes(b"EVIL!")
    assert run(wanted, tmp_path / "pod4", "--cache", cache)[0] == outcome.OK
    assert tree(tmp_path / "pod4") == WHOLE


def test_a_bounded_cache_forgets_what_was_used_longest_ago(tmp_path: Path, server: Files) -> None:
    cache = tmp_path / "cache"
    run(listed(tmp_path, server), tmp_path / "pod0", "--cache", str(cache))
    other = os.urandom(1000)
    server.content[f"/a/{sha(other)}"] = other
    wanted = manifest(tmp_path, [entry("m", other)], base=f"{server.url}/a")
    assert run(wanted, tmp_path / "pod1", "--cache", str(cache), "--cache-bytes", "2000")[0] == outcome.OK
    kept = {path.name for path in cache.glob("??/*")}
    assert sha(other) in kept
    assert sha(BIG) not in kept
    assert tree(tmp_path / "pod0") == WHOLE


def test_a_cache_that_cannot_be_used_or_is_too_small_stops_nobody(tmp_path: Path, server: Files) -> None:
    wanted = listed(tmp_path, server)
    (tmp_path / "file").write_text("no directory")
    code, said = run(wanted, tmp_path / "pod0", "--cache", str(tmp_path / "file/cache"))
    assert (code, tree(tmp_path / "pod0")) == (outcome.OK, WHOLE)
    assert "cannot be used" in said
    cache = tmp_path / "cache"
    code, said = run(wanted, tmp_path / "pod1", "--cache", str(cache), "--cache-bytes", "1000")
    assert (code, tree(tmp_path / "pod1")) == (outcome.OK, WHOLE)
    assert "more than the cache may hold" in said
    assert not cache.exists()


def test_what_killed_pods_left_in_a_cache_goes_after_a_day(tmp_path: Path, server: Files) -> None:
    parts = tmp_path / "cache" / ".modelyard"
    parts.mkdir(parents=True)
    old, new = parts / ("1" * 64 + ".part"), parts / ("2" * 64 + ".part")
    for each in (old, new):
        each.write_bytes(b"half")
    os.utime(old, (1, 1))
    assert (
        run(listed(tmp_path, server), tmp_path / "pod0", "--cache", str(tmp_path / "cache"))[0] == outcome.OK
    )
    assert (old.exists(), new.exists()) == (False, True)


def test_a_large_file_takes_little_memory(tmp_path: Path, into: Path) -> None:
    large = bytes(120 * 1024 * 1024)
    with serving({f"/a/{sha(large)}": large}) as server:
        process = start(manifest(tmp_path, [entry("m", large)], base=f"{server.url}/a"), into)
        most = 0
        while process.poll() is None:
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                break
            most = max([most, *(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line)])
            time.sleep(0.01)
        process.communicate()
    assert process.returncode == 0
    assert 0 < most < 80_000


def test_a_server_with_an_authority_of_its_own_is_trusted_when_it_is_named(
    tmp_path: Path, into: Path, server: Files
) -> None:
    with tls_door.door(server.url, tmp_path / "tls") as (url, trusted):
        wanted = manifest(tmp_path, [entry("model.onnx", SMALL)], base=f"{url}/a")
        code, said = run(wanted, into)
        assert (code, "certificate verify failed" in said) == (outcome.UNREACHABLE, True)
        assert "tries in a row" not in said, "trying again would not help"
        assert run(wanted, into, "--ca-file", str(trusted))[0] == outcome.OK
        code, said = run(wanted, into, "--ca-file", str(tmp_path / "none"))
        assert (code, "Traceback" in said) == (outcome.USAGE, False)


@pytest.mark.parametrize("spoil", [lambda b: b[:-9], lambda b: b[:20] + b"\xff\xff" + b[22:]])
def test_a_packed_manifest_is_read_and_one_that_is_damaged_is_said_to_be(
    tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "manifest.json"
    document = {"base": "http://a/b", "files": [{"path": "m", "size": 1, "sha256": "0" * 64}]}
    packed = gzip.compress(json.dumps(document).encode())
    path.write_bytes(packed)
    assert [each.url for each in reading.read(str(path)).entries] == ["http://a/b/" + "0" * 64]
    path.write_bytes(spoil(packed))
    with pytest.raises(outcome.Failed, match="cannot be read"):
        reading.read(str(path))
