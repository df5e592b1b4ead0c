"""Another server behind the real gateway: cut off, started again, adopted, updated; and a shell in it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import httpx2

from modelyard.domain.views import DeploymentView
from tests.support.command import modelyard as command
from tests.support.command import until
from tests.support.platform import Running

SITE = """---site.py
import http.server, os, pathlib, sys
class Site(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        said = (os.environ["WORD"] + " " + self.path).encode()
        self.send_response(500 if pathlib.Path(self.path.strip("/") or "none").exists() else 200)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)
    def log_message(self, *_): pass
pathlib.Path("dead").unlink(missing_ok=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["MODELYARD_PORT"])), Site).serve_forever()
"""
COMMAND = 'exec python -S "$MODELYARD_CONFIG_DIR"/site.py'


def probe(http: str) -> dict[str, object]:
    return {"http": http, "period_seconds": 0.2, "failure_threshold": 2}


def wanted(word: str) -> dict[str, object]:
    return {
        "server": {"kind": "serving", "command": COMMAND},
        "config_files": SITE,
        "env": f"WORD={word}\nKEY=a=b",
        "health": {"readiness": probe("/unready"), "liveness": probe("/dead")},
        "public": True,
        "drain_seconds": 10.0,
    }


def test_another_server_is_a_service_like_any_other(platform: Running) -> None:
    with platform.client() as client:
        client.deploy("", name="site", **wanted("one"))
        address = f"{platform.url}/services/default/site"
        assert httpx2.get(f"{address}/x?y=1").text == "one /x?y=1"

        _touch(platform, "unready")
        until(lambda: httpx2.get(f"{address}/").status_code == 503, "no traffic while it is not ready")
        explained = client.deployments.explain("site")
        assert "ReadinessFailed" in {each.reason for each in explained.findings}, explained
        client.shells.run("site", ("rm", "unready"))
        until(lambda: httpx2.get(f"{address}/").status_code == 200, "traffic again")

        _touch(platform, "dead")
        until(lambda: _restarts(client.deployments.get("site")) == 1, "started again")
        client.deployments.wait("site")
        until(lambda: httpx2.get(f"{address}/").status_code == 200, "traffic after it was started again")

        before = _pids(client.deployments.get("site"))
        with _Calls(f"{address}/") as calls:
            platform.kill()
            platform.start()
        assert calls.failed == []
    with platform.client() as client:
        client.deployments.wait("site")
        assert _pids(client.deployments.get("site")) == before, "adopted, not started again"
        with _Calls(f"{address}/") as calls:
            client.deploy("", name="site", **wanted("two"))
        assert calls.failed == []
        assert httpx2.get(f"{address}/").text == "two /"
        client.undeploy("site")


def test_in_debug_a_server_is_started_by_hand_in_a_shell(platform: Running) -> None:
    with platform.client() as client:
        client.deploy("", name="site@debug", **wanted("hands"))
        address = f"{platform.url}/services/default/site@debug/"
        assert httpx2.get(address).status_code == 503
        said = command(
            platform, "exec", "site@debug", "--", "sh", "-c", 'echo "$KUBEFLOW_ENV $KEY"; exit 7', code=7
        )
        assert said.out == "debug a=b\n"
        by_hand = 'setsid sh -c "$MODELYARD_START_COMMAND" >/dev/null 2>&1 </dev/null &'
        command(platform, "exec", "site@debug", "sh", "-c", by_hand)
        until(lambda: httpx2.get(address).status_code == 200, "it answers once it was started")
        assert command(platform, "exec", "site@debug", "no-such-program", code=2)
        events = {each.reason for each in client.deployments.events("site@debug")}
        assert "ShellOpened" in events
        client.undeploy("site@debug")


def _touch(platform: Running, file: str) -> None:
    with platform.client() as client:
        assert client.shells.run("site", ("touch", file)).code == 0


def _restarts(view: DeploymentView) -> int:
    return sum(replica.worker_restarts for replica in view.status.replicas)


def _pids(view: DeploymentView) -> list[int]:
    return [replica.pid for replica in view.status.replicas]


class _Calls(threading.Thread):
    """Calls an address again and again, over one connection, until left."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url, self._over = url, threading.Event()
        self.failed: list[str] = []

    def run(self) -> None:
        with httpx2.Client() as client:
            while not self._over.is_set():
                self._call(lambda: client.get(self._url))
                time.sleep(0.005)

    def _call(self, get: Callable[[], httpx2.Response]) -> None:
        try:
            answer = get()
        except httpx2.TransportError as error:
            self.failed.append(repr(error))
            return
        if answer.status_code != 200:
            self.failed.append(f"{answer.status_code} {answer.text}")

    def __enter__(self) -> _Calls:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()
