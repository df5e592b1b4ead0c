"""Another server than Modelyard's own: where it runs, what is asked of it, and what is said when it fails."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx2
import pytest

import modelyard
from modelyard.domain.views import DeploymentView
from tests.scenarios.engines import Engine, until

SITE = """
import http.server, os, pathlib, threading
class Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        broken = pathlib.Path(os.environ["MODELYARD_WORK_DIR"], self.path.strip("/") or "none").exists()
        said = os.environ["WORD"] + " in " + os.getcwd() + " with " + pathlib.Path("motto").read_text()
        if self.path == "/figures":
            said = "# TYPE site_asked counter\\nsite_asked 42\\n"
        self.send_response(500 if broken else 200)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said.encode())
    def log_message(self, *_): pass
pathlib.Path(os.environ["MODELYARD_WORK_DIR"], "dead").unlink(missing_ok=True)
doors = [http.server.ThreadingHTTPServer((os.environ["MODELYARD_HOST"], int(os.environ[name])), Site)
         for name in ("MODELYARD_PORT", "MODELYARD_PORT_2")]
for door in doors:
    threading.Thread(target=door.serve_forever).start()
"""


def probe(http: str) -> dict[str, object]:
    return {"http": http, "period_seconds": 1.0, "failure_threshold": 2}


MOTTO = "{{MODELYARD_SERVICE}} at {{MODELYARD_PORT}}"


def wanted(word: str, **changes: object) -> dict[str, object]:
    server = {
        "kind": "serving",
        "command": "exec python -S site.py",
        "working_directory": "{{MODELYARD_CONFIG_DIR}}",
        "ports": [8080, 9090],
        **changes,
    }
    return {
        "server": server,
        "config_files": f"---site.py\n{SITE}\n---motto\n{MOTTO}\n",
        "env": f"WORD={word}",
        "health": {"readiness": probe("/unready"), "liveness": probe("/dead")},
        "metrics": "9090:/figures",
        "public": True,
    }


@pytest.fixture(scope="module")
def site(engine: Engine) -> Iterator[str]:
    with engine.client() as client:
        client.deploy("", name="site", **wanted("one"))
        yield "site"
        client.undeploy("site")


def asked(engine: Engine, path: str = "/") -> httpx2.Response:
    return httpx2.get(f"{engine.platform.url}/services/default/site{path}", timeout=20, trust_env=False)


def view(engine: Engine) -> DeploymentView:
    with engine.client() as client:
        return client.deployments.get("site")


def run(engine: Engine, script: str) -> None:
    with engine.client() as client:
        assert client.shells.run("site", ("sh", "-c", script)).code == 0


def found(engine: Engine) -> set[str]:
    with engine.client() as client:
        return {each.reason for each in client.deployments.explain("site").findings}


def test_its_command_directory_files_and_variables_are_its_users(engine: Engine, site: str) -> None:
    answer = asked(engine).text
    assert re.fullmatch(rf"one in /\S*config with {site} at [0-9]+\n", answer), answer


def test_its_second_port_and_its_figures_are_reached(engine: Engine, site: str) -> None:
    (replica,) = engine.replicas(site)
    assert replica.second_address
    text = httpx2.get(f"{engine.platform.url}/metrics", timeout=20, trust_env=False).text
    lines = [each for each in text.splitlines() if f'service="{site}"' in each]
    assert any(each.startswith("site_asked{") and each.endswith(" 42") for each in lines), lines
    assert any(each.startswith("up{") and each.endswith(" 1") for each in lines), lines


def test_it_gets_no_requests_while_it_says_that_it_is_not_ready(engine: Engine, site: str) -> None:
    run(engine, 'touch "$MODELYARD_WORK_DIR"/unready')
    until(lambda: asked(engine).status_code == 503, "no requests while it is not ready")
    until(lambda: "ReadinessFailed" in found(engine), "it is explained")
    (replica,) = view(engine).status.replicas
    assert replica.failure is not None
    assert "/unready answered 500" in replica.failure.message
    run(engine, 'rm "$MODELYARD_WORK_DIR"/unready')
    until(lambda: asked(engine).status_code == 200, "requests again")


def test_it_is_started_again_in_its_place_when_it_does_not_live(engine: Engine, site: str) -> None:
    (before,) = view(engine).status.replicas
    run(engine, 'touch "$MODELYARD_WORK_DIR"/dead')
    until(lambda: view(engine).status.replicas[0].worker_restarts > before.worker_restarts, "started again")
    until(lambda: view(engine).status.ready_replicas == 1, "it is ready again")
    until(lambda: asked(engine).status_code == 200, "it answers again")
    (after,) = view(engine).status.replicas
    assert (after.name, after.address) == (before.name, before.address), "nobody took its place"
    assert after.failure is not None
    assert after.failure.reason == "LivenessFailed"
    with engine.client() as client:
        said = [each for each in client.deployments.events(site) if each.reason == "WorkerRestarted"]
        assert any("LivenessFailed: the liveness probe failed: /dead answered 500" in e.message for e in said)
        ended = [each for each in client.deployments.events(site) if each.reason == "ReplicaFailed"]
        assert not [each for each in ended if before.name in each.message], "of others only"
    assert "LivenessFailed" in engine.cli("explain", site)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("no-such-program", "ProgramNotFound"),
        (["no-such-program", "x"], "ProgramNotFound"),
        ("echo out of luck; exit 3", "ServerExited"),
    ],
)
def test_a_command_that_does_not_serve_leaves_the_good_revision_and_is_explained(
    engine: Engine, site: str, command: object, reason: str
) -> None:
    with engine.client() as client:
        with pytest.raises(modelyard.Refused, match=reason):
            client.deploy("", name=site, **wanted("worse", command=command))
        assert asked(engine).text.startswith("one ")
        assert reason in found(engine)


def test_in_debug_it_is_started_by_hand(engine: Engine, site: str) -> None:
    with engine.client() as client:
        client.deploy("", name=f"{site}@debug", **wanted("hands"))
        path = f"{engine.platform.url}/services/default/{site}@debug/"
        assert httpx2.get(path, timeout=20, trust_env=False).status_code == 503
        ran = client.shells.run(f"{site}@debug", ("sh", "-c", 'echo "$MODELYARD_STAGE"; exit 7'))
        assert (ran.stdout, ran.code) == (b"debug\n", 7)
        by_hand = (
            'cd "$MODELYARD_CONFIG_DIR"; '
            'setsid sh -c "$MODELYARD_START_COMMAND" >/dev/null 2>&1 </dev/null & '
            'echo $! >"$MODELYARD_WORK_DIR"/number'
        )
        assert client.shells.run(f"{site}@debug", ("sh", "-c", by_hand)).code == 0
        until(
            lambda: httpx2.get(path, timeout=20, trust_env=False).status_code == 200,
            "it answers once it was started",
        )
        # Here a shell's own processes may outlive their container.
        end = 'kill "$(cat "$MODELYARD_WORK_DIR"/number)"'
        assert client.shells.run(f"{site}@debug", ("sh", "-c", end)).code == 0
        client.undeploy(f"{site}@debug")
