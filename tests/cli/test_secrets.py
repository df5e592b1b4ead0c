"""`modelyard secret` from files, words and standard input."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.cli.conftest import Run


def test_a_secret_from_words_files_and_standard_input(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_bytes(b"\xff\x00")
    (tmp_path / "lines.env").write_text("# of the database\nUSER=eve\nPASSWORD=a=b\n")
    words = ("PASSWORD=other", f"key.bin=@{tmp_path / 'key'}", "AT=@@home")
    made = run(
        "secret", "set", "db", *words, "--from-env-file", str(tmp_path / "lines.env"), "-o", "json"
    ).json()
    assert isinstance(made, dict)
    assert (made["keys"], made["binary"]) == (["AT", "PASSWORD", "USER", "key.bin"], ["key.bin"])
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"typed")))
    run("secret", "set", "db", "TYPED=@-", "--remove", "AT")
    listed = run("secret", "list").out
    assert "PASSWORD, TYPED, USER, key.bin" in listed
    assert "other" not in listed
    assert "typed" not in listed
    assert "keys" in run("secret", "set", "db", "ONLY=x", "--replace").out
    assert run("secret", "list", "-o", "json").json()["items"][0]["keys"] == ["ONLY"]  # type: ignore[index]
    assert "deleted db" in run("secret", "delete", "db").err
    run("secret", "delete", "db", code=3)


def test_what_is_wrong_is_said_without_what_may_be_a_value(run: Run, tmp_path: Path) -> None:
    run("secret", "set", "db", code=2)
    assert "hunter2" not in run("secret", "set", "db", "hunter2", code=2).err
    assert str(tmp_path / "none") in run("secret", "set", "db", f"K=@{tmp_path / 'none'}", code=2).err
    assert "a b" in run("secret", "set", "db", "a b=hunter2", code=2).err
    assert "1 to 63" in run("secret", "set", "No", "K=hunter2", code=2).err


def test_a_secret_that_is_used_is_deleted_by_force(run: Run, published: str) -> None:
    run("secret", "set", "db", "PASSWORD=hunter2")
    run("deploy", published, "--name", "sums", "--env", "PASSWORD={{secret.db.PASSWORD}}")
    assert "sums" in run("secret", "list").out
    assert "used by deployment sums" in run("secret", "delete", "db", code=7).err
    run("secret", "delete", "db", "--force")
    run("undeploy", "sums")
