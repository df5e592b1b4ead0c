"""Writes what a replica reads before it begins, and says which process to start for it."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from modelyard.backends import documents
from modelyard.backends.base import Launch
from modelyard.backends.keeper.config import Config, Question
from modelyard.backends.local import environment, files, laying, spawn
from modelyard.backends.local.environment import Place
from modelyard.backends.local.listening import HOST, Listening
from modelyard.backends.local.options import Options
from modelyard.domain import health, program, texts
from modelyard.domain.deployment import Stage
from modelyard.domain.errors import BackendError
from modelyard.domain.health import Health, Probe
from modelyard.domain.program import Program

STATE = "state.json"
SHELL = "shell.json"
"""Environment and directory of a replica, for commands that are run in it."""
_FRONT_STATE = "front.json"
_KEEPER = "keeper.json"
_ASLEEP = ("sleep", "infinity")


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What all replicas of an installation are prepared with."""

    options: Options
    front: tuple[str, ...]
    """Command of the serving front, before `--config`."""
    keeper: tuple[str, ...]
    """Command of the keeper, before `--config`."""
    worker: Path
    secrets: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Room:
    """Where one replica is prepared."""

    launch: Launch
    home: Path
    log: Path
    place: Place
    listening: Listening
    env: Mapping[str, str]
    names: Mapping[str, str]
    """What templates may name."""
    desk: Desk


def prepare(
    launch: Launch, home: Path, *, place: Place, listening: Listening, desk: Desk, log: Path
) -> spawn.Program:
    """Write configuration, mounts and environment; the process to start.

    Raises BackendError for what can never be started so, OSError when the disk refuses.
    """
    for directory in ("config", "work", "tmp"):
        (home / directory).mkdir(mode=0o700, exist_ok=True)
    written = launch.program.files if launch.program else program.files(launch.spec)
    for name, text in written.items():
        files.write_text(home / "config" / name, text)
    laid = laying.lay(launch, home, _sources(place.mark, desk))
    if _is_kept(launch):
        place = replace(place, path=desk.options.path or os.environ.get("PATH", place.path))
    place = replace(place, names={**laid, **_names(launch, home, listening, desk)})
    env = environment.of_replica(launch, place)
    names = {**environment.shown(launch, env), "creator": launch.creator}
    for name, text in written.items():
        files.write_text(home / "config" / name, texts.fill(text, names))
    room = _Room(
        launch=launch, home=home, log=log, place=place, listening=listening, env=env, names=names, desk=desk
    )
    return _own(room) if launch.program is None else _foreign(room, launch.program)


def clear(mark: str, desk: Desk) -> None:
    """Remove what a replica has outside its directory."""
    laying.clear(_sources(mark, desk))


def _own(room: _Room) -> spawn.Program:
    """Modelyard's own server; kept by a keeper when there is something to ask, or it is to sleep."""
    launch, home, kept = room.launch, room.home, _is_kept(room.launch)
    start = documents.Start(
        address=room.listening.address,
        state_path=str(home / (_FRONT_STATE if kept else STATE)),
        work=room.place.work,
        worker=str(room.desk.worker),
        env=room.env,
        threads=room.place.threads,
        max_body_bytes=room.desk.options.max_body_bytes,
        shared_memory=room.desk.options.shared_memory,
    )
    files.write_json(home / "replica.json", documents.of_replica(launch, start))
    argv = _front_argv(home, room.desk)
    env = environment.of_front(room.place, interpreter=sys.executable)
    if not kept:
        _write_shell(room, room.place.work)
        return spawn.Program(argv=argv, env=env, home=home, log=room.log)
    config = Config(
        argv=argv,
        env=env,
        cwd=str(home),
        state_path=str(home / STATE),
        log_path=str(room.log),
        front_state=str(home / _FRONT_STATE),
    )
    return _keep(room, config, launch.spec.health, cwd=room.place.work)


def _foreign(room: _Room, server: Program) -> spawn.Program:
    """Any other server."""
    if not server.command:
        message = f"the image {server.image} is not run here; give `server.command` with a program"
        raise BackendError(message, retryable=False, reason="ImageNotRunnable")
    cwd = texts.fill(server.working_directory, room.names) or room.place.work
    cwd = str(Path(room.place.work) / cwd)
    config = Config(
        argv=texts.argv(texts.fill_command(server.command, room.names)),
        env=room.env,
        cwd=cwd,
        state_path=str(room.home / STATE),
        log_path=str(room.log),
        executable=room.names.get("MODELYARD_PROGRAM", ""),
        setting=f"servers.{server.kind}" if server.executable else "",
        ports=tuple(room.listening.ports.values()),
        memory_bytes=room.launch.memory_bytes,
    )
    probes = server.health
    if probes.readiness is None:
        probes = replace(probes, readiness=Probe())  # without an address or a command it must only listen
    return _keep(room, config, probes, cwd=cwd)


def _keep(room: _Room, config: Config, probes: Health, *, cwd: str) -> spawn.Program:
    """The keeper with its configuration; in the stage `debug` it keeps a sleep, and asks nothing."""
    asleep = room.launch.key.stage is Stage.DEBUG
    config = replace(
        config,
        ask_env=room.env,
        ask_cwd=cwd,
        readiness=None if asleep else _question(probes.readiness, room),
        liveness=None if asleep else _question(probes.liveness, room),
        drain_seconds=room.launch.spec.drain_seconds,
    )
    if asleep:
        config = replace(config, argv=_ASLEEP, env=room.env, cwd=room.place.work)
        config = replace(config, front_state="", executable="")
    _write_shell(room, cwd)
    files.write_json(room.home / _KEEPER, asdict(config))
    return spawn.Program(
        argv=(*room.desk.keeper, "--config", str(room.home / _KEEPER)),
        env=environment.of_front(room.place, interpreter=sys.executable),
        home=room.home,
        log=room.log,
    )


def _question(probe: Probe | None, room: _Room) -> Question | None:
    """A probe with its place filled in."""
    if probe is None:
        return None
    if probe.command:
        command = texts.fill_command(probe.command, room.names)
        return Question(argv=texts.argv(command), probe=probe)
    port, path = health.target(texts.fill(probe.http, room.names))
    # Modelyard's own server has no ports here: whichever is asked for is its socket.
    known = port if room.listening.ports else 0
    return Question(address=room.listening.of(known), path=path, probe=probe)


def _names(launch: Launch, home: Path, listening: Listening, desk: Desk) -> dict[str, str]:
    """What a replica is told of its ports and its program."""
    server = launch.program
    if server is None:
        return {"MODELYARD_START_COMMAND": shlex.join(_front_argv(home, desk))}
    names = {f"MODELYARD_PORT_{port}": str(here) for port, here in listening.ports.items()}
    for name, port in zip(("MODELYARD_PORT", "MODELYARD_PORT_2"), server.ports, strict=False):
        names[name] = str(listening.ports[port])
    port, path = health.target(server.metrics)
    if path:
        names["MODELYARD_METRICS_PORT"] = str(listening.ports[port or server.ports[0]])
    if server.executable:
        names["MODELYARD_PROGRAM"] = desk.options.programs.get(server.kind.value) or server.executable
    return {**names, "MODELYARD_HOST": HOST}


def _write_shell(room: _Room, cwd: str) -> None:
    """Write what a command needs that is run in the replica."""
    server, env = room.launch.program, dict(room.env)
    if server is not None:
        command = texts.fill_command(server.command, room.names)
        env["MODELYARD_START_COMMAND"] = command if isinstance(command, str) else shlex.join(command)
    files.write_json(room.home / SHELL, {"env": env, "cwd": cwd})


def _is_kept(launch: Launch) -> bool:
    return launch.program is not None or launch.spec.health.asks or launch.key.stage is Stage.DEBUG


def _front_argv(home: Path, desk: Desk) -> tuple[str, ...]:
    return (*desk.front, "--config", str(home / "replica.json"))


def _sources(mark: str, desk: Desk) -> laying.Sources:
    return laying.Sources(secrets=desk.secrets, memory=desk.options.memory, mark=mark)
