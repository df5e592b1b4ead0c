"""Runtimes are built once, shared, found again after any crash, and say plainly why they cannot be built."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import uv

from modelyard.backends import process
from modelyard.backends.local import LocalEnvironments, recipe, spawn, uvtool
from modelyard.domain.errors import BackendError
from modelyard.domain.runtime import IN_IMAGE, Runtime, RuntimeKind, RuntimeSpec, RuntimeState, RuntimeStatus
from tests.backends import things
from tests.support import wheels

UV = uv.find_uv_bin()
SIX = RuntimeSpec(kind=RuntimeKind.WORKER, packages=("six==1.16.0",))


def environments(directory: Path, **changes: object) -> LocalEnvironments:
    """Environments below a directory, as a control plane that starts finds them."""
    return LocalEnvironments(directory=directory / "runtimes", uv=UV, **changes)  # type: ignore[arg-type]


async def built(here: LocalEnvironments, runtime: Runtime) -> RuntimeStatus:
    """Build and wait for the outcome."""
    await here.build(runtime)
    done = (RuntimeState.READY, RuntimeState.FAILED)
    return await things.until(lambda: here.observe(runtime), lambda status: status.state in done, seconds=110)


async def until(here: LocalEnvironments, runtime: Runtime, state: RuntimeState) -> None:
    """Wait for a state; a builder lives a moment longer than its result."""
    await things.until(lambda: here.observe(runtime), lambda status: status.state is state, seconds=60)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")


@pytest.fixture
async def builder(directory: Path) -> AsyncIterator[LocalEnvironments]:
    """Environments whose builds are ended with the test."""
    made = environments(directory)
    yield made
    for home in (directory / "runtimes/builds").iterdir():
        process.end(process.birth(home / spawn.BIRTH), "")


async def test_a_runtime_is_built_and_its_interpreter_has_the_packages(
    builder: LocalEnvironments, directory: Path
) -> None:
    runtime = things.runtime(SIX)
    assert (await builder.observe(runtime)).state is RuntimeState.PENDING
    status = await built(builder, runtime)
    assert (status.state, status.message) == (RuntimeState.READY, "")
    assert status.packages == {"six": "1.16.0"}
    program = [status.interpreter, "-I", "-c", "import six, platform; print(platform.python_version())"]
    said = subprocess.run(program, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == status.python
    assert "uv pip install" in builder.log(runtime)
    assert (await environments(directory).observe(runtime)) == status


async def test_a_runtime_is_built_of_wheels_with_no_index_at_all(directory: Path, tmp_path: Path) -> None:
    home = tmp_path / "wheels"
    wheels.wheel(home, "scorekit", "1.0", {"scorekit/__init__.py": "TWO = 2\n"})
    address = "http://127.0.0.1:9/simple"
    here = environments(directory, index_url=address, offline=True, wheels=str(home))
    runtime = things.runtime(RuntimeSpec(kind=RuntimeKind.WORKER, packages=("scorekit",)))
    status = await built(here, runtime)
    assert (status.state, status.packages) == (RuntimeState.READY, {"scorekit": "1.0"}), status.message
    assert "scorekit==1.0" in here.lock_text(status.interpreter)
    lacks = things.runtime(RuntimeSpec(kind=RuntimeKind.WORKER, packages=("nothing-such",)), name="lacks")
    failed = await built(here, lacks)
    assert failed.state is RuntimeState.FAILED
    assert "nothing-such" in failed.message


async def test_runtimes_with_the_same_lock_share_one_environment(
    builder: LocalEnvironments, directory: Path
) -> None:
    first, second = (
        things.runtime(SIX),
        things.runtime(RuntimeSpec(kind=RuntimeKind.WORKER, packages=("six<1.17,>=1.16",)), name="other"),
    )
    one, two = await asyncio.gather(built(builder, first), built(builder, second))
    assert one.state is two.state is RuntimeState.READY
    assert (one.lock, one.interpreter) == (two.lock, two.interpreter)
    await builder.remove(first, others=[second.spec])
    assert (await builder.observe(first)).state is RuntimeState.PENDING
    assert (await builder.observe(second)).state is RuntimeState.READY
    await builder.remove(second)
    assert not Path(two.interpreter).exists()
    assert list((directory / "runtimes/envs").iterdir()) == []


async def test_what_was_built_once_needs_no_index_again(builder: LocalEnvironments, directory: Path) -> None:
    runtime = things.runtime(SIX)
    first = await built(builder, runtime)
    (home,) = (directory / "runtimes/builds").iterdir()
    (home / "result.json").unlink()
    unplugged = environments(directory, offline=True)
    await until(unplugged, runtime, RuntimeState.PENDING)
    assert (await built(unplugged, runtime)) == first


async def test_an_environment_that_was_damaged_is_built_again(
    builder: LocalEnvironments, directory: Path
) -> None:
    runtime = things.runtime(SIX)
    first = await built(builder, runtime)
    Path(first.interpreter).unlink()
    await until(builder, runtime, RuntimeState.PENDING)
    again = await built(builder, runtime)
    assert (again.lock, again.state) == (first.lock, RuntimeState.READY)


async def test_a_service_runtime_can_host_a_model(builder: LocalEnvironments) -> None:
    status = await built(builder, things.runtime(RuntimeSpec()))
    assert list(status.packages) == ["numpy"]


async def test_offline_without_cache_says_so(
    builder: LocalEnvironments, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(directory / "empty"))
    status = await built(environments(directory, offline=True), things.runtime(SIX))
    assert (status.state, status.reason) == (RuntimeState.FAILED, "IndexUnreachable")
    assert "offline" in status.message
    assert str(directory) not in status.message


async def test_an_index_that_does_not_answer_is_named_as_the_cause(
    builder: LocalEnvironments, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(directory / "empty"))
    address = "http://somebody:hush@127.0.0.1:9/simple"
    here = environments(directory, index_url=address)
    status = await built(here, things.runtime(SIX))
    assert (status.state, status.reason) == (RuntimeState.FAILED, "IndexUnreachable")
    assert "cannot be reached" in status.message
    assert "127.0.0.1" not in status.message
    assert "hush" not in status.message + here.log(things.runtime(SIX))


async def test_what_cannot_be_resolved_is_said_in_one_sentence(builder: LocalEnvironments) -> None:
    runtime = things.runtime(RuntimeSpec(kind=RuntimeKind.WORKER, packages=("six==99",)))
    status = await built(builder, runtime)
    assert (status.state, status.reason) == (RuntimeState.FAILED, "RuntimeBuildFailed")
    assert "no version of six==99" in status.message
    assert "\n" not in status.message
    await builder.remove(runtime)
    assert (await builder.observe(runtime)).state is RuntimeState.PENDING


async def test_a_python_that_is_not_there_names_those_that_are(builder: LocalEnvironments) -> None:
    runtime = things.runtime(RuntimeSpec(kind=RuntimeKind.WORKER, python="3.99"))
    status = await built(builder, runtime)
    assert (status.state, status.reason) == (RuntimeState.FAILED, "InterpreterMissing")
    assert ".".join(map(str, sys.version_info[:3])) in status.message


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (RuntimeSpec(packages=("six @ file:///etc",)), "points beside the index"),
        (RuntimeSpec(packages=("six ==== 1",)), "is not a requirement"),
    ],
)
async def test_a_runtime_that_can_never_be_is_refused_without_asking_anybody(
    builder: LocalEnvironments, spec: RuntimeSpec, said: str
) -> None:
    status = await built(builder, things.runtime(spec))
    assert (status.state, status.reason) == (RuntimeState.FAILED, "RuntimeBuildFailed")
    assert said in status.message


async def test_a_build_goes_on_without_the_control_plane_that_began_it(
    builder: LocalEnvironments, directory: Path
) -> None:
    runtime = things.runtime(SIX)
    await builder.build(runtime)
    another = environments(directory)
    assert (await another.observe(runtime)).state in (RuntimeState.BUILDING, RuntimeState.READY)
    await another.build(runtime)
    await things.until(
        lambda: another.observe(runtime), lambda status: status.state is RuntimeState.READY, seconds=60
    )


async def test_a_killed_build_is_pending_and_begins_again(
    builder: LocalEnvironments, directory: Path
) -> None:
    runtime = things.runtime(SIX)
    await builder.build(runtime)
    (home,) = (directory / "runtimes/builds").iterdir()
    born = await things.until(birth_of(home), lambda stat: stat is not None)
    assert born is not None
    process.send(born, signal.SIGKILL)
    await things.until(lambda: builder.observe(runtime), lambda s: s.state is not RuntimeState.BUILDING)
    assert (await environments(directory).observe(runtime)).state is RuntimeState.PENDING
    half = directory / "runtimes/envs/.new-half"
    half.mkdir()
    assert (await built(environments(directory), runtime)).state is RuntimeState.READY


async def test_a_build_that_is_always_killed_fails_in_the_end(
    builder: LocalEnvironments, directory: Path
) -> None:
    runtime = things.runtime(SIX)
    for _ in range(3):
        await builder.build(runtime)
        (home,) = (directory / "runtimes/builds").iterdir()
        born = await things.until(birth_of(home), lambda stat: stat is not None)
        assert born is not None
        process.send(born, signal.SIGKILL)
        await things.until(lambda: builder.observe(runtime), lambda s: s.state is not RuntimeState.BUILDING)
    status = await builder.observe(runtime)
    assert (status.state, status.reason) == (RuntimeState.FAILED, "RuntimeBuildFailed")
    assert "3 times" in status.message
    assert (await built(builder, runtime)).state is RuntimeState.READY


async def test_removing_a_runtime_ends_its_build(builder: LocalEnvironments, directory: Path) -> None:
    runtime = things.runtime(SIX)
    await builder.build(runtime)
    await builder.remove(runtime)
    assert things.carriers(str(directory)) == []
    assert (await builder.observe(runtime)).state is RuntimeState.PENDING


async def test_a_disk_that_refuses_is_an_error_that_can_be_retried(
    builder: LocalEnvironments, directory: Path
) -> None:
    name = recipe.of(SIX, index_url="").name
    (directory / "runtimes/builds" / name).write_text("in the way")
    with pytest.raises(BackendError, match="free disk space"):
        await builder.build(things.runtime(SIX))
    (directory / "runtimes/builds" / name).unlink()


async def test_the_host_is_our_interpreter_with_its_packages(builder: LocalEnvironments) -> None:
    host = await builder.host()
    assert host.interpreter == sys.executable
    assert host.packages["numpy"]
    assert host.state is RuntimeState.READY
    assert await builder.host() is host


def test_uv_inherits_what_reaches_an_index_and_nothing_else() -> None:
    inherited = {
        "PATH": "/usr/bin:/home/me/.pyenv/shims",
        "HOME": "/home/me",
        "UV_INDEX_URL": "x",
        "https_proxy": "y",
        "SSL_CERT_FILE": "z",
        "DATABASE_PASSWORD": "hush",
        "UV_PUBLISH_TOKEN": "hush",
        "VIRTUAL_ENV": "/venv",
    }
    env = uvtool.environment(inherited, downloads=False)
    assert env == {
        "PATH": "/usr/bin",
        "HOME": "/home/me",
        "UV_INDEX_URL": "x",
        "https_proxy": "y",
        "SSL_CERT_FILE": "z",
        "NO_COLOR": "1",
        "UV_NO_PROGRESS": "1",
        "UV_PYTHON_DOWNLOADS": "never",
    }


def test_complaints_lose_addresses_and_paths() -> None:
    text = (
        "error: Request failed after 3 retries in 10.1s\n"
        "  cause: Failed to fetch: `http://me:hush@host/simple/six/` for /home/me/runtimes/x.in\n"
        "  cause: client error (Connect)\n"
    )
    failure = uvtool.judge(text, offline=False)
    assert failure.reason == "IndexUnreachable"
    assert "Failed to fetch" in failure.message
    assert "hush" not in failure.message
    assert "/home" not in failure.message
    assert uvtool.judge("", offline=False).message


def birth_of(home: Path) -> Callable[[], Awaitable[process.Stat | None]]:
    """Reads who builds in a directory."""

    async def look() -> process.Stat | None:
        return process.birth(home / spawn.BIRTH)

    return look


@pytest.mark.slow
async def test_two_versions_of_a_library_live_side_by_side(builder: LocalEnvironments) -> None:
    old = things.runtime(RuntimeSpec(packages=("scikit-learn==1.3.2",)), name="old")
    status = await built(builder, old)
    assert (status.state, status.message) == (RuntimeState.READY, "")
    assert status.packages["scikit-learn"] == "1.3.2"
    host = await builder.host()
    assert host.packages["scikit-learn"] != "1.3.2"
    program = [status.interpreter, "-I", "-c", "import sklearn; print(sklearn.__version__)"]
    said = subprocess.run(program, capture_output=True, text=True, check=True, env={"PATH": os.defpath})
    assert said.stdout.strip() == "1.3.2"


@pytest.mark.slow
async def test_another_python_is_used_when_it_is_there(builder: LocalEnvironments) -> None:
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    there = uvtool.interpreters(
        uvtool.Uv(
            program=UV,
            env=uvtool.environment(os.environ, downloads=False),
            log=Path(os.devnull),
            cwd=Path("/"),
        )
    )
    others = [v for v in there if not v.startswith(ours) and int(v.split(".")[1]) in range(9, 14)]
    if not others:
        pytest.skip("only one Python is installed here")
    status = await built(
        builder,
        things.runtime(RuntimeSpec(kind=RuntimeKind.WORKER, python=others[0], packages=("six==1.16.0",))),
    )
    assert (status.state, status.python) == (RuntimeState.READY, others[0])


async def test_an_interpreter_that_is_there_is_used_as_it_is(
    builder: LocalEnvironments, directory: Path
) -> None:
    runtime = things.runtime(RuntimeSpec(interpreter=sys.executable))
    await builder.build(runtime)
    status = await builder.observe(runtime)
    assert (status.state, status.interpreter) == (RuntimeState.READY, sys.executable)
    assert status.packages == (await builder.host()).packages
    await builder.remove(runtime)
    await builder.remove(things.runtime(SIX), others=[runtime.spec])
    assert Path(sys.executable).exists()
    assert list((directory / "runtimes/builds").iterdir()) == []
    assert builder.log(runtime) == ""


async def test_an_image_is_an_environment_that_nothing_is_built_for(
    builder: LocalEnvironments, directory: Path
) -> None:
    runtime = things.runtime(RuntimeSpec(image="team/torch:2"))
    await builder.build(runtime)
    status = await builder.observe(runtime)
    assert (status.state, status.interpreter) == (RuntimeState.READY, IN_IMAGE)
    assert status.image == "team/torch:2"
    assert status.lock != (await builder.observe(things.runtime(RuntimeSpec(image="team/torch:3")))).lock
    await builder.remove(runtime)
    await builder.remove(things.runtime(SIX), others=[runtime.spec])
    assert list((directory / "runtimes/builds").iterdir()) == []
    assert builder.log(runtime) == ""


@pytest.mark.parametrize(
    ("script", "reason", "said"),
    [
        (None, "InterpreterMissing", "there is no program"),
        ("exit 3", "InterpreterMissing", "does not answer as Python does"),
        ("echo hello", "InterpreterMissing", "does not answer as Python does"),
        ('echo \'{"version": [3, 8, 1], "packages": {}}\'', "InterpreterMissing", "needs 3.9 or newer"),
        ('echo \'{"version": [3, 12, 1], "packages": {}}\'', "RuntimeBuildFailed", "has no numpy"),
    ],
)
async def test_an_interpreter_that_cannot_host_a_model_says_why(
    script: str | None, reason: str, said: str, builder: LocalEnvironments, directory: Path
) -> None:
    program = directory / "python"
    if script is not None:
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o700)
    status = await builder.observe(things.runtime(RuntimeSpec(interpreter=str(program))))
    assert (status.state, status.reason) == (RuntimeState.FAILED, reason)
    assert said in status.message
