"""`doctor gpu` and `doctor kubernetes` on machines that have neither: every line says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from modelyard.cli.app import app
from modelyard.standalone import cards


def test_a_machine_without_a_card_says_so_with_a_remedy() -> None:
    found = {name: (ok, text) for name, ok, text in cards.checks()}
    assert found.keys() == {"driver", "NVML", "nvidia-smi", "cards"}
    for ok, text in found.values():
        assert ok or "install" in text or "PATH" in text or "--gpus all" in text


def test_a_kubeconfig_that_is_not_there_is_a_plain_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELYARD_HOME", str(tmp_path))
    result = CliRunner().invoke(app, ["doctor", "kubernetes", "--kubeconfig", str(tmp_path / "nothing")])
    assert result.exit_code != 0
    assert "Traceback" not in result.output
