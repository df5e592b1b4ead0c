"""Every command: data on standard output in the form asked for, everything else on standard error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Run
from tests.support.faces import Live


def test_the_story_on_the_command_line(run: Run, source: Path) -> None:
    done = run(
        "publish", str(source), "--name", "sums", "--signature", "signature.json", "--metrics", '{"auc": 0.9}'
    )
    assert "sums@1" in done.out
    assert "auc=0.9" in done.out
    tested = run("test", "sums@1", "-d", "[[1, 2]]")
    assert json.loads(tested.out) == {"prediction": [1.0]}
    assert "hello from the model" in tested.err
    assert "CPU" in tested.err
    deployed = run("deploy", "sums@1", "--name", "sums", "--replicas", "2", "--env", "A=b=c")
    assert "Running" in deployed.out
    assert "2/2 ready" in deployed.out
    assert json.loads(run("predict", "sums", "-d", "[[1, 2], [3, 4]]").out) == {"prediction": [3.0, 7.0]}
    assert json.loads(run("predict", "sums", "--sample").out) == {"prediction": [3.0]}
    assert json.loads(run("predict", "sums", "-d", '{"x": [[1, 1]]}').out) == {"prediction": [2.0]}
    assert "sums" in run("status").out
    assert "Running" in run("status", "sums").out
    assert run("explain", "sums").out
    assert "[sums-" in run("logs", "sums", "--tail", "5").out
    assert json.loads(run("metrics", "sums", "--json").out)["total"]["requests"] == 0
    assert "p99" in run("metrics", "sums", "--step", "1m", "--replicas").out.lower()
    run("publish", str(source), "--name", "sums")
    run("deploy", "sums@2", "--name", "sums", "--replicas", "2", "-o", "json")
    assert "sums@1" in run("rollback", "sums").out
    assert run("history", "sums").out.count("sums@") == 3
    assert "1/1" in run("scale", "sums", "--replicas", "1").out
    run("scale", "sums", "--min", "1", "--max", "3", "--on", "concurrency:8", "--priority", "high")
    shown = run("status", "sums").out
    assert "1 to 3, concurrency:8" in shown
    assert "high" in shown
    run("scale", "sums", "--on", "disk:1", code=2)
    run("restart", "sums")
    assert "undeployed sums" in run("undeploy", "sums").err
    run("status", "sums", code=3)


def test_every_list_and_view_comes_as_table_json_and_yaml(run: Run, published: str) -> None:
    run("deploy", published, "--name", "sums")
    for line in (
        "status",
        "status sums",
        "history sums",
        "explain sums",
        "metrics sums",
        "model list",
        "model show sums",
        "model show sums@1",
        "deployment list",
        "deployment show sums",
        "deployment events sums",
        "endpoint list",
        "runtime list",
        "runtime show host",
        "project list",
        "node list",
        "user list",
        "token list",
        "whoami",
        "config show",
        "validate sums@1",
        "test sums@1",
    ):
        words = line.split()
        assert run(*words).out.strip(), line
        document = json.loads(run(*words, "-o", "json").out)
        assert yaml.safe_load(run(*words, "-o", "yaml").out).keys() == document.keys(), line


def test_a_service_is_made_offline_from_the_command_line(run: Run, published: str) -> None:
    made = run("deployment", "create", published, "--name", "later", "-o", "json").json()
    assert (made["name"], made["spec"]["replicas"], made["state"]) == ("later", 0, "Offline")
    assert "already exists" in run("deployment", "create", published, "--name", "later", code=7).err


def test_global_options_stand_anywhere(run: Run, installation: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MODELYARD_URL", "MODELYARD_TOKEN"):
        monkeypatch.delenv(name)
    options = ("--server", installation.url, f"--token={installation.token}", "-o", "json")
    expected = run("whoami", *options).json()
    assert run(*options, "whoami").json() == expected
    assert run(
        "--server", installation.url, "user", "-o", "json", "list", "--token", installation.token
    ).json()
    assert run("--project", "default", "model", "list", *options).json() == {"items": []}


def test_progress_goes_to_standard_error_and_nothing_is_coloured_when_piped(run: Run, published: str) -> None:
    done = run("deploy", published, "--name", "sums")
    for text in (done.out, done.err, run("status").out, run("--help").out):
        assert "\x1b[" not in text


def test_a_file_is_validated_without_being_published(run: Run, source: Path) -> None:
    assert "not published" in run("validate", str(source)).out
    assert run("model", "list", "-o", "json").json() == {"items": []}
    source.write_text("no python(")
    run("validate", str(source), code=4)
    run("validate", "model@1", code=3)
    run("validate", str(source), "--format", "excel", code=2)


def test_a_service_is_planned_promoted_and_cleared(run: Run, published: str) -> None:
    run("deploy", published, "--name", "sums@test", "--cpu", "0.25")
    planned = run("promote", "sums@test", "--dry-run").out
    assert "creates sums: revision 1 runs sums@1" in planned
    assert "cpu: 0 → 0.25" in planned
    run("status", "sums", code=3)
    assert "Running" in run("promote", "sums@test", "--clear").out
    assert run("history", "sums", "-o", "json").json()["items"][0]["reason"] == "promote sums@test revision 1"
    assert (
        "~ replicas 1 → 2" in run("plan", published, "--name", "sums", "--replicas", "2", "--cpu", "250m").out
    )
    assert "is offline" in run("promote", "sums@test", code=7).err
    assert "is in production" in run("promote", "sums", code=2).err
    states = {
        each["stage"]: each["spec"]["replicas"] for each in run("clear", "sums", "-o", "json").json()["items"]
    }
    assert states == {"production": 0, "test": 0}


def test_a_file_of_deployments_is_applied(run: Run, published: str, tmp_path: Path) -> None:
    file = tmp_path / "services.yaml"
    file.write_text(
        "kind: Deployment\nmetadata: {name: one}\nspec: {model: sums@1, env: {A: b}}\n---\n"
        "kind: Deployment\nmetadata: {name: two@test}\nspec: {model: sums, replicas: 0}\n"
    )
    assert "creates one" in run("deploy", "-f", str(file), "--dry-run").out
    run("status", "one", code=3)
    done = run("deploy", "-f", str(file))
    assert "Running" in done.out
    assert "Offline" in done.out
    assert "two@test" in run("status").out
    for text in (
        "kind: Pod",
        "kind: Deployment\nspec: {model: a}",
        "kind: Deployment\nmetadata: {name: x}",
        "[",
        "a",
    ):
        file.write_text(text)
        assert "services.yaml" in run("deploy", "-f", str(file), code=2).err
    run("deploy", "sums", "-f", str(file), code=2)


def test_models_and_their_words(run: Run, published: str, tmp_path: Path) -> None:
    run("model", "update", "sums", "--description", "adds")
    run("model", "update", published, "--version-label", "v1.5", "--metrics", "good")
    assert "champion=1" in run("model", "alias", "sums", "champion", "v1.5").out
    assert "good" in run("model", "show", "sums@champion").out
    run("model", "alias", "sums", "champion")
    assert run("model", "download", published, str(tmp_path / "out")).out.strip().endswith("model.py")
    run("model", "delete", published)
    run("model", "delete", "sums")
    run("model", "show", "sums", code=3)


def test_accounts_on_the_command_line(
    run: Run, installation: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def typed(text: str) -> None:
        path = tmp_path / "typed"
        path.write_text(text)
        monkeypatch.setattr("sys.stdin", path.open())

    typed("correct horse battery\n")
    run("user", "create", "ana", "--password-stdin")
    run("project", "create", "fraud", "--trust", "never")
    assert "developer" in run("project", "members", "fraud", "--set", "ana=developer").out
    secret = run("token", "create", "--description", "ci", "--scope", "read", "--expires", "24h").out.strip()
    assert secret.startswith("myu_")
    run("user", "list", "--token", secret, code=6)
    assert "admin" in run("whoami", "--token", secret).out
    assert run("login", "--link").out.startswith(f"{installation.url}/login/")
    for name in ("MODELYARD_TOKEN", "MODELYARD_PROJECT"):
        monkeypatch.delenv(name)
    typed("correct horse battery\n")
    assert "logged in as ana" in run("login", "ana").err
    assert run("whoami", "-o", "json").json()["name"] == "ana"  # type: ignore[index]
    run("user", "list", code=6)
    monkeypatch.setenv("MODELYARD_TOKEN", installation.token)
    run("user", "update", "ana", "--disabled")
    monkeypatch.delenv("MODELYARD_TOKEN")
    run("whoami", code=6)
    monkeypatch.setenv("MODELYARD_TOKEN", installation.token)
    run("user", "delete", "ana")
    run("project", "delete", "fraud")


def test_runtimes_and_projects(run: Run) -> None:
    run("runtime", "create", "small", "--package", "numpy==2.0.0")
    assert "small" in run("runtime", "list").out
    refused = run("runtime", "create", "torch", "--image", "not an image", code=2)
    assert "spec.image" in refused.err
    assert "registry/name:tag" in refused.err
    run("runtime", "create", "torch", "--image", "team/torch:2")
    assert "team/torch:2" in run("runtime", "list").out
    run("runtime", "delete", "torch")
    assert "--image" in run("runtime", "create", "nothing", code=2).err
    run("runtime", "build", "small")
    run("runtime", "delete", "small")
    assert "Created" in run("project", "events", "default").out


def test_rows_come_from_files_and_standard_input(
    run: Run, published: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("deploy", published, "--name", "sums")
    (tmp_path / "rows.json").write_text("[[1, 2]]")
    assert json.loads(run("predict", "sums", "-f", "rows.json").out) == {"prediction": [3.0]}
    monkeypatch.setattr("sys.stdin", (tmp_path / "rows.json").open())
    assert json.loads(run("predict", "sums", "-f", "-").out) == {"prediction": [3.0]}
    run("predict", "sums", code=2)
    run("predict", "sums", "-d", "[[1, 2]]", "-f", "rows.json", code=2)
    (tmp_path / "odd.json").write_bytes(b"\xff\xfe")
    for words in (
        ("-d", "[[1,"),
        ("-f", "nothing.json"),
        ("-f", "odd.json"),
        ("-d", '[["a", 1]]'),
        ("-d", "[[1]]"),
    ):
        run("predict", "sums", *words, code=2)


def test_a_quota_on_the_command_line(run: Run, source: Path) -> None:
    run("project", "create", "limited", "--quota", "replicas=1")
    assert "replicas=1" in run("project", "show", "limited").out
    run("publish", str(source), "--name", "sums", "--signature", "signature.json", "--project", "limited")
    refused = run("deploy", "sums@1", "--name", "sums", "--replicas", "2", "--project", "limited", code=4)
    assert "the quota of project limited is 1 replicas: 0 in use, 2 more needed" in refused.err
    assert "modelyard project quota limited" in refused.err
    raised = run("project", "quota", "limited", "--set", "cpu=2,replicas=3", "-o", "json").out
    assert json.loads(raised)["items"] == [
        {"name": "cpu", "limit": "2", "used": "0"},
        {"name": "memory", "limit": "", "used": "0"},
        {"name": "gpus", "limit": "", "used": "0"},
        {"name": "replicas", "limit": "3", "used": "0"},
    ]
    asked = ("--replicas", "2", "--cpu", "500m", "--project", "limited", "--no-wait")
    run("deploy", "sums@1", "--name", "sums", *asked)
    assert "no limit" in run("project", "quota", "limited").out
    run("project", "quota", "limited", "--set", "none")
    assert "quota" not in run("project", "show", "limited").out


def test_the_network_of_a_project_on_the_command_line(run: Run) -> None:
    run("project", "create", "shared")
    run("project", "create", "apart", "--isolated")
    assert "isolated" in run("project", "show", "apart").out
    wider = ("--allow-project", "shared", "--allow-namespace", "monitoring")
    run("project", "network", "apart", *wider, "--allow-namespace", "gateways")
    shown = json.loads(run("project", "network", "apart", "-o", "json").out)
    assert shown.pop("enforcement") == "not enforced", "these replicas are but records"
    assert shown == {
        "isolated": True, "allow_projects": ["shared"], "allow_namespaces": ["monitoring", "gateways"],
    }  # fmt: skip
    fewer = ("--deny-namespace", "monitoring", "--deny-project", "shared")
    less = run("project", "network", "apart", *fewer).out
    assert "gateways" in less
    assert "monitoring" not in less
    assert "isolated, but for namespace gateways" in run("project", "show", "apart").out
    refused = run("project", "network", "apart", "--allow-project", "apart", code=2).err
    assert "spec.network.allow_projects[0]: is the project itself" in refused
    opened = json.loads(run("project", "network", "apart", "--open", "-o", "json").out)
    assert (opened["isolated"], opened["allow_namespaces"]) == (False, [])
    assert "isolated" not in run("project", "show", "apart").out
    run("project", "network", "nobody", code=3)
