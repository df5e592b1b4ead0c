"""Find the models of a path, look into each in a process of its own, and write what a front must know."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modelyard import formats
from modelyard.backends import documents
from modelyard.backends.base import Guest, Launch, Task, TaskKind
from modelyard.backends.local import environment
from modelyard.backends.local.backend import LocalBackend, guest_host
from modelyard.control import pipelines, reading, trials, validation
from modelyard.domain.deployment import DeploymentSpec, Key
from modelyard.domain.errors import ModelyardError, Refused
from modelyard.domain.model import Artifact, PublishSpec
from modelyard.domain.node import Node
from modelyard.formats import repositories
from modelyard.formats.repositories import Candidate
from modelyard.standalone.options import Options, Say

PROJECT = "default"
LOAD_SECONDS = 600.0
_AT_ONCE = 2
"""Models that are looked into at the same time."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A candidate that was looked into."""

    candidate: Candidate
    guest: Guest


async def prepare(options: Options, backend: LocalBackend, node: Node, say: Say) -> list[Prepared]:
    """Everything that can be served; what cannot is said.

    Raises NotFound when nothing is there, Refused with every reason when nothing of it can be served.
    """
    found = repositories.find(options.path)
    if options.name and len(found) == 1:
        found = (replace(found[0], name=options.name),)
    turns = asyncio.Semaphore(_AT_ONCE)
    gpus = tuple(gpu.index for gpu in node.gpus)

    async def look(candidate: Candidate) -> Prepared | str:
        async with turns:
            try:
                return await _looked_into(options, candidate, backend, gpus)
            except ModelyardError as error:
                return f"{candidate.name}: {error.message}"

    outcomes = await asyncio.gather(*(look(candidate) for candidate in found))
    problems = [outcome for outcome in outcomes if isinstance(outcome, str)]
    models = [outcome for outcome in outcomes if isinstance(outcome, Prepared)]
    if not models:
        raise Refused("; ".join(problems))
    for problem in problems:
        say(f"left out: {problem}")
    return models


async def _looked_into(
    options: Options, candidate: Candidate, backend: LocalBackend, gpus: tuple[int, ...]
) -> Prepared:
    """Detect, scan and load it once in a process of its own; raises Refused when it cannot be served."""
    if candidate.problem:
        raise Refused(candidate.problem)
    spec = PublishSpec(name="model", format=candidate.format, signature=candidate.signature)
    artifact = await asyncio.to_thread(_read, options, candidate, spec)
    guest = Guest(
        artifact=artifact,
        path=candidate.directory.resolve(),
        interpreter=options.python or sys.executable,
        runtime="host",
    )
    task = Task(kind=TaskKind.INSPECT, guest=guest, timeout_seconds=LOAD_SECONDS, gpus=gpus)
    answer = await backend.run(task)
    if answer.result is None:
        raise trials.failed(answer, {"model": candidate.name, "project": PROJECT, "runtime": "host"})
    return Prepared(candidate, replace(guest, artifact=validation.completed(artifact, answer.result)))


def _read(options: Options, candidate: Candidate, spec: PublishSpec) -> Artifact:
    """One model, or the whole that a pipeline.yaml makes of several."""
    directory = candidate.directory
    document = None if candidate.entry else formats.pipeline(directory)
    if document is not None:
        return pipelines.known(directory, document, spec, options.trust)
    return reading.read(directory, "", spec=spec, trust=options.trust, entry=candidate.entry).artifact


def document_of(options: Options, home: Path, node: Node, model: Prepared) -> Mapping[str, Any]:
    """What replica.json says of one model."""
    candidate = model.candidate
    key = Key(PROJECT, candidate.name)
    launch = Launch(
        key=key,
        replica="serve",
        revision=1,
        model=candidate.name,
        version=candidate.version,
        spec=DeploymentSpec(model=candidate.name, start_timeout_seconds=LOAD_SECONDS),
        guest=model.guest,
        gpus=tuple(gpu.index for gpu in node.gpus),
    )
    threads = max(1, environment.threads(0, node_millis=node.cpu_millis) // options.workers)
    work = Path(tempfile.mkdtemp(prefix="work-", dir=home))
    place = environment.Place(
        work=str(work), temporary=str(work), config="", node=node.name, mark="", threads=threads
    )
    start = documents.Start(
        address="",
        state_path="",
        work=str(work),
        worker=str(guest_host()),
        env=environment.of_replica(launch, place),
        threads=threads,
        max_body_bytes=options.max_body_bytes,
    )
    document = documents.of_replica(launch, start)
    document["worker"]["count"] = options.workers
    return {name: document[name] for name in document.keys() - {"listen", "state_path", "replica"}}
