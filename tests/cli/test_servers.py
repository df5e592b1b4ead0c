"""Another server on the command line and in a file, and commands in its replicas."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.client import options
from modelyard.domain.errors import Invalid
from modelyard.domain.health import Probe
from modelyard.domain.server import Server, ServerKind
from tests.cli.conftest import Run

FILE = """
kind: Deployment
metadata: {name: site}
spec:
  server: {kind: serving, command: [serve, "{{MODELYARD_PORT}}"], ports: [80, 81]}
  env: |
    A=b=c
  config_files: |
    ---site.conf
    listen
  health: "80:/well"
  mounts: ["1Gi(memory):/cache", "site.conf(config):/etc/site.conf"]
"""


def test_another_server_is_deployed_by_options(run: Run, tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("# of the site\nA=1\nB=x=y\n")
    (tmp_path / "blocks").write_text("---site.conf\nlisten\n")
    run(
        "deploy", "--name", "site", "--command", "serve", "--port", "80", "--port", "81", "--health",
        "shell:true", "--metrics", "81:/m", "--mount", "1Gi(memory):/cache", "--env-file", "lines", "--env",
        "A=2", "--config", "blocks", "--image", "a/b:1",
    )  # fmt: skip
    shown = run("status", "site", "-o", "json").json()
    assert isinstance(shown, dict)
    spec = shown["spec"]
    assert spec["server"] == {
        "kind": "serving", "image": "a/b:1", "command": "serve", "working_directory": "", "ports": [80, 81],
    }  # fmt: skip
    assert (spec["env"], spec["metrics"], spec["mounts"][0]["size"]) == (
        {"A": "2", "B": "x=y"},
        "81:/m",
        "1Gi",
    )
    assert spec["health"]["readiness"]["command"] == "true"
    assert "site.conf" in run("deployment", "server", "site").out


def test_another_server_is_deployed_by_a_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(FILE)
    run("deploy", "-f", "site.yaml")
    assert "serve '{{MODELYARD_PORT}}'" in run("deployment", "server", "site").out


def test_a_command_is_run_in_a_replica(run: Run, published: str) -> None:
    run("deploy", published, "--name", "sums")
    assert run("exec", "sums", "--", "echo", "-n", "is here").out == "echo -n is here\n"
    assert "no replica" in run("exec", "--replica", "ghost", "sums", "ls", code=3).err
    run("scale", "sums", "--replicas", "0")
    assert "no replica of sums runs" in run("exec", "sums", "ls", code=7).err
    run("exec", "nothing", "ls", code=3)


def test_texts_of_people_become_fields() -> None:
    spec = options.deployment_spec(
        "", {"server": {"kind": "serving", "command": "x"}, "env": "A=b=c", "health": "/well", "cpu": 1}
    )
    assert spec.server == Server(kind=ServerKind.SERVING, command="x")
    assert (spec.env, spec.health.readiness, spec.resources.cpu) == ({"A": "b=c"}, Probe(http="/well"), "1")
    with pytest.raises(Invalid, match=r"spec\.env: line 1 has no `=`"):
        options.deployment_spec("m@1", {"env": "A"})
