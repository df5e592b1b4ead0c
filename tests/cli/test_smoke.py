"""`doctor gpu` of this machine tries the cards with a program of its own, whatever that program does."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.backends.local import nodes
from modelyard.domain.node import Gpu, Node
from modelyard.standalone import cards


def lay(
    program: str, directory: Path, monkeypatch: pytest.MonkeyPatch, *, cards_there: tuple[str, ...]
) -> None:
    """A program in the driver's place, and what NVML tells."""
    path = directory / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{program}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")
    there = tuple(Gpu(index=n, name=name, memory_bytes=1) for n, name in enumerate(cards_there))
    node = Node(name="here", cpu_millis=1000, memory_bytes=1, gpus=there)
    monkeypatch.setattr(nodes, "discover", lambda: node)


def test_what_a_program_sees_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay("echo 'GPU 0: Tesla T4 (UUID: GPU-1)'", tmp_path, monkeypatch, cards_there=("Tesla T4",))
    assert cards.smoke(10) == ("smoke", True, "Tesla T4 (GPU-1)")


@pytest.mark.parametrize(
    ("program", "there", "words"),
    [
        ("echo 'NVIDIA-SMI has failed'; exit 9", (), "ended with 9 and printed: NVIDIA-SMI has failed"),
        ("echo 'No devices were found'", (), "printed: No devices were found"),
        ("sleep 60", (), "had not ended after 0.2 s"),
        ("echo 'GPU 0: NVIDIA L4 (UUID: GPU-1)'", ("Tesla T4",), "but NVML tells Tesla T4"),
    ],
)
def test_what_goes_wrong_is_told(
    program: str, there: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(program, tmp_path, monkeypatch, cards_there=there)
    name, ok, said = cards.smoke(0.2 if "sleep" in program else 10)
    assert (name, ok) == ("smoke", False)
    assert words in said


def test_without_a_driver_nothing_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    _, ok, said = cards.smoke(1)
    assert not ok
    assert "nvidia-smi is not on the PATH" in said
