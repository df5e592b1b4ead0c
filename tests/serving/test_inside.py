"""The platform asks a front for its state; nobody else gets it, and a pod's front keeps its last words."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from tests.serving.replicas import replica, spawn

STATE = "/modelyard/state"
SHOWN = {"x-modelyard-platform": "a token"}
SHA256 = hashlib.sha256(b"a token").hexdigest()


def test_a_front_says_its_state_at_its_socket() -> None:
    with replica() as running:
        assert running.call("GET", STATE).json["phase"] == "ready"
        assert running.call("GET", STATE, b"", {"x-forwarded-for": "10.0.0.1"}).status == 404


def test_at_a_port_it_wants_to_see_the_token() -> None:
    with replica(listen="tcp", platform_sha256=SHA256, comparisons=True) as running:
        for path in (STATE, "/modelyard/comparisons"):
            assert running.call("GET", path).status == 404
            assert running.call("GET", path, b"", {"x-modelyard-platform": "another"}).status == 404
            assert running.call("GET", path, b"", SHOWN).status == 200
            assert running.call("GET", path, b"", {**SHOWN, "x-forwarded-proto": "http"}).status == 404


def test_what_could_not_be_served_is_in_the_last_words(tmp_path: Path) -> None:
    words = tmp_path / "termination-log"
    running = spawn(code="import missing_module\n", flags=("--last-words", str(words)))
    assert running.process.wait(30) == 1
    assert json.loads(words.read_text())["reason"] == "MissingPackage"


def test_flags_go_before_the_file(tmp_path: Path) -> None:
    elsewhere = tmp_path / "s"
    with replica(flags=("--listen", f"unix:{elsewhere}", "--replica", "churn-r1-abc")) as running:
        assert elsewhere.is_socket()
        assert "churn-r1-abc" in running.log


def test_in_a_pod_it_answers_as_the_service_whose_host_it_took_and_else_at_a_port_not() -> None:
    alias = {"x-modelyard-alias": "another"}
    for platform_sha256, status in ((SHA256, 200), ("", 404)):
        with replica(listen="tcp", platform_sha256=platform_sha256) as running:
            assert running.call("GET", "/v2/models/another/ready", b"", alias).status == status
