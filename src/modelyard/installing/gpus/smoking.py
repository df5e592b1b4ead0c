"""Tries the GPUs of a cluster: a short Job on every node that has some, which is always taken away again."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from modelyard import __version__
from modelyard.backends.kubernetes import names, reasons
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.client.logs import line_of
from modelyard.backends.kubernetes.images import SERVING, reference
from modelyard.backends.kubernetes.kinds import EVENT, JOB, POD, RESOURCE_CLAIM_TEMPLATE, Manifest, place
from modelyard.domain import cards
from modelyard.domain.deployment import Failure
from modelyard.domain.errors import ModelyardError, NotFound
from modelyard.domain.failures import WAITING
from modelyard.installing.gpus import fixes, smoke_job
from modelyard.installing.gpus.smoke_job import CONTAINER, Trial
from modelyard.installing.gpus.stack import Seen
from modelyard.installing.verdict import Check

_AT_ONCE = 8
_MOST_WORDS = 300
_NO_SUCH_PROGRAM = 127
"""What shells and container runtimes end with that find no program of a name."""
_TOOLKIT = (
    "the node's container runtime lays no driver into containers: install NVIDIA's container toolkit there "
    "and run `nvidia-ctk runtime configure --runtime=containerd`, or {stack}"
)
_REMEDIES = {
    "InsufficientResources": "nothing was tried; free a card, or leave this out with --no-smoke",
    "NoSuitableNode": "nothing was tried; see `kubectl describe node`, or leave this out with --no-smoke",
    "QuotaExceeded": "choose a kubeconfig whose context names another namespace",
    "PodSecurity": "choose a kubeconfig whose context names another namespace",
    "ImageError": "name an image that nodes can pull with --image; any with a C library will do",
    "GpuAdmission": "restart the device plugin on that node",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Smoke:
    """How the trial is made."""

    image: str = field(default_factory=lambda: reference(SERVING, tag=__version__))
    seconds: float = 120.0
    """How long a Job may take, with the image's way to the node."""
    place_seconds: float = 10.0
    """How long it may wait for a card."""
    look_seconds: float = 0.5
    new_id: Callable[[], str] = lambda: secrets.token_hex(5)
    say: Callable[[str], None] = lambda text: None
    """Told what is being waited for."""


async def smoked(client: Cluster, seen: Seen, smoke: Smoke) -> tuple[Check, ...]:
    """What a Job on each of the nodes with cards saw. Whatever happens, its Jobs are taken away."""
    run = smoke.new_id()
    trials = [_trial(client, node, seen, smoke, run) for node in smoke_job.tried(seen)]
    if trials:
        where = ", ".join(each.node for each in trials)
        smoke.say(
            f"trying a GPU with a Job in {trials[0].namespace}, at most {smoke.seconds:g} s, on {where} …"
        )
    turns = asyncio.Semaphore(_AT_ONCE)
    remedy = fixes.stack(seen.nodes)

    async def one(trial: Trial) -> Check:
        async with turns:
            return await _tried(client, trial, smoke, remedy)

    made = await asyncio.gather(*map(one, trials))
    return (*(each.check for each in smoke_job.skipped(seen)), *made)


def _trial(client: Cluster, node: Manifest, seen: Seen, smoke: Smoke, run: str) -> Trial:
    name = fixes.name(node)
    claimed = {each.product for each in seen.claimed(node)}
    return Trial(
        name=names.k8s_name("modelyard-smoke", run, names.content_hash(name)),
        namespace=client.access.namespace or "default",
        node=name,
        host=smoke_job.host_of(node),
        product=fixes.labels(node).get("nvidia.com/gpu.product") or min(claimed, default=""),
        resource=smoke_job.resource_of(node),
        image=smoke.image,
        seconds=smoke.seconds,
        run=run,
        runtime_class=seen.found.gpus.runtime_class,
    )


async def _tried(client: Cluster, trial: Trial, smoke: Smoke, remedy: str) -> Check:
    """One Job from its making to its end."""
    try:
        for each in (*smoke_job.claim(trial), smoke_job.job(trial)):
            await client.create(each)
        return await _followed(client, trial, smoke, remedy)
    except ModelyardError as error:
        return _check(trial, False, f"the Job {trial.namespace}/{trial.name}: {error}")
    finally:
        # Also when this was interrupted; what cannot be removed now goes by its own time to live.
        await asyncio.shield(_removed(client, trial))


async def _removed(client: Cluster, trial: Trial) -> None:
    try:
        for kind in (JOB, RESOURCE_CLAIM_TEMPLATE) if trial.claims else (JOB,):
            await client.delete(kind, trial.name, namespace=trial.namespace, grace_seconds=0)
    except ModelyardError:
        return


async def _followed(client: Cluster, trial: Trial, smoke: Smoke, remedy: str) -> Check:
    """Until its pod ended, cannot begin, or had its time."""
    now = asyncio.get_running_loop().time
    end, placed_by = now() + smoke.seconds, now() + smoke.place_seconds
    pod: Manifest | None = None
    while now() < end:
        pod = await _pod(client, trial)
        if pod is not None:
            if (ended := _ended(pod)) is not None:
                return await _told(client, trial, pod, ended, remedy)
            trouble = reasons.of_pod(pod)
            waits = trouble is not None and trouble.failure.reason in WAITING
            if trouble is not None and (trouble.ended or (waits and now() > placed_by)):
                return _check(trial, False, _failed(trouble.failure, remedy))
        elif now() > placed_by and (refused := await _complaint(client, trial, None)) is not None:
            return _check(trial, False, _failed(refused, remedy))
        await asyncio.sleep(smoke.look_seconds)
    why = await _complaint(client, trial, pod)
    late = f"it had not ended after {smoke.seconds:g} s; give it more with --smoke-seconds"
    return _check(trial, False, _failed(why, remedy) if why else late)


async def _pod(client: Cluster, trial: Trial) -> Manifest | None:
    labels = f"{smoke_job.SMOKE}={trial.run},batch.kubernetes.io/job-name={trial.name}"
    found = (await client.list(POD, namespace=trial.namespace, labels=labels)).items
    return found[0] if found else None


def _ended(pod: Manifest) -> int | None:
    """The exit code of its program; None while it has none, or never ran."""
    for each in (pod.get("status") or {}).get("containerStatuses") or ():
        ended = (each.get("state") or {}).get("terminated")
        if ended and ended.get("reason") not in ("StartError", "ContainerCannotRun"):
            return int(ended.get("exitCode", 0))
    return None


async def _told(client: Cluster, trial: Trial, pod: Manifest, code: int, remedy: str) -> Check:
    """What the program printed, and whether that is what the node's label says."""
    name = place(pod)[1]
    try:
        lines = [
            line_of(text, name).text async for text in client.logs(trial.namespace, name, container=CONTAINER)
        ]
    except NotFound:
        return _check(trial, False, "the pod went before its log could be read; try again")
    ok, words = _judged(trial, "\n".join(lines), code, remedy)
    return _check(trial, ok, words)


def _judged(trial: Trial, text: str, code: int, remedy: str) -> tuple[bool, str]:
    """Whether what the program printed is well, and words for it."""
    said, seen = " ".join(text.split())[:_MOST_WORDS] or "nothing", cards.listed(text)
    if code == _NO_SUCH_PROGRAM:
        return False, f"{said}; {_TOOLKIT.format(stack=remedy)}"
    if code or not seen:
        where = f"see whether the driver runs on the node with `nvidia-smi`, or {remedy}"
        return False, f"`{' '.join(cards.LIST)}` ended with {code} and printed: {said}; {where}"
    words = ", ".join(each.words for each in seen)
    if trial.product and not all(cards.is_product(trial.product, each.name) for each in seen):
        label = f"its label nvidia.com/gpu.product says {trial.product}, by which `1(TYPE)` chooses"
        mend = f"kubectl label --overwrite node {trial.node} nvidia.com/gpu.product=…"
        return False, f"{words}, but {label}; restart GPU feature discovery, or correct it: `{mend}`"
    return True, words


def _failed(failure: Failure, remedy: str) -> str:
    if failure.reason == "ProgramNotFound":
        return f"{failure.message}; {_TOOLKIT.format(stack=remedy)}"
    hint = _REMEDIES.get(failure.reason, f"see whether the node's driver and runtime are well, or {remedy}")
    return f"{failure.reason}: {failure.message}; {hint}"


async def _complaint(client: Cluster, trial: Trial, pod: Manifest | None) -> Failure | None:
    """Why it did not get on: what the pod says, or events of the pod or of the Job that got none."""
    trouble = reasons.of_pod(pod) if pod is not None else None
    if trouble is not None:
        return trouble.failure
    about = f"involvedObject.uid={pod['metadata']['uid']}" if pod else f"involvedObject.name={trial.name}"
    events = (await client.list(EVENT, namespace=trial.namespace, fields=about)).items
    if pod is not None:
        return reasons.told(events)
    refused = [str(each.get("message", "")) for each in events if each.get("reason") == "FailedCreate"]
    return reasons.refusal(refused[-1]) if refused else None


def _check(trial: Trial, ok: bool, message: str) -> Check:
    return Check(name=f"smoke on {trial.node}", ok=ok, message=message)
