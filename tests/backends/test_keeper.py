"""Other servers are replicas like any: asked how they are, started again, drained, and gone."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
from pathlib import Path

import pytest

from modelyard.backends.base import Launch, Shell, Terminal
from modelyard.domain import mounts
from modelyard.domain.deployment import DeploymentSpec, Key, Phase, Replica, Stage
from modelyard.domain.errors import BackendError, Invalid, NotFound
from modelyard.domain.health import Health, Probe
from modelyard.domain.program import Subject, program
from modelyard.domain.server import Server, ServerKind
from tests.backends import things
from tests.backends.conftest import LocalWorld
from tests.backends.contract import Shop

SITE = """
import http.server, os, pathlib, sys, time
class Site(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/slow":
            pathlib.Path("asked").touch()
            while not pathlib.Path("answer").exists(): time.sleep(0.01)
        code = 500 if pathlib.Path(self.path.strip("/") or "none").exists() else 200
        self.send_response(code)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *_): pass
print("site begins", os.environ["PORT"], flush=True)
http.server.ThreadingHTTPServer((os.environ["MODELYARD_HOST"], int(sys.argv[1])), Site).serve_forever()
"""
QUICK = {"period_seconds": 0.1, "failure_threshold": 2}
KEY = Key("default", "web")


def spec(command: str | tuple[str, ...] = "", **changes: object) -> DeploymentSpec:
    """A site in a file, unless another command is given."""
    server = Server(
        kind=ServerKind.SERVING,
        command=command or 'exec python -S "$MODELYARD_CONFIG_DIR"/site.py {{MODELYARD_PORT}}',
        ports=(8080, 9090),
    )
    given: dict[str, object] = {"server": server, "config": f"---site.py\n{SITE}"}
    return DeploymentSpec(**{**given, **changes})  # type: ignore[arg-type]


def launch(world: LocalWorld, replica: str, wanted: DeploymentSpec, key: Key = KEY) -> Launch:
    made = program(wanted, Subject(name=key.name))
    return things.launch(replica, world.path, key=key, spec=wanted, program=made, creator="eve")


async def begin(shop: Shop, world: LocalWorld, wanted: DeploymentSpec, *, key: Key = KEY) -> Replica:
    """Start replica `a` and wait until it is ready."""
    await shop.backend.start(launch(world, "a", wanted, key))
    return (await shop.until(lambda seen: seen["a"].phase is Phase.READY, key))["a"]


def get(replica: Replica, path: str = "/") -> int:
    connection = http.client.HTTPConnection(replica.address, timeout=10)
    connection.request("GET", path)
    status = connection.getresponse().status
    connection.close()
    return status


async def said(shell: Shell) -> bytes:
    found = b""
    while (output := await shell.read()) is not None:
        found += output.data
    return found


async def test_it_listens_on_ports_of_its_own_and_is_adopted(shop: Shop, world: LocalWorld) -> None:
    await shop.backend.start(launch(world, "b", spec()))
    wanted = spec(metrics="7070:/m")
    a = await begin(shop, world, wanted)
    b = (await shop.until(lambda seen: seen["b"].phase is Phase.READY, KEY))["b"]
    assert await asyncio.to_thread(get, a) == await asyncio.to_thread(get, b) == 200
    places = [a.address, a.second_address, a.metrics_address.split("/")[2], b.address, b.second_address]
    assert len(set(places)) == 5
    assert all(place.startswith("127.0.0.1:") for place in places)
    assert a.metrics_address.endswith("/m")
    assert a.memory_bytes > 0
    (again, _) = await world.restarted().observe(KEY)
    assert (again.pid, again.address, again.phase) == (a.pid, a.address, Phase.READY)


async def test_readiness_cuts_traffic_and_liveness_starts_again(shop: Shop, world: LocalWorld) -> None:
    health = Health(readiness=Probe(http="/unready", **QUICK), liveness=Probe(http="/dead", **QUICK))
    before = await begin(shop, world, spec(health=health))
    work = world.home("a", KEY) / "work"
    (work / "unready").touch()
    cut = (await shop.until(lambda seen: seen["a"].phase is Phase.UNREADY, KEY))["a"]
    assert cut.failure is not None
    assert (cut.failure.reason, cut.worker_restarts, cut.pid) == ("ReadinessFailed", 0, before.pid)
    assert "/unready answered 500" in cut.failure.message
    (work / "unready").unlink()
    await shop.until(lambda seen: seen["a"].phase is Phase.READY, KEY)
    (work / "dead").touch()
    await shop.until(lambda seen: seen["a"].worker_restarts >= 1, KEY)
    (work / "dead").unlink()
    again = (await shop.until(lambda seen: seen["a"].phase is Phase.READY, KEY))["a"]
    assert again.failure is not None
    assert (again.failure.reason, again.pid, again.address) == ("LivenessFailed", before.pid, before.address)


async def test_a_server_that_ends_is_started_again_once_it_was_ready(shop: Shop, world: LocalWorld) -> None:
    before = await begin(shop, world, spec())
    shell = await shop.backend.exec(
        KEY, "a", ("pkill", "-KILL", "-f", f"{world.home('a', KEY)}/config/site.py")
    )
    await shell.wait()
    await shell.close()
    again = (await shop.until(lambda seen: seen["a"].worker_restarts == 1, KEY))["a"]
    assert again.pid == before.pid
    again = (await shop.until(lambda seen: seen["a"].phase is Phase.READY, KEY))["a"]
    assert again.failure is not None
    assert again.failure.reason == "ServerExited"


@pytest.mark.parametrize(
    ("command", "reason", "words"),
    [
        ("no-such-program", "ProgramNotFound", "no-such-program: not found"),
        (("no-such-program", "x"), "ProgramNotFound", "there is no program no-such-program"),
        ("echo out of luck; exit 3", "ServerExited", "exit code 3; its last words: out of luck"),
    ],
)
async def test_a_server_that_never_answers_says_why(
    shop: Shop, world: LocalWorld, command: str | tuple[str, ...], reason: str, words: str
) -> None:
    await shop.backend.start(launch(world, "a", spec(command)))
    failed = (await shop.until(lambda seen: seen["a"].phase is Phase.FAILED, KEY))["a"]
    assert failed.failure is not None
    assert failed.failure.reason == reason
    assert words in failed.failure.message


async def test_a_known_server_that_is_not_installed_names_the_setting(shop: Shop, world: LocalWorld) -> None:
    wanted = DeploymentSpec(model="churn@3", server=Server(kind=ServerKind.TRITON))
    await shop.backend.start(launch(world, "a", wanted))
    failed = (await shop.until(lambda seen: seen["a"].phase is Phase.FAILED, KEY))["a"]
    assert failed.failure is not None
    assert failed.failure.reason == "ProgramNotFound"
    assert "tritonserver is not on the PATH" in failed.failure.message
    assert "`servers.triton`" in failed.failure.message


async def test_a_known_server_runs_with_what_was_generated(
    shop: Shop, world: LocalWorld, directory: Path
) -> None:
    fake = directory / "fake-triton"
    fake.write_text(
        '#!/bin/sh\necho "$@" >said; cat "$MODELYARD_WORK_DIR"/models/web/*/model.onnx\n'
        "exec python -m http.server --bind 127.0.0.1 $MODELYARD_PORT\n"
    )
    fake.chmod(0o700)
    (world.path / "model.onnx").write_text("graph")
    backend = world.restarted(programs={"triton": str(fake)})
    wanted = DeploymentSpec(
        model="churn@3", server=Server(kind=ServerKind.TRITON), health=Health(readiness=Probe(http="/"))
    )
    made = program(wanted, Subject(name="web", version="3", entry="model.onnx"))
    await backend.start(things.launch("a", world.path, key=KEY, spec=wanted, program=made))
    ready = (await shop.until(lambda seen: seen["a"].phase is Phase.READY, KEY))["a"]
    home = world.home("a", KEY)
    assert f"--http-port={ready.address.rpartition(':')[2]}" in (home / "work/said").read_text()
    assert 'name: "web"' in (home / "work/models/web/config.pbtxt").read_text()


async def test_an_image_without_a_command_is_refused(shop: Shop, world: LocalWorld) -> None:
    wanted = DeploymentSpec(server=Server(kind=ServerKind.SERVING, image="a/b:1"))
    with pytest.raises(BackendError, match="image a/b:1 is not run here") as caught:
        await shop.backend.start(launch(world, "a", wanted))
    assert caught.value.reason == "ImageNotRunnable"
    assert await shop.backend.keys() == frozenset()


async def test_what_was_begun_is_finished_before_it_is_told_to_stop(shop: Shop, world: LocalWorld) -> None:
    ready = await begin(shop, world, spec())
    slow = asyncio.create_task(asyncio.to_thread(get, ready, "/slow"))
    work = world.home("a", KEY) / "work"
    await things.until(lambda: asyncio.to_thread((work / "asked").exists), bool)
    await shop.backend.drain(KEY, "a")
    await shop.backend.stop(KEY, "a")
    await asyncio.sleep(0.3)
    assert (await shop.seen(KEY))["a"].phase is Phase.STOPPING
    (work / "answer").touch()
    assert await slow == 200
    await shop.until(lambda seen: not seen, KEY)


async def test_more_memory_than_it_may_have_ends_it(shop: Shop, world: LocalWorld) -> None:
    ready = Health(readiness=Probe(command="test -e ready", period_seconds=0.1))
    hungry = "exec python -S -c 'import time; x = bytearray(80 << 20); time.sleep(100)'"
    wanted = spec(f"touch ready; {hungry}", health=ready)
    made = program(wanted, Subject(name="web"))
    limited = things.launch("a", world.path, key=KEY, spec=wanted, program=made, memory_bytes=40 << 20)
    await shop.backend.start(limited)
    ended = await shop.until(lambda seen: "OutOfMemory" in str(seen["a"].failure), KEY)
    assert "MiB of the 40 MiB that it may have" in str(ended["a"].failure)


async def test_names_are_filled_in_and_mounts_are_laid(
    shop: Shop, world: LocalWorld, directory: Path
) -> None:
    secrets = directory / "data" / "secrets" / "default" / "keys"
    secrets.mkdir(parents=True)
    (secrets / "key").write_text("k")
    laid = mounts.parse(
        f"{world.path}(host):/data; 1Mi(memory):/fast; keys(secret):/keys; conf(config):/etc/conf"
    )
    wanted = spec(
        env={"WHO": "{{creator}} on {{MODELYARD_PORT}}", "A": "b=c"},
        config=f"---site.py\n{SITE}---conf\nport {{{{MODELYARD_PORT_8080}}}}\n",
        mounts=laid,
    )
    ready = await begin(shop, world, wanted)
    port = ready.address.rpartition(":")[2]
    script = (
        'echo "$WHO|$A|$KUBEFLOW_ENV"; cat "$MODELYARD_MOUNT_ETC_CONF" "$MODELYARD_MOUNT_KEYS"/key; '
        'touch "$MODELYARD_MOUNT_FAST"/x; readlink "$MODELYARD_MOUNT_FAST" "$MODELYARD_MOUNT_DIR"/data'
    )
    shell = await shop.backend.exec(KEY, "a", ("sh", "-c", script))
    lines = (await said(shell)).decode().split("\n")
    await shell.close()
    assert lines[:2] == [f"eve on {port}|b=c|production", f"port {port}"]
    memory, host = lines[2].removeprefix("k"), lines[3]
    assert (host, Path(memory, "x").exists()) == (str(world.path), True)
    await shop.backend.kill(KEY, "a")
    assert not Path(memory).exists()


async def test_a_mount_that_is_not_there_is_named(shop: Shop, world: LocalWorld) -> None:
    with pytest.raises(BackendError, match=r"spec\.mounts\[0\]: secret keys: there is no") as caught:
        await shop.backend.start(launch(world, "a", spec(mounts=mounts.parse("keys(secret):/keys"))))
    assert caught.value.reason == "MountFailed"


async def test_in_debug_it_sleeps_until_somebody_starts_it_by_hand(shop: Shop, world: LocalWorld) -> None:
    key = Key("default", "web", Stage.DEBUG)
    ready = await begin(shop, world, spec("exit 3", health=Health(readiness=Probe(http="/"))), key=key)
    shell = await shop.backend.exec(
        key, "a", ("sh", "-c", 'echo "$MODELYARD_START_COMMAND in $MODELYARD_STAGE"')
    )
    assert await said(shell) == b"exit 3 in debug\n"
    assert ready.failure is None


async def test_modelyards_own_server_can_be_asked_too(shop: Shop, world: LocalWorld) -> None:
    asked = Health(readiness=Probe(command="test ! -e ../unready", **QUICK))
    await shop.backend.start(
        things.launch("a", world.path, spec=DeploymentSpec(model="churn@3", health=asked))
    )
    await shop.until(lambda seen: seen["a"].phase is Phase.READY)
    (world.home("a") / "unready").touch()
    cut = (await shop.until(lambda seen: seen["a"].phase is Phase.UNREADY))["a"]
    assert cut.failure is not None
    assert cut.failure.reason == "ReadinessFailed"
    await shop.backend.stop(things.KEY, "a")
    await shop.until(lambda seen: not seen)


async def test_a_shell_on_a_terminal_sees_its_size_and_its_keys(shop: Shop, world: LocalWorld) -> None:
    await begin(shop, world, spec())
    shell = await shop.backend.exec(
        KEY, "a", ("sh", "-c", "stty size; read x; stty size; echo got $x"), terminal=Terminal(30, 99)
    )
    first = await shell.read()
    assert first is not None
    assert first.data.split() == [b"30", b"99"]
    await shell.resize(Terminal(40, 120))
    await shell.write(b"it\n")
    rest = await said(shell)
    assert b"40 120" in rest
    assert b"got it" in rest
    assert await shell.wait() == 0
    await shell.close()


async def test_a_shell_ends_with_its_replica(shop: Shop, world: LocalWorld) -> None:
    await begin(shop, world, spec())
    shell = await shop.backend.exec(KEY, "a", ("sleep", "100"))
    await shop.backend.kill(KEY, "a")
    assert await shell.wait() == -signal.SIGKILL
    await shell.close()
    with pytest.raises(NotFound, match="no replica a"):
        await shop.backend.exec(KEY, "a", ())


async def test_a_program_that_is_not_there_is_refused(shop: Shop, world: LocalWorld) -> None:
    await begin(shop, world, spec())
    with pytest.raises(Invalid, match="has no program 'no-such-program'"):
        await shop.backend.exec(KEY, "a", ("no-such-program",))
    assert os.path.isdir(world.home("a", KEY))
