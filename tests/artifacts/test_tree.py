"""Directories of stored files."""

from __future__ import annotations

import asyncio
from pathlib import Path

from modelyard.artifacts import Artifacts
from modelyard.domain.model import File
from tests.artifacts.streams import publish


async def test_a_tree_holds_exactly_its_files(store: Artifacts) -> None:
    files = await publish(store, {"model.onnx": b"graph", "data/weights.bin": b"weights"})
    tree = await store.tree(files)
    found = {
        path.relative_to(tree).as_posix(): path.read_bytes() for path in tree.rglob("*") if path.is_file()
    }
    assert found == {"model.onnx": b"graph", "data/weights.bin": b"weights"}


async def test_the_same_content_arriving_many_times_at_once_is_kept_once(store: Artifacts) -> None:
    content = {"model.onnx": b"graph" * 1000, "data/weights.bin": b"weights" * 1000}
    for round_ in range(10):
        fresh = {name: data + bytes([round_]) for name, data in content.items()}
        published = await asyncio.gather(*(publish(store, fresh) for _ in range(12)))
        trees = await asyncio.gather(*(store.tree(files) for files in published))
        assert len(set(published)) == len(set(trees)) == 1
        assert (trees[0] / "model.onnx").read_bytes() == fresh["model.onnx"]


async def test_a_tree_is_reused_and_costs_no_space(store: Artifacts, root: Path) -> None:
    files = await publish(store, {"model.onnx": b"graph"})
    tree = await store.tree(files)
    assert await store.tree(tuple(reversed(files))) == tree
    assert (tree / "model.onnx").samefile(root / "blobs" / files[0].sha256[:2] / files[0].sha256)
    assert (tree / "model.onnx").stat().st_mode & 0o222 == 0


async def test_the_same_bytes_under_another_name_are_another_tree(store: Artifacts) -> None:
    (file,) = await publish(store, {"a": b"x"})
    other = File(path="b", size=file.size, sha256=file.sha256)
    assert await store.tree([file]) != await store.tree([other])
    both = await store.tree([file, other])
    assert sorted(path.name for path in both.iterdir()) == ["a", "b"]


async def test_a_file_that_was_removed_from_a_tree_is_put_back(store: Artifacts) -> None:
    files = await publish(store, {"d/a": b"x", "b": b"y"})
    tree = await store.tree(files)
    (tree / "d/a").unlink()
    assert await store.tree(files) == tree
    assert (tree / "d/a").read_bytes() == b"x"


async def test_a_tree_asked_for_by_many_at_once_is_made_once(store: Artifacts, root: Path) -> None:
    files = await publish(store, {f"f{i}": bytes([i]) for i in range(20)})
    trees = await asyncio.gather(*(store.tree(files) for _ in range(8)))
    assert len(set(trees)) == 1
    assert len(list(trees[0].iterdir())) == 20
    assert not list((root / "staging").iterdir())
