"""Runs a task as a Job, and reads what came of it from its log; whatever goes wrong is an answer."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from modelyard.backends import endings
from modelyard.backends.base import Answer, Task
from modelyard.backends.delivery import Courier, Tree
from modelyard.backends.kubernetes import names, projects, reasons
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.client.logs import line_of
from modelyard.backends.kubernetes.kinds import JOB, SECRET, Manifest
from modelyard.backends.kubernetes.render import networks
from modelyard.backends.kubernetes.render.desired import Settings
from modelyard.backends.kubernetes.render.task import (
    CONTAINER,
    FETCH_SECONDS,
    MOST_STORED,
    VARIANT,
    Errand,
    job,
    secret,
)
from modelyard.domain.deployment import Failure
from modelyard.domain.errors import (
    BackendError,
    Conflict,
    Forbidden,
    Invalid,
    ModelyardError,
    NotFound,
    Refused,
)
from modelyard.domain.failures import WAITING
from modelyard.domain.model import File
from modelyard.domain.variant import Optimize

_LOOK_SECONDS = 0.5
_PLACE_SECONDS = 300.0
"""How long a task waits for a node before it is said that there is none."""
_LONGEST_SECONDS = 3600.0
_GRACE_SECONDS = 60.0
_MOST_LOG = 64 << 20
_Outcome = Mapping[str, Any]


class Tasks:
    """Asks guests in pods of their own."""

    def __init__(
        self,
        cluster: Cluster,
        courier: Courier,
        *,
        pods: Callable[[], Sequence[Manifest]],
        settings: Settings,
        new_id: Callable[[], str],
        look_seconds: float = _LOOK_SECONDS,
    ) -> None:
        self._cluster = cluster
        self._courier = courier
        self._pods = pods
        self._settings = settings
        self._new_id = new_id
        self._look_seconds = look_seconds

    async def run(self, task: Task, *, lock: str = "") -> Answer:
        """The answer, with the packages of a lock where there is one.

        Raises BackendError when the cluster or the store do not answer at all.
        """
        began = asyncio.get_running_loop().time()
        errand = await self._errand(task, lock)
        try:
            await self._begin(errand)
            answer = await self._followed(errand)
        except (Invalid, Forbidden) as error:
            answer = Answer(result=None, failure=reasons.refusal(error.message))
        except Conflict as error:
            raise BackendError(error.message, retryable=True) from error
        finally:
            await asyncio.shield(self._end(errand))
        seconds = answer.duration_seconds or asyncio.get_running_loop().time() - began
        return Answer(
            result=answer.result,
            failure=answer.failure,
            stdout=answer.stdout,
            stderr=answer.stderr,
            device=str((answer.result or {}).get("device") or ""),
            duration_seconds=seconds,
        )

    async def _errand(self, task: Task, lock: str) -> Errand:
        guest, number = task.guest, self._new_id()
        project = guest.env.get("MODELYARD_PROJECT") or "default"
        trees = [Tree(path=guest.path, files=guest.artifact.files)]
        if guest.variant_path is not None and guest.artifact.variant:
            trees.append(Tree(path=guest.variant_path, files=guest.artifact.variant, prefix=f"{VARIANT}/"))
        seconds = min(task.timeout_seconds + FETCH_SECONDS, _LONGEST_SECONDS)
        return Errand(
            task=task,
            name=names.k8s_name("task", task.kind, names.content_hash(number)),
            namespace=self._settings.namespace(project),
            project=project,
            marker=f"modelyard-outcome-{names.content_hash(number[::-1])}",
            grant=await self._courier.for_task(trees, seconds=seconds, takes_bytes=MOST_STORED),
            settings=self._settings,
            lock=lock,
        )

    async def _begin(self, errand: Errand) -> None:
        await self._prepare(errand)
        await self._cluster.apply(secret(errand))
        made = await self._cluster.apply(job(errand))
        await self._cluster.apply(secret(errand, job_uid=str(made["metadata"]["uid"])))

    async def _prepare(self, errand: Errand) -> None:
        """What the project must have, if this is the first that comes to it; its network's rules always."""
        await projects.prepare(self._cluster, self._settings, errand.project)
        await projects.lend_credentials(self._cluster, self._settings, errand.project)
        if networks.closes(errand.settings):
            await self._cluster.apply(networks.policy(errand.project, errand.namespace, errand.settings))

    async def _followed(self, errand: Errand) -> Answer:
        """Until its pod has ended, cannot begin, or had its time."""
        now = asyncio.get_running_loop().time
        end, placed_by = now() + errand.task.timeout_seconds + FETCH_SECONDS, now() + _PLACE_SECONDS
        seen = False
        while now() < end:
            pod = self._pod(errand)
            if pod is None and seen:
                failure = Failure(reason="Disrupted", message="the pod of the task went before it answered")
                return Answer(result=None, failure=failure)
            if pod is None and (refused := await self._refused(errand)):
                return Answer(result=None, failure=refused)
            if pod is not None:
                seen = True
                if _has_ended(pod):
                    return await self._told(errand, pod)
                trouble = reasons.of_pod(pod)
                waits = trouble is not None and trouble.failure.reason in WAITING
                if trouble is not None and (trouble.ended or (waits and now() > placed_by)):
                    return Answer(result=None, failure=trouble.failure)
            await asyncio.sleep(self._look_seconds)
        return Answer(result=None, failure=endings.late(errand.task))

    def _pod(self, errand: Errand) -> Manifest | None:
        """As far as was heard; asks nobody."""
        found = (p for p in self._pods() if p["metadata"]["labels"].get(names.TASK) == errand.name)
        return next(found, None)

    async def _refused(self, errand: Errand) -> Failure | None:
        """Why the Job has no pod: quota or policy, which it says only in events, or that it is gone."""
        try:
            found = await self._cluster.get(JOB, errand.name, namespace=errand.namespace)
        except NotFound:
            return Failure(reason="Disrupted", message="somebody deleted the task's Job")
        for each in found.get("status", {}).get("conditions", ()):
            if each["type"] == "Failed" and each["status"] == "True":
                return reasons.refusal(str(each.get("message", "")))
        return None

    async def _told(self, errand: Errand, pod: Manifest) -> Answer:
        """What the errand told, or why it could not."""
        outcome = await self._outcome(errand, pod)
        if outcome is None:
            trouble = reasons.of_pod(pod)
            oom = trouble is not None and trouble.failure.reason == "OutOfMemory"
            if oom and errand.task.memory_bytes:
                return Answer(result=None, failure=endings.too_big(errand.task.memory_bytes))
            failure = trouble.failure if trouble is not None else endings.silent(1, oomed=False)
            crashed = failure.reason == "FrontCrashed"
            told = replace(failure, reason="WorkerCrashed") if crashed else failure
            return Answer(result=None, failure=told)
        result, why = await self._judged(errand.task, outcome)
        return Answer(
            result=result,
            failure=why,
            stdout=str(outcome.get("stdout", "")),
            stderr=str(outcome.get("stderr", "")),
            duration_seconds=float(outcome.get("seconds", 0.0)),
        )

    async def _judged(self, task: Task, outcome: _Outcome) -> tuple[dict[str, Any] | None, Failure | None]:
        """Result and failure, as in every backend."""
        said = outcome.get("said")
        if outcome.get("result"):
            said = await self._fetched(outcome["result"])
        ended = _ended(task, outcome)
        if ended is None and isinstance(said, dict) and isinstance(said.get("failure"), dict):
            told = said["failure"]
            return None, Failure(reason=str(told.get("reason")), message=str(told.get("message") or ""))
        result = said.get("result") if isinstance(said, dict) else None
        if ended is not None and task.out is None:
            return None, ended
        if not isinstance(result, dict):
            return None, ended or endings.silent(int(outcome.get("code", 0)), oomed=False)
        if task.out is not None:
            await self._courier.collect(_files(outcome), task.out)
        return result, ended

    async def _fetched(self, stored: Mapping[str, Any]) -> Any:
        with tempfile.TemporaryDirectory() as home:
            (file,) = _files({"files": [stored]})
            await self._courier.collect([file], Path(home))
            return json.loads(await asyncio.to_thread((Path(home) / file.path).read_bytes))

    async def _outcome(self, errand: Errand, pod: Manifest) -> _Outcome | None:
        """The outcome out of the log's last lines; None when there is none."""
        chunks: dict[int, str] = {}
        total, size = 0, 0
        try:
            name = pod["metadata"]["name"]
            async for text in self._cluster.logs(errand.namespace, name, container=CONTAINER):
                line = line_of(text, name).text
                size += len(line)
                if line.startswith(f"{errand.marker} ") and size < _MOST_LOG:
                    _, numbers, chunk = line.split(" ", 2)
                    number, total = (int(each) for each in numbers.split("/"))
                    chunks[number] = chunk
        except (ModelyardError, ValueError):
            return None
        if not total or len(chunks) != total:
            return None
        try:
            found = json.loads(gzip.decompress(base64.b64decode("".join(chunks[n] for n in sorted(chunks)))))
        except (ValueError, OSError, EOFError):
            return None
        return found if isinstance(found, dict) else None

    async def _end(self, errand: Errand) -> None:
        """Nothing of it stays; what cannot be removed now goes by itself a while after its end."""
        try:
            await self._cluster.delete(JOB, errand.name, namespace=errand.namespace, grace_seconds=0)
            await self._cluster.delete(SECRET, errand.name, namespace=errand.namespace)
        except ModelyardError:
            return


def _ended(task: Task, outcome: _Outcome) -> Failure | None:
    """Why the guest was ended, or ended otherwise than it should."""
    code = int(outcome.get("code", 0))
    if outcome.get("late"):
        return endings.late(task)
    if outcome.get("too_long"):
        return endings.too_long(MOST_STORED)
    if outcome.get("oom") and code:
        return endings.too_big(task.memory_bytes) if task.memory_bytes else endings.silent(-9, oomed=True)
    answered = isinstance(outcome.get("said"), dict) or outcome.get("result")
    if code and (task.optimize is not Optimize.OFF or not answered):
        return endings.silent(code, oomed=False)
    return None


def _has_ended(pod: Manifest) -> bool:
    said = pod.get("status", {}).get("containerStatuses", ())
    return any(each["name"] == CONTAINER and "terminated" in each.get("state", {}) for each in said)


def _files(outcome: _Outcome) -> tuple[File, ...]:
    """What was stored; names that could lead elsewhere are refused."""
    found = tuple(
        File(path=str(each["path"]), size=int(each["size"]), sha256=str(each["sha256"]))
        for each in outcome.get("files", ())
    )
    if any("/" in file.path or file.path in ("", ".", "..") for file in found):
        raise Refused("the task stored a file under a name that leads elsewhere")
    return found
