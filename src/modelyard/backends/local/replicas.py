"""Starts, watches and ends the processes of replicas; blocking, one call at a time for each deployment."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from modelyard.backends import process
from modelyard.backends.base import Launch
from modelyard.backends.local import environment, files, logs, preparing, record, spawn
from modelyard.backends.local.listening import Listening, allocate, of_program, of_socket
from modelyard.backends.local.observation import Facts, judge
from modelyard.backends.local.options import Options
from modelyard.backends.local.places import Places, mark
from modelyard.backends.local.pulse import Pulse
from modelyard.domain.deployment import Key, Replica
from modelyard.domain.errors import BackendError, Invalid
from modelyard.domain.node import Node

_DRAINING = "draining"
_STOPPING = "stopping"
_AGAIN_SECONDS = 2.0


class Replicas:
    """The replicas of one data directory; what is true is on disk and in /proc, only exit codes are here."""

    def __init__(
        self, places: Places, options: Options, clock: Callable[[], float], *, interpreter: str, worker: Path
    ) -> None:
        self._places = places
        self._options = options
        self._clock = clock
        self._desk = preparing.Desk(
            options=options,
            front=options.front or (interpreter, "-m", "modelyard.serving"),
            keeper=options.keeper or (interpreter, "-m", "modelyard.backends.keeper"),
            worker=worker,
            secrets=options.secrets or str(places.directory / "secrets"),
        )
        self._children: dict[Path, subprocess.Popen[bytes]] = {}
        self._pulse = Pulse()
        self._giving_ports = threading.Lock()

    def start(self, launch: Launch, node: Node) -> None:
        """Write the intent and start the front. Raises OSError."""
        home = self._places.replica(launch.key, launch.replica)
        if record.load(home) and not self._never_began(home):
            return
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._giving_ports:
            listening = self._listening(launch, home)
            record.save(record.make(launch, places=listening, now=self._clock(), boot=process.boot()), home)
        try:
            program = self._prepare(launch, home, node=node, listening=listening)
        except BackendError:
            files.discard(home)
            raise
        if child := spawn.spawn(program):
            self._children[home] = child

    def observe(self, key: Key) -> tuple[Replica, ...]:
        """Every replica that is, without those that went as they were told."""
        found = []
        for name in self._places.names(key):
            home = self._places.replica(key, name)
            if (kept := record.load(home)) is None or self._is_over(home, kept):
                self.kill(key, name)
                continue
            logs.rotate(self._places.log(key, name), above=self._options.log_bytes)
            facts = self._facts(home, kept)
            found.append(judge(facts, patience=self._options.heartbeat_seconds))
        return tuple(found)

    def keys(self) -> frozenset[Key]:
        """Deployments with a replica on disk."""
        return frozenset(
            key
            for project in files.directories(self._places.replicas)
            for service in files.directories(project)
            if files.directories(service) and (key := _key(f"{project.name}/{service.name}"))
        )

    def drain(self, key: Key, name: str) -> None:
        """Remember since when a replica is leaving. Raises OSError."""
        home = self._places.replica(key, name)
        if home.is_dir() and not _since(home / _DRAINING):
            files.write_text(home / _DRAINING, repr(self._clock()))

    def stop(self, key: Key, name: str) -> None:
        """Tell the front to finish. A second SIGTERM would cut its requests off, so it gets only one."""
        home = self._places.replica(key, name)
        if not home.is_dir():
            return
        since = _since(home / _STOPPING)
        if not since:
            files.write_text(home / _STOPPING, repr(self._clock()))
        elif self._clock() - since < _AGAIN_SECONDS or self._knows(home):
            return
        born = process.birth(home / spawn.BIRTH)
        if born:
            process.send(born, signal.SIGTERM)

    def kill(self, key: Key, name: str) -> None:
        """End every process of a replica and remove its files. Raises BackendError when one does not end."""
        home = self._places.replica(key, name)
        if not home.is_dir():
            return
        born = self._born(home)
        if not process.end(born, mark(home), patience=self._options.kill_seconds):
            raise BackendError(f"replica {name} of {key} does not end; its process waits for the machine")
        if child := self._children.pop(home, None):
            child.wait()
        self._pulse.forget(home / preparing.STATE)
        self._places.socket(mark(home)).unlink(missing_ok=True)
        preparing.clear(mark(home), self._desk)
        files.discard(home)
        directory = self._places.log(key, name).parent
        logs.prune(directory, alive=self._places.names(key), keep=self._options.kept_logs)
        before = self._clock() - self._options.kept_seconds
        logs.expire(self._places.logs, self._places.replicas, before=before)

    def _listening(self, launch: Launch, home: Path) -> Listening:
        """Where it is to listen; raises BackendError when no port is left."""
        if launch.program is None:
            return of_socket(f"unix:{self._places.socket(mark(home))}", launch.spec.metrics)
        options = self._options
        taken = {port for each in self._homes() for port in _ports(each)}
        bounds = (options.lowest_port, options.highest_port)
        return of_program(
            launch.program, allocate(launch.program, mark=mark(home), taken=taken, bounds=bounds)
        )

    def _prepare(self, launch: Launch, home: Path, *, node: Node, listening: Listening) -> spawn.Program:
        """Write what the replica reads."""
        threads = environment.threads(launch.cpu_millis, node_millis=node.cpu_millis)
        place = environment.Place(
            work=str(home / "work"),
            temporary=str(home / "tmp"),
            config=str(home / "config"),
            node=node.name,
            mark=mark(home),
            threads=max(1, threads // launch.spec.workers),
        )
        log = self._places.log(launch.key, launch.replica)
        return preparing.prepare(launch, home, place=place, listening=listening, desk=self._desk, log=log)

    def _homes(self) -> Iterator[Path]:
        """Directories of all replicas."""
        for project in files.directories(self._places.replicas):
            for service in files.directories(project):
                yield from files.directories(service)

    def _facts(self, home: Path, kept: record.Record) -> Facts:
        child = self._children.get(home)
        exit_code = child.poll() if child else None
        alive = spawn.running(home)
        born = process.birth(home / spawn.BIRTH)
        return Facts(
            record=kept,
            alive=alive,
            pid=born.pid if born else 0,
            exit_code=exit_code,
            state=files.read_json(home / preparing.STATE),
            silent_seconds=self._pulse.silent_seconds(home / preparing.STATE),
            draining_since=_since(home / _DRAINING),
            stopping_since=_since(home / _STOPPING),
            resident_bytes=process.memory([born]) if born and alive else 0,
        )

    def _is_over(self, home: Path, kept: record.Record) -> bool:
        """Whether nothing is left to say: it stopped as told, never began, or the machine rebooted."""
        if spawn.running(home):
            return False
        return bool(_since(home / _STOPPING)) or kept.boot != process.boot() or self._never_began(home)

    def _never_began(self, home: Path) -> bool:
        """Whether a control plane died between writing the intent and starting the process."""
        return not (home / spawn.BIRTH).exists() and not spawn.is_locked(home / spawn.LOCK)

    def _born(self, home: Path) -> process.Stat | None:
        """The front's process, if its number means anything in this boot."""
        kept = record.load(home)
        return process.birth(home / spawn.BIRTH) if kept and kept.boot == process.boot() else None

    def _knows(self, home: Path) -> bool:
        """Whether the front said that it is finishing."""
        return (files.read_json(home / preparing.STATE) or {}).get("phase") == "draining"


def _key(text: str) -> Key | None:
    """The deployment of a directory; None for one that somebody else made there."""
    try:
        return Key.parse(text)
    except Invalid:
        return None


def _ports(home: Path) -> tuple[int, ...]:
    """Ports that a replica was given."""
    kept = record.load(home)
    return kept.ports if kept else ()


def _since(marker: Path) -> float:
    """The time in a marker file; 0 when it is not there."""
    try:
        return float(marker.read_text())
    except FileNotFoundError:
        return 0.0
    except ValueError:
        return os.path.getmtime(marker)
