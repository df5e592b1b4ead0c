"""A link that logs the administrator in is for whoever started the platform, and for no log."""

from __future__ import annotations

import os

import pytest

from modelyard.cli import up
from modelyard.composing import announcing
from modelyard.settings import Backend, Settings

CLUSTER = Settings(backend=Backend(kind="kubernetes"))


def test_what_is_started_by_hand_is_told_everything() -> None:
    inherited = {"INVOCATION_ID": "0", "JOURNAL_STREAM": "1:1", "SYSTEMD_EXEC_PID": "1"}
    assert not announcing.is_kept(Settings(), inherited)
    assert not announcing.is_kept(CLUSTER, inherited)
    assert not announcing.is_kept(Settings(), {"POD_NAME": "a-workbench"})


def test_a_pods_log_and_the_journal_are_kept() -> None:
    errors = os.fstat(2)
    assert announcing.is_kept(CLUSTER, {"POD_NAME": "modelyard-1"})
    assert announcing.is_kept(Settings(), {"SYSTEMD_EXEC_PID": str(os.getpid())})
    assert announcing.is_kept(Settings(), {"JOURNAL_STREAM": f"{errors.st_dev}:{errors.st_ino}"})


def test_without_a_link_it_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    shown = up._Shown(0.0, None)
    monkeypatch.setenv("POD_NAME", "modelyard-1")
    shown.ready("http://192.0.2.1:30080", "")
    assert "`kubectl exec modelyard-1 -- modelyard login --link`" in capfd.readouterr().err
    monkeypatch.delenv("POD_NAME")
    shown.ready("http://127.0.0.1:8080", "")
    assert "`modelyard login --link`" in capfd.readouterr().err
    shown.ready("http://127.0.0.1:8080", "http://127.0.0.1:8080/login/once")
    assert "/login/once" in capfd.readouterr().err
