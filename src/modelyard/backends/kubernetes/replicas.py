"""Makes the cluster's Deployments want what the platform wants, one step at a time for each deployment."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modelyard.backends.kubernetes import mountable, names, projects, reasons
from modelyard.backends.kubernetes.asking import Fronts
from modelyard.backends.kubernetes.assignment import Assignment, Held, assign
from modelyard.backends.kubernetes.capabilities import Capabilities
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.complaints import Complaints
from modelyard.backends.kubernetes.gpus.claims import with_devices
from modelyard.backends.kubernetes.gpus.facts import with_nodes
from modelyard.backends.kubernetes.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    HORIZONTAL_POD_AUTOSCALER,
    POD,
    POD_DISRUPTION_BUDGET,
    RESOURCE_CLAIM_TEMPLATE,
    SCALED_OBJECT,
    SECRET,
    SERVICE,
    Manifest,
)
from modelyard.backends.kubernetes.observation import Seen, Wish, address, is_ready, judge, started_at
from modelyard.backends.kubernetes.render.desired import Desired, Settings
from modelyard.backends.kubernetes.render.revision import anchor, revision
from modelyard.backends.kubernetes.render.scaler import scaled_by
from modelyard.backends.kubernetes.upkeep import Upkeep, remembered
from modelyard.backends.kubernetes.view import View
from modelyard.domain.deployment import Failure, Key, Replica
from modelyard.domain.errors import BackendError, Conflict, Forbidden, Invalid, NotFound, Unavailable

_TRIES = 5
_FIRST_TO_GO = "-2147483648"
_Wanted = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Revision:
    """One revision in the cluster."""

    deployment: Manifest
    wanted: _Wanted
    pods: Mapping[str, Manifest]
    assignment: Assignment

    @property
    def number(self) -> int:
        """Which revision."""
        return names.revision_of(self.deployment["metadata"]["labels"])


class Replicas:
    """The replicas of one cluster; the list of wanted ones is an annotation of their Deployment."""

    def __init__(  # noqa: PLR0913 - what it works with
        self,
        cluster: Cluster,
        view: View,
        fronts: Fronts,
        upkeep: Upkeep,
        *,
        settings: Settings,
        capabilities: Capabilities,
        clock: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self._view = view
        self._fronts = fronts
        self._upkeep = upkeep
        self._settings = settings
        self._capabilities = capabilities
        self._clock = clock
        self._complaints = Complaints(cluster, clock=clock)
        self._doubted: set[str] = set()
        """Namespaces that may be gone, whatever was heard of what is in them."""

    async def start(self, desired: Desired) -> None:
        """Want one more replica; nothing when it is wanted already. Raises BackendError."""
        launch = desired.launch
        there, _ = self._find(launch.key, launch.replica)
        if there is not None and there.number != launch.revision:
            return
        try:
            deployment = await self._applied(desired)
            facts = {"gpus": list(launch.gpus), "at": self._clock()}
            await self._want(deployment, lambda wanted: {launch.replica: facts} | wanted)
        except (Invalid, Forbidden) as error:
            failure = reasons.refusal(error.message)
            raise BackendError(failure.message, retryable=False, reason=failure.reason) from error
        except (Unavailable, Conflict) as error:
            raise BackendError(error.message, retryable=True) from error
        except NotFound as error:
            # Somebody deletes the namespace, and news of its objects come later than that it is gone.
            self._doubted.add(desired.namespace)
            message = (
                f"the namespace {desired.namespace} lacks what was there ({error.message}); it is made again"
            )
            raise BackendError(message, retryable=True) from error

    async def observe(self, key: Key, *, settle: bool = True) -> tuple[Replica, ...]:
        """Every replica of a deployment; if it may `settle`, revisions that nothing is left of go."""
        found: list[Replica] = []
        for each in self._revisions(key):
            if settle:
                await self._settle(key, each)
                self._tell_preempted(key, each)
            seen = await asyncio.gather(*(self._seen(each, *pair) for pair in _pairs(each)))
            found += [judge(one) for one in seen]
        if settle:
            await self.forget(key)
        return tuple(found)

    async def forget(self, key: Key) -> None:
        """Remove revisions that nothing is wanted of and nothing is left of, and then what they belong to."""
        for each in self._revisions(key):
            if not each.wanted and not each.pods:
                await self._forget(each)
        if not self._view.of(DEPLOYMENT, key) and not self._view.of(POD, key):
            await self._forget_all(key)

    def running(self, key: Key) -> Iterator[tuple[Wish, Manifest]]:
        """Every replica that has a pod with a server in it, without asking anybody."""
        for each in self._revisions(key):
            for replica, pod in _pairs(each):
                if pod is not None and "deletionTimestamp" not in pod["metadata"] and started_at(pod):
                    yield _wish(each, replica), pod

    def pod(self, key: Key, replica: str) -> Manifest | None:
        """The pod that is a replica; None while there is none."""
        return self._find(key, replica)[1]

    async def drain(self, key: Key, replica: str) -> None:
        """Mark a replica's pod as one that goes. Nothing for one that has no pod, or drains already.

        It stays in its Service until it stops: a gateway of the cluster's may still lead there.
        """
        _, pod = self._find(key, replica)
        if pod is None or names.DRAINING_SINCE in pod["metadata"].get("annotations", {}):
            return
        patch = {"metadata": {"annotations": {names.DRAINING_SINCE: repr(self._clock())}}}
        await self._patch_pod(pod, patch)

    async def stop(self, key: Key, replica: str, *, grace_seconds: int | None = None) -> None:
        """Take it out of its Service, want one less and have its pod deleted, as the one that costs least."""
        each, pod = self._find(key, replica)
        if pod is not None and "deletionTimestamp" not in pod["metadata"]:
            cost = {names.DELETION_COST: _FIRST_TO_GO, names.REPLICA: replica}
            out = {names.TAKES_REQUESTS: "false"}
            await self._patch_pod(pod, {"metadata": {"labels": out, "annotations": cost}})
        if each is not None and pod is not None and _others_start(each, pod):
            # A ReplicaSet takes those first that are not ready, whatever they cost: this one is to go before
            # it is told of one less. If it makes another meanwhile, that is the first to go again.
            steps = (self._delete_pod(pod, grace_seconds), self._unwant(each, replica))
            for failed in filter(None, await asyncio.gather(*steps, return_exceptions=True)):
                raise failed
            return
        if each is not None:
            await self._unwant(each, replica)
        if pod is not None:
            await self._delete_pod(pod, grace_seconds)

    async def _unwant(self, each: _Revision, replica: str) -> None:
        """One less, where it is wanted at all."""
        if replica in each.wanted:
            await self._want(
                each.deployment, lambda wanted: {n: w for n, w in wanted.items() if n != replica}
            )

    def _find(self, key: Key, replica: str) -> tuple[_Revision | None, Manifest | None]:
        """The revision that wants or has a replica, and its pod."""
        for each in self._revisions(key):
            pod = each.assignment.by_name.get(replica)
            gone = next((p for p, name in each.assignment.leaving.items() if name == replica), None)
            if pod or gone or replica in each.wanted:
                return each, each.pods.get(pod or gone or "")
        return None, None

    def _revisions(self, key: Key) -> list[_Revision]:
        deployments = [d for d in self._view.of(DEPLOYMENT, key) if "deletionTimestamp" not in d["metadata"]]
        pods = self._view.of(POD, key)
        found = []
        for deployment in deployments:
            number = names.revision_of(deployment["metadata"]["labels"])
            own = {
                pod["metadata"]["name"]: pod
                for pod in pods
                if names.revision_of(pod["metadata"].get("labels") or {}) == number
            }
            listed = _wanted(deployment)
            wanted = _told(own.values()) if listed is None else listed
            made = assign(tuple(wanted), (_held(pod) for pod in own.values()))
            found.append(_Revision(deployment, wanted, own, made))
        return found

    @property
    def capabilities(self) -> Capabilities:
        """What the cluster can do, with the GPUs that its nodes have now."""
        return with_devices(with_nodes(self._capabilities, self._view.nodes()), self._view.slices())

    def learn(self, capabilities: Capabilities) -> None:
        """What the cluster can do from now on."""
        self._capabilities = capabilities

    async def _applied(self, desired: Desired) -> Manifest:
        """The revision's Deployment, made or brought up to date with all that belongs to it."""
        namespace, key = desired.namespace, desired.launch.key
        anchored = self._view.get(CONFIG_MAP, namespace, names.anchor_name(key))
        is_doubted = namespace in self._doubted
        if anchored is None or is_doubted or "deletionTimestamp" in anchored["metadata"]:
            await projects.prepare(self._cluster, self._settings, key.project)
            anchored = await self._cluster.apply(anchor(desired))
            self._view.wrote(CONFIG_MAP, anchored)
            self._doubted.discard(namespace)
        await projects.lend_credentials(self._cluster, self._settings, key.project)
        await projects.share_cache(self._cluster, self._settings, key.project)
        await mountable.require(self._cluster, desired)
        uid = anchored["metadata"]["uid"]
        objects = remembered(revision(desired, self.capabilities, anchor_uid=uid))
        known = self._view.get(DEPLOYMENT, namespace, desired.name)
        is_whole = known is not None and not self._upkeep.is_broken(known)
        if known is not None and is_whole and _digest(known) == _digest(objects[-1]):
            return known
        for each in objects[:-1]:
            answer = await self._cluster.apply(each)
            self._upkeep.wrote(answer)
            if each["kind"] == SERVICE.name:
                self._view.wrote(SERVICE, answer)
        applied = await self._cluster.apply(objects[-1])
        self._upkeep.wrote(applied)
        self._upkeep.mended(applied)
        self._view.wrote(DEPLOYMENT, applied)
        return applied

    async def _want(self, deployment: Manifest, change: Callable[[_Wanted], _Wanted]) -> None:
        """Change the list of wanted replicas and their number in one step; again if somebody was quicker."""
        namespace, name = deployment["metadata"]["namespace"], deployment["metadata"]["name"]
        for _ in range(_TRIES):
            before = _wanted(deployment) or {}
            wanted = change(before)
            right = _right_number(deployment, len(wanted))
            if wanted.keys() == before.keys() and deployment["spec"].get("replicas") == right:
                return
            patch = {
                "metadata": {"annotations": {names.REPLICAS: json.dumps(wanted, sort_keys=True)}},
                "spec": {"replicas": right},
            }
            try:
                written = await self._cluster.patch(
                    DEPLOYMENT,
                    name,
                    patch,
                    namespace=namespace,
                    resource_version=deployment["metadata"]["resourceVersion"],
                    manager=names.SCALE_MANAGER,
                )
            except Conflict:
                deployment = await self._cluster.get(DEPLOYMENT, name, namespace=namespace)
                continue
            except NotFound:
                return
            self._upkeep.wrote(written)
            self._view.wrote(DEPLOYMENT, written)
            return
        raise BackendError(f"{namespace}/{name} is changed again and again by somebody else", retryable=True)

    async def _settle(self, key: Key, each: _Revision) -> None:
        """Put back what others changed, tell new pods who they are, delete those that nobody wants."""
        if each.wanted:
            await self._upkeep.check(key, each.deployment)
        right = _right_number(each.deployment, len(each.wanted))
        if each.deployment["spec"].get("replicas") != right or _wanted(each.deployment) is None:
            await self._want(each.deployment, lambda listed: listed or each.wanted)
        for pod, replica in each.assignment.named.items():
            await self._patch_pod(each.pods[pod], {"metadata": {"annotations": {names.REPLICA: replica}}})
        for pod in each.assignment.unwanted:
            await self._delete_pod(each.pods[pod], None)

    async def _seen(self, each: _Revision, replica: str, pod: Manifest | None) -> Seen:
        wish = _wish(each, replica)
        if pod is not None and not pod["spec"].get("nodeName") and (gave_way := _gave_way(each, replica)):
            # As long as the pod before is still going, that is what there is to say of the replica.
            return Seen(wish=wish, pod=None, refused=gave_way)
        state: Mapping[str, Any] = {}
        here = address(pod, wish) if pod is not None else ""
        if pod is not None and here and wish.own and "deletionTimestamp" not in pod["metadata"]:
            state = await self._fronts.state(pod["metadata"]["uid"], here)
        unwanted = pod is not None and pod["metadata"]["name"] in each.assignment.unwanted
        refused = None
        if pod is None:
            refused = _gave_way(each, replica) or reasons.of_deployment(each.deployment)
        complaint = await self._complaints.of(pod, kept=wish.kept) if pod is not None else None
        return Seen(wish=wish, pod=pod, refused=refused, state=state, unwanted=unwanted, complaint=complaint)

    def _tell_preempted(self, key: Key, each: _Revision) -> None:
        """Record once which replicas lost their places to more important pods."""
        for pod, replica in each.assignment.leaving.items():
            why = reasons.of_preemption(each.pods[pod])
            if replica and why is not None:
                self._upkeep.tell(key, each.pods[pod], why.reason, f"{replica}: {why.message}")

    async def _patch_pod(self, pod: Manifest, patch: Mapping[str, Any]) -> None:
        metadata = pod["metadata"]
        try:
            written = await self._cluster.patch(
                POD, metadata["name"], patch, namespace=metadata["namespace"], manager=names.SCALE_MANAGER
            )
        except NotFound:
            return
        self._view.wrote(POD, written)

    async def _delete_pod(self, pod: Manifest, grace_seconds: int | None) -> None:
        metadata = pod["metadata"]
        if "deletionTimestamp" in metadata and grace_seconds is None:
            return
        try:
            await self._cluster.delete(
                POD,
                metadata["name"],
                namespace=metadata["namespace"],
                uid=metadata["uid"],
                grace_seconds=grace_seconds,
            )
        except Conflict:  # another pod has that name now
            return
        if grace_seconds == 0:
            self._view.removed(POD, pod)

    async def _forget(self, each: _Revision) -> None:
        """Remove everything of a revision; its pods are gone."""
        metadata = each.deployment["metadata"]
        found = metadata["labels"]
        mine = {n: found[n] for n in (names.PROJECT, names.SERVICE, names.STAGE, names.REVISION)}
        selector = names.selector({names.MANAGED_BY: names.MANAGER, **mine})
        if scaled_by(each.deployment) == SCALED_OBJECT.name:
            await self._cluster.delete(SCALED_OBJECT, metadata["name"], namespace=metadata["namespace"])
        await self._cluster.delete(
            DEPLOYMENT, metadata["name"], namespace=metadata["namespace"], uid=metadata["uid"]
        )
        self._view.removed(DEPLOYMENT, each.deployment)
        served = (RESOURCE_CLAIM_TEMPLATE,) if self._capabilities.has_dra else ()
        kinds = (HORIZONTAL_POD_AUTOSCALER, CONFIG_MAP, SECRET, SERVICE, POD_DISRUPTION_BUDGET, *served)
        for kind in kinds:
            await self._cluster.delete_all(kind, namespace=metadata["namespace"], labels=selector)

    async def _forget_all(self, key: Key) -> None:
        """Remove the anchor, and with it whatever a control plane that died may have left."""
        for each in self._view.of(CONFIG_MAP, key):
            metadata = each["metadata"]
            if "deletionTimestamp" not in metadata:
                await self._cluster.delete(
                    CONFIG_MAP, metadata["name"], namespace=metadata["namespace"], uid=metadata["uid"]
                )
                self._view.removed(CONFIG_MAP, each)


def _wanted(deployment: Manifest) -> _Wanted | None:
    """The wanted replicas by name; None where the list is not there, or somebody spoilt it."""
    text = (deployment["metadata"].get("annotations") or {}).get(names.REPLICAS, "")
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) and all(isinstance(v, dict) for v in found.values()) else None


def _others_start(each: _Revision, pod: Manifest) -> bool:
    """Whether the revision has other pods that are wanted and not ready yet."""
    others = [found for name, found in each.pods.items() if name != pod["metadata"]["name"]]
    return any("deletionTimestamp" not in other["metadata"] and not is_ready(other) for other in others)


def _right_number(deployment: Manifest, wanted: int) -> int:
    """How many pods there should be: as many as an autoscaler of the cluster says, where there is one."""
    if wanted and scaled_by(deployment):
        return int(deployment["spec"].get("replicas") or wanted)
    return wanted


def _told(pods: Iterable[Manifest]) -> _Wanted:
    """The wanted replicas as far as pods were told that they are one: what is left of a list that is lost."""
    held = (_held(pod) for pod in pods)
    return {each.replica: {} for each in held if each.replica and not each.leaving}


def _held(pod: Manifest) -> Held:
    metadata = pod["metadata"]
    return Held(
        pod=metadata["name"],
        replica=(metadata.get("annotations") or {}).get(names.REPLICA, ""),
        leaving="deletionTimestamp" in metadata,
        created=str(metadata.get("creationTimestamp") or ""),
    )


def _pairs(each: _Revision) -> Iterable[tuple[str, Manifest | None]]:
    """Every replica with its pod: wanted ones, those that nobody wants any more, and those that go."""
    made = each.assignment
    for replica in each.wanted:
        pod = made.by_name.get(replica)
        yield replica, each.pods[pod] if pod else None
    for pod in made.unwanted:
        yield _held(each.pods[pod]).replica, each.pods[pod]
    for pod, replica in made.leaving.items():
        if replica and replica not in each.wanted:
            yield replica, each.pods[pod]


def _gave_way(each: _Revision, replica: str) -> Failure | None:
    """That the pod which a replica had gives its place to a more important one; None when it does not."""
    going = (each.pods[pod] for pod, name in each.assignment.leaving.items() if name == replica)
    return next(filter(None, map(reasons.of_preemption, going)), None)


def _wish(each: _Revision, replica: str) -> Wish:
    metadata = each.deployment["metadata"]
    try:
        launch = json.loads((metadata.get("annotations") or {}).get(names.LAUNCH, "{}"))
    except ValueError:
        launch = {}
    mine = each.wanted.get(replica, {})
    return Wish(
        name=replica,
        revision=each.number,
        gpus=tuple(mine.get("gpus", ())),
        cpu_millis=int(launch.get("cpu_millis", 0)),
        memory_bytes=int(launch.get("memory_bytes", 0)),
        ports=tuple(launch.get("ports", ())),
        metrics=str(launch.get("metrics", "")),
        own=bool(launch.get("own", True)),
        kept=bool(launch.get("kept", not launch.get("own", True))),
    )


def _digest(deployment: Manifest) -> str:
    return str((deployment["metadata"].get("annotations") or {}).get(names.SPEC_HASH, ""))
