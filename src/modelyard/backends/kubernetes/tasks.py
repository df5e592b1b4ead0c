"""Runs a task as a Job, and reads what came of it from its log; whatever goes wrong is an answer."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import tempfile
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modelyard.backends import endings
from modelyard.backends.base import Answer, Task
from modelyard.backends.delivery import Courier, Grant, Tree
from modelyard.backends.kubernetes import names, outcomes, projects, queues, reasons
from modelyard.backends.kubernetes.capabilities import Capabilities
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.gpus.wanted import gpus_for
from modelyard.backends.kubernetes.kinds import (
    EVENT,
    JOB,
    PERSISTENT_VOLUME_CLAIM,
    RESOURCE_CLAIM_TEMPLATE,
    SECRET,
    Manifest,
)
from modelyard.backends.kubernetes.outcomes import Outcome
from modelyard.backends.kubernetes.packages import NONE, Packages
from modelyard.backends.kubernetes.render import networks, queueing
from modelyard.backends.kubernetes.render.delivery import VARIANT
from modelyard.backends.kubernetes.render.desired import Settings
from modelyard.backends.kubernetes.render.task import (
    CONTAINER,
    LENT_REQUEST,
    MOST_STORED,
    REQUEST_FOLDER,
    WHEELS,
    Errand,
    claims,
    job,
    prepares_within,
    secret,
    waits,
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
    Unavailable,
)
from modelyard.domain.failures import WAITING
from modelyard.domain.model import File
from modelyard.domain.model_files import InClaim
from modelyard.domain.variant import Optimize

_LOOK_SECONDS = 0.5
_PLACE_SECONDS = 300.0
"""How long a task waits for a node before it is said that there is none."""
_LONGEST_SECONDS = 3600.0
_GRACE_SECONDS = 60.0
_LOG_TRIES = 4
_LENT_AGAIN_SECONDS = 300.0
"""So often what waits in a queue is lent its files anew, as that is good for an hour at the most."""
_FORGOTTEN_SECONDS = 3 * _LENT_AGAIN_SECONDS
"""What was not lent its files anew for so long has nobody who asks for it."""
_QUEUE_LOOKS = 4
"""What waits in a queue is looked at so many times less often than what runs."""
_EVENT_SECONDS = 2.0
"""So often it is asked what is said of a Job without a pod."""
_AT_ONCE = ("PodSecurity", "PolicyRefused")
"""Why there will be no pod before somebody changes something; a quota has room again by itself."""
_GONE = Failure(reason="Disrupted", message="somebody deleted the task's Job")
_LONG_REQUEST = 256 * 1024
"""Bytes of a question that is lent as a file: a Secret takes a mebibyte in all."""


@dataclass(slots=True)
class _Vacancy:
    """A time without a pod."""

    since: float
    look_at: float = 0.0
    """When it is asked next why."""


class Tasks:
    """Asks guests in pods of their own."""

    def __init__(  # noqa: PLR0913 - what it works with
        self,
        cluster: Cluster,
        courier: Courier,
        *,
        pods: Callable[[], Sequence[Manifest]],
        settings: Settings,
        capabilities: Capabilities,
        new_id: Callable[[], str],
        clock: Callable[[], float],
        look_seconds: float = _LOOK_SECONDS,
    ) -> None:
        self._cluster = cluster
        self._courier = courier
        self._pods = pods
        self._settings = settings
        self._capabilities = capabilities
        self._new_id = new_id
        self._clock = clock
        self._look_seconds = look_seconds

    async def run(self, task: Task, *, packages: Packages = NONE) -> Answer:
        """The answer, with the packages of a lock where there is one.

        Raises BackendError when the cluster or the store do not answer at all.
        """
        began = asyncio.get_running_loop().time()
        errand = await self._errand(task, packages)
        try:
            await self._prepare(errand)
            if absent := await self._absent(errand):
                return Answer(result=None, failure=absent)
            await _whole(self._begin(errand))
            answer = await self._followed(errand, packages)
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

    async def _errand(self, task: Task, packages: Packages) -> Errand:
        number, project = self._new_id(), task.guest.env.get("MODELYARD_PROJECT") or "default"
        queue = queues.chosen(self._settings, self._capabilities)
        return Errand(
            task=task,
            name=names.k8s_name("task", task.kind, names.content_hash(number)),
            namespace=self._settings.namespace(project),
            project=project,
            marker=f"modelyard-outcome-{names.content_hash(number[::-1])}",
            grant=await self._lent(task, packages),
            settings=self._settings,
            gpus=gpus_for(task.wanted, self._capabilities),
            lock=packages.lock,
            lends=packages.wheels is not None,
            queue=queueing.name_of(queue) if queue else "",
            waits_until=self._clock() + _FORGOTTEN_SECONDS,
        )

    async def _lent(self, task: Task, packages: Packages) -> Grant:
        """What its pod may fetch in the time it has, and a while of waiting."""
        guest = task.guest
        trees = [] if guest.location else [Tree(path=guest.path, files=guest.artifact.files)]
        if guest.variant_path is not None and guest.artifact.variant:
            inside = "" if guest.location else f"{VARIANT}/"
            trees.append(Tree(path=guest.variant_path, files=guest.artifact.variant, prefix=inside))
        if packages.wheels:
            trees.append(Tree(path=packages.directory, files=packages.wheels, prefix=WHEELS))
        seconds = task.timeout_seconds + prepares_within(task)
        if queues.chosen(self._settings, self._capabilities):
            seconds += 2 * _LENT_AGAIN_SECONDS
        seconds = min(seconds, _LONGEST_SECONDS)
        with tempfile.TemporaryDirectory() as home:
            trees += await asyncio.to_thread(_long_request, task.request, Path(home))
            return await self._courier.for_task(trees, seconds=seconds, takes_bytes=MOST_STORED)

    async def _lend_again(self, errand: Errand, packages: Packages, job_uid: str) -> None:
        """Have what waits find its files when it begins, and say that it is still asked for."""
        renewed = replace(errand, grant=await self._lent(errand.task, packages))
        await self._cluster.apply(secret(renewed, job_uid=job_uid))
        until = waits(self._clock() + _FORGOTTEN_SECONDS)
        patch = {"metadata": {"uid": job_uid, "annotations": until}}
        try:
            await self._cluster.patch(JOB, errand.name, patch, namespace=errand.namespace)
        except (NotFound, Conflict):
            return  # somebody deleted it, which the next look tells

    async def _absent(self, errand: Errand) -> Failure | None:
        """Why there is no use in a pod that would wait for its model's claim; who asks waits, too."""
        match errand.task.guest.location:
            case InClaim(claim):
                try:
                    await self._cluster.get(PERSISTENT_VOLUME_CLAIM, claim, namespace=errand.namespace)
                except NotFound:
                    message = f"the namespace {errand.namespace} has no PersistentVolumeClaim {claim} yet"
                    return Failure(reason="MountFailed", message=message)
        return None

    async def _begin(self, errand: Errand) -> None:
        if errand.queue:
            errand.task.told(queues.ASKS)
        for each in (secret(errand), *claims(errand)):
            await self._cluster.apply(each)
        uid = str((await self._cluster.apply(job(errand)))["metadata"]["uid"])
        for each in (secret(errand, job_uid=uid), *claims(errand, job_uid=uid)):
            await self._cluster.apply(each)

    async def _prepare(self, errand: Errand) -> None:
        """What the project must have, if this is the first that comes to it; its network's rules always."""
        await projects.prepare(self._cluster, self._settings, errand.project)
        await projects.lend_credentials(self._cluster, self._settings, errand.project)
        await projects.share_cache(self._cluster, self._settings, errand.project)
        if networks.closes(errand.settings):
            await self._cluster.apply(networks.policy(errand.project, errand.namespace, errand.settings))
        if errand.queue:
            await queues.prepare(self._cluster, errand.settings, errand.project)

    async def _followed(self, errand: Errand, packages: Packages) -> Answer:
        """Until its pod has ended, cannot begin, or had its time; one whose place was taken is replaced."""
        now, seconds = asyncio.get_running_loop().time, errand.task.timeout_seconds
        seconds += prepares_within(errand.task)
        end, placed_by = now() + seconds, now() + _PLACE_SECONDS
        waiting = functools.partial(self._admitted, errand, packages, lent_at=now())
        seen, vacancy = False, _Vacancy(now())
        while now() < end:
            pod = self._pod(errand)
            if pod is None or (errand.queue and "deletionTimestamp" in pod["metadata"]):
                live = await self._live(errand)
                why = await self._unmade(live, vacancy, seen=seen)
                if live is None or why is not None:
                    return Answer(result=None, failure=why or _GONE)
                if errand.queue and (late := await waiting(live)):
                    return Answer(result=None, failure=late)
                placed_by = now() + _PLACE_SECONDS
                end = max(end, now() + seconds) if errand.queue else end
            else:
                seen, vacancy = True, _Vacancy(now())
                errand.task.told("")  # it may have been let begin before anybody looked
                if _has_ended(pod):
                    return await self._told(errand, pod)
                trouble = reasons.of_pod(pod)
                waits = trouble is not None and trouble.failure.reason in (*WAITING, "ConfigError")
                if trouble is not None and (trouble.ended or (waits and now() > placed_by)):
                    return Answer(result=None, failure=trouble.failure)
            await asyncio.sleep(self._look_seconds)
        return Answer(result=None, failure=endings.late(errand.task))

    async def _unmade(self, live: Manifest | None, vacancy: _Vacancy, *, seen: bool) -> Failure | None:
        """Why the Job makes no pod; None while it may yet. Its controller tries again for ever, silently."""
        refused = _refused(live, seen=seen) if live is not None else None
        now = asyncio.get_running_loop().time()
        if live is None or refused or queues.is_suspended(live) or now < vacancy.look_at:
            return refused
        vacancy.look_at = now + _EVENT_SECONDS
        metadata = live["metadata"]
        selector = f"involvedObject.uid={metadata['uid']},reason=FailedCreate"
        try:
            events = (await self._cluster.list(EVENT, namespace=metadata["namespace"], fields=selector)).items
        except ModelyardError:
            return None  # it is asked again
        if not events:
            return None
        failure = reasons.refusal(str(events[-1].get("message", "")))
        waits = failure.reason not in _AT_ONCE and now - vacancy.since < _PLACE_SECONDS
        return None if waits else failure

    async def _admitted(
        self, errand: Errand, packages: Packages, live: Manifest, *, lent_at: float
    ) -> Failure | None:
        """Nothing once Kueue lets the Job begin, again if it took that back; why not, if that takes long."""
        now = asyncio.get_running_loop().time
        end, why = now() + errand.task.patience_seconds, queues.ASKS
        found: Manifest | None = live
        while found is not None and queues.is_suspended(found):
            if now() >= end:
                waited = f"waited {errand.task.patience_seconds:g} s: {why}"
                message = f"{waited}; `modelyard queue` shows what runs and what waits"
                return Failure(reason="Queued", message=message)
            if now() - lent_at > _LENT_AGAIN_SECONDS:
                await self._lend_again(errand, packages, found["metadata"]["uid"])
                lent_at = now()
            why = await queues.why(self._cluster, found)
            errand.task.told(why)
            await asyncio.sleep(_QUEUE_LOOKS * self._look_seconds)
            found = await self._live(errand)
        errand.task.told("")
        return _GONE if found is None else None

    def _pod(self, errand: Errand) -> Manifest | None:
        """As far as was heard; asks nobody."""
        found = (p for p in self._pods() if p["metadata"]["labels"].get(names.TASK) == errand.name)
        return next((each for each in found if not reasons.is_disrupted(each)), None)

    async def _live(self, errand: Errand) -> Manifest | None:
        """Its Job as it is; None when somebody deleted it."""
        try:
            return await self._cluster.get(JOB, errand.name, namespace=errand.namespace)
        except NotFound:
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

    async def _judged(self, task: Task, outcome: Outcome) -> tuple[dict[str, Any] | None, Failure | None]:
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

    async def _outcome(self, errand: Errand, pod: Manifest) -> Outcome | None:
        """The outcome out of the log's last lines; None when a log that was read to its end has none.

        Raises BackendError when it cannot be read: that says nothing of the model.
        """
        name = pod["metadata"]["name"]
        for number in range(_LOG_TRIES):
            try:
                lines = self._cluster.logs(errand.namespace, name, container=CONTAINER)
                text = await outcomes.collected(lines, errand.marker)
            except (Unavailable, NotFound, Invalid) as error:
                why = error.message
                await asyncio.sleep(self._look_seconds * 2**number)
                continue
            return await asyncio.to_thread(outcomes.unpacked, text) if text else None
        raise BackendError(f"the task has ended, and its log cannot be read: {why}", retryable=True)

    async def _end(self, errand: Errand) -> None:
        """Nothing of it stays; what cannot be removed now goes by itself a while after its end."""
        try:
            await self._cluster.delete(JOB, errand.name, namespace=errand.namespace, grace_seconds=0)
            await self._cluster.delete(SECRET, errand.name, namespace=errand.namespace)
            for kind in (RESOURCE_CLAIM_TEMPLATE,) if errand.gpus.claim else ():
                await self._cluster.delete(kind, errand.name, namespace=errand.namespace)
        except ModelyardError:
            return


async def _whole(work: Coroutine[Any, Any, None]) -> None:
    """Do what is not given up half-way: what the API server was asked for may come about all the same."""
    doing = asyncio.ensure_future(work)
    try:
        await asyncio.shield(doing)
    except asyncio.CancelledError:
        await asyncio.gather(doing, return_exceptions=True)
        raise


def _long_request(request: Mapping[str, Any], home: Path) -> list[Tree]:
    """A request that is too long for a Secret, as a file to lend."""
    text = json.dumps(request).encode()
    if len(text) <= _LONG_REQUEST:
        return []
    path = Path(LENT_REQUEST).name
    (home / path).write_bytes(text)
    file = File(path=path, size=len(text), sha256=hashlib.sha256(text).hexdigest())
    return [Tree(path=home, files=(file,), prefix=f"{REQUEST_FOLDER}/")]


def _ended(task: Task, outcome: Outcome) -> Failure | None:
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


def _refused(job: Manifest, *, seen: bool) -> Failure | None:
    """Why the Job makes no pod: quota, policy, or that its only try failed."""
    for each in job.get("status", {}).get("conditions", ()):
        if each["type"] == "Failed" and each["status"] == "True":
            if seen:
                return Failure(reason="Disrupted", message="the pod of the task went before it answered")
            return reasons.refusal(str(each.get("message", "")))
    return None


def _has_ended(pod: Manifest) -> bool:
    said = pod.get("status", {}).get("containerStatuses", ())
    return any(each["name"] == CONTAINER and "terminated" in each.get("state", {}) for each in said)


def _files(outcome: Outcome) -> tuple[File, ...]:
    """What was stored; names that could lead elsewhere are refused."""
    found = tuple(
        File(path=str(each["path"]), size=int(each["size"]), sha256=str(each["sha256"]))
        for each in outcome.get("files", ())
    )
    if any("/" in file.path or file.path in ("", ".", "..") for file in found):
        raise Refused("the task stored a file under a name that leads elsewhere")
    return found
