"""`config show` is pasted into tickets: it says no password."""

from __future__ import annotations

import json

import pytest

from modelyard.cli import app


@pytest.mark.parametrize("form", ["table", "json", "yaml"])
@pytest.mark.parametrize(
    ("name", "url", "shown"),
    [
        ("STORE__URL", "postgresql://my:s3cret@db.example/my", "postgresql://***@db.example/my"),
        ("STORE__URL", "postgresql://my:s3cret/s3@cret@db.example/my", "postgresql://***@db.example/my"),
        ("STORE__URL", "postgresql://db/my?password=s3cret&a=b", "postgresql://db/my?password=***&a=b"),
        ("RUNTIMES__INDEX_URL", "https://s3cret@pypi.example/simple", "https://***@pypi.example/simple"),
    ],
)
def test_no_form_of_output_has_the_password(
    form: str,
    name: str,
    url: str,
    shown: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(f"MODELYARD_{name}", url)
    assert app.run(["config", "show", "--origin", "-o", form]) == 0
    out = capfd.readouterr().out
    assert "s3cret" not in out
    assert shown in out
    if form == "json":
        assert json.loads(out)[name.lower().replace("__", ".")]["origin"] == "environment"
