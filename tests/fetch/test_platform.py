"""The fetcher against the platform's own endpoint, over a real socket."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.backends.delivery import Tree
from modelyard.control.deliveries import Couriers
from modelyard.domain.model import File
from modelyard_fetch import outcome
from tests.artifacts.streams import stream
from tests.fetch.running import manifest, run, start, tree
from tests.support import faces
from tests.support.faces import Live
from tests.support.patience import PATIENCE

BIG = os.urandom(40 * 1024 * 1024)
WHOLE = {"model/big.bin": BIG, "model.onnx": b"graph", "empty": b""}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with faces.live(tmp_path_factory.mktemp("platform")) as running:
        yield running


def lent(live: Live, tmp_path: Path) -> tuple[Path, tuple[File, ...]]:
    """A manifest of files that a task is lent."""
    platform = live.faces.platform
    couriers = Couriers(
        artifacts=platform.artifacts,
        master_key=platform.master_key,
        clock=platform.clock,
        new_id=platform.new_id,
        base=f"{live.url}/api/v1/artifacts",
    )

    async def store() -> tuple[File, ...]:
        async with platform.artifacts.upload() as upload:
            for name, data in WHOLE.items():
                await upload.add(name, stream(data, size=1 << 20))
            return await upload.commit()

    files = live.call(store())
    grant = live.call(couriers.for_task([Tree(path=tmp_path, files=files)], seconds=600))
    listed = [
        {"path": f.path, "size": f.size, "sha256": f.sha256, "token": grant.tokens[f.sha256]}
        for f in grant.files
    ]
    return manifest(tmp_path, listed, base=grant.base), files


def test_files_come_from_the_platform(live: Live, tmp_path: Path) -> None:
    wanted, _ = lent(live, tmp_path)
    code, said = run(wanted, tmp_path / "models")
    assert (code, said) == (outcome.OK, said)
    assert tree(tmp_path / "models") == WHOLE


def test_a_killed_fetch_goes_on(live: Live, tmp_path: Path) -> None:
    wanted, files = lent(live, tmp_path)
    process = start(wanted, tmp_path / "models", "--parallel", "1")
    big = next(file for file in files if file.path == "model/big.bin")
    ledger = tmp_path / "models/.modelyard" / f"{big.sha256}.done"
    deadline = time.monotonic() + PATIENCE
    while not ledger.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert run(wanted, tmp_path / "models")[0] == outcome.OK
    assert tree(tmp_path / "models") == WHOLE


def test_a_flipped_bit_in_the_store_never_reaches_a_model(live: Live, tmp_path: Path) -> None:
    wanted, files = lent(live, tmp_path)
    small = next(file for file in files if file.path == "model.onnx")
    root: Path = live.faces.platform.artifacts._root  # type: ignore[attr-defined]
    blob = root / "blobs" / small.sha256[:2] / small.sha256
    blob.chmod(0o644)
    blob.write_bytes(b"grapf")
    try:
        code, said = run(wanted, tmp_path / "models", "--attempts", "2")
    finally:
        blob.write_bytes(b"graph")
    assert code in (outcome.DIFFERS, outcome.UNREACHABLE)
    assert not (tmp_path / "models/model.onnx").exists()
    assert "mya_" not in said


def test_a_forged_token_is_refused(live: Live, tmp_path: Path) -> None:
    wanted, _ = lent(live, tmp_path)
    wanted.write_text(wanted.read_text().replace("mya_", "mya_x"))
    code, said = run(wanted, tmp_path / "models")
    assert code == outcome.REFUSED
    assert said.count("\n") == 1
