from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.artifacts import LocalArtifacts


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


@pytest.fixture
def store(root: Path) -> LocalArtifacts:
    return LocalArtifacts(root)
