"""Every way in which serving a model can fail: what it is called, why it happens, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """The steps from a model to an answer, in order."""

    MODEL = "model"
    RUNTIME = "runtime"
    SCHEDULE = "schedule"
    START = "start"
    LOAD = "load"
    READY = "ready"
    ROUTE = "route"
    ANSWER = "answer"


@dataclass(frozen=True, slots=True)
class Entry:
    """One failure reason for people."""

    stage: Stage
    title: str
    cause: str
    remedy: str
    """May hold `{service}`, `{project}`, `{model}`, `{runtime}` and `{memory}`."""


CATALOGUE: dict[str, Entry] = {
    "ModelMissing": Entry(
        Stage.MODEL,
        "The model version is gone",
        "The version that the deployment serves does not exist.",
        "See what there is with `modelyard model show`, then deploy a version that exists.",
    ),
    "ArtifactCorrupt": Entry(
        Stage.MODEL,
        "A model file was changed",
        "A stored file does not have the checksum that it was published with.",
        "Check the disk, publish the model again and deploy the new version; do not trust the old file.",
    ),
    "UnsafeContent": Entry(
        Stage.MODEL,
        "The model file could run code",
        "The file refers to code that is not on the allow-list.",
        "Save the model as ONNX or skops, or have the trust of project {project} set to `full`.",
    ),
    "RuntimeMissing": Entry(
        Stage.RUNTIME,
        "The runtime does not exist",
        "The deployment names a runtime that the project does not have.",
        "Create it with `modelyard runtime create {runtime}`, or deploy with `--runtime auto`.",
    ),
    "RuntimeBuildFailed": Entry(
        Stage.RUNTIME,
        "The runtime could not be built",
        "Its packages could not be resolved or installed.",
        "Mend the packages of runtime {runtime} as the message says, or deploy with another `--runtime`.",
    ),
    "IndexUnreachable": Entry(
        Stage.RUNTIME,
        "The package index cannot be reached",
        "The machine is offline, or the index is away.",
        "Connect the machine or set `runtimes.index_url` to a mirror, then build again with "
        "`modelyard runtime build {runtime}`; or deploy with a `--runtime` that is built already.",
    ),
    "InterpreterMissing": Entry(
        Stage.RUNTIME,
        "There is no such Python",
        "The runtime asks for a Python version that is not installed and cannot be fetched.",
        "Install that Python, or leave `python` of runtime {runtime} empty to use Modelyard's own.",
    ),
    "InsufficientResources": Entry(
        Stage.SCHEDULE,
        "Nothing has room for it",
        "No node has as much free CPU, memory or GPUs as a replica asks for.",
        "Ask for less (`--cpu`, `--memory`, `--gpu`), or scale down or undeploy another service; "
        "`modelyard node list` shows what is free.",
    ),
    "CapacityShort": Entry(
        Stage.SCHEDULE,
        "Others go before",
        "Load asks for more replicas than there is room for, and services of higher priority need it.",
        "Raise `--priority` or `--guaranteed` of {service}, ask for less (`--cpu`, `--memory`, `--gpu`), or "
        "scale down another service; `modelyard node list` shows what is free.",
    ),
    "NoSuitableNode": Entry(
        Stage.SCHEDULE,
        "No node may take it",
        "There are nodes, but their labels, taints or state keep the replica away from all of them.",
        "Compare what the message names with `modelyard node list`: label a node for it, lift the taint, or "
        "ask for another GPU.",
    ),
    "Queued": Entry(
        Stage.SCHEDULE,
        "The cluster's queue holds it back",
        "A queue of the cluster has not admitted the replica yet.",
        "It starts by itself when its turn comes; ask for less (`--cpu`, `--memory`, `--gpu`), or have the "
        "queue's quota raised.",
    ),
    "QuotaExceeded": Entry(
        Stage.SCHEDULE,
        "The project's quota is used up",
        "The namespace of project {project} may not have as much as one more replica asks for.",
        "Ask for less (`--cpu`, `--memory`, `--gpu`), scale down another service of project {project}, or "
        "have its quota raised.",
    ),
    "PodSecurity": Entry(
        Stage.SCHEDULE,
        "The cluster forbids pods like this",
        "The namespace of project {project} enforces a Pod Security level that the replica does not keep.",
        "Change what the message names in the server's settings, or have an administrator allow the level.",
    ),
    "PolicyRefused": Entry(
        Stage.SCHEDULE,
        "A policy of the cluster refuses it",
        "An admission webhook or policy of the cluster does not let the replica in.",
        "Do what the message says, or ask the cluster's administrator for an exception.",
    ),
    "GpuAdmission": Entry(
        Stage.SCHEDULE,
        "The node could not give it its GPU",
        "The device plugin of the node refused when the replica came.",
        "Another replica takes its place by itself; if it goes on, look at the node with "
        "`modelyard doctor gpu`.",
    ),
    "StartFailed": Entry(
        Stage.START,
        "The replica could not be started",
        "Its process ended before it could say anything.",
        "Read `modelyard logs {service}`; then `modelyard restart {service}`.",
    ),
    "ProgramNotFound": Entry(
        Stage.START,
        "The server's program is not installed",
        "The command names a program that this machine does not have.",
        "Install it, or name its place in the setting that the message gives or in `server.command`; "
        "then `modelyard restart {service}`.",
    ),
    "ImageNotRunnable": Entry(
        Stage.START,
        "Images are not run here",
        "The server is given as an image, and replicas of this installation are processes.",
        "Give `server.command` with a program of this machine, or deploy to Kubernetes.",
    ),
    "ImageError": Entry(
        Stage.START,
        "The image cannot be had",
        "The node could not fetch the container's image.",
        "Check the image's name and tag and the registry's credentials; the message says what the registry "
        "answered.",
    ),
    "ConfigError": Entry(
        Stage.START,
        "Something that the container needs is not there",
        "A ConfigMap or a Secret that the replica refers to does not exist or lacks a key.",
        "Make what the message names, or `modelyard restart {service}`, which makes the platform's own anew.",
    ),
    "ModelFetchFailed": Entry(
        Stage.START,
        "The model's files did not arrive",
        "The replica could not fetch the model from where it is stored.",
        "See in `modelyard logs {service}` what did not answer: the artifact address must be reachable from "
        "the cluster's pods. It is tried again by itself.",
    ),
    "ServerExited": Entry(
        Stage.START,
        "The server ended",
        "The program that should serve ended by itself.",
        "Read `modelyard logs {service}`; try the command in `modelyard exec` of the stage `debug`.",
    ),
    "MountFailed": Entry(
        Stage.START,
        "A mount is not there",
        "What should be laid into the replica does not exist or may not be read.",
        "Make what the message names, or change `mounts` or `model_files`.",
    ),
    "SecretUnavailable": Entry(
        Stage.START,
        "A secret cannot be had",
        "A value of a secret that the deployment names is not there, or cannot be read.",
        "Set it with `modelyard secret set`, or change what `env` names.",
    ),
    "PortInUse": Entry(
        Stage.START,
        "The replica's address is taken",
        "Another program listens where the replica should.",
        "End the other program; the replica is started again by itself.",
    ),
    "DiskFull": Entry(
        Stage.START,
        "The disk is full",
        "Nothing more can be written to the data directory.",
        "Free space on the disk of the data directory; the replica is started again by itself.",
    ),
    "PermissionDenied": Entry(
        Stage.START,
        "A file may not be used",
        "The platform's user may not read or write something that the replica needs.",
        "Give the user that runs Modelyard the rights to the file that the message names.",
    ),
    "ModelLoadFailed": Entry(
        Stage.LOAD,
        "The model does not load",
        "The library that should read the model raised an error.",
        "Try it with `modelyard test {model}` and read the error; publish a mended version and deploy that.",
    ),
    "MissingPackage": Entry(
        Stage.LOAD,
        "A package is missing",
        "The model imports a package that its runtime does not have.",
        "Publish the model with the package in its requirements, or deploy with a `--runtime` that has it.",
    ),
    "VersionMismatch": Entry(
        Stage.LOAD,
        "The library has another version",
        "The model was made with another version of its library than the runtime has.",
        "Deploy with `--runtime auto` or with a runtime that has the version the model was made with.",
    ),
    "LoadTimeout": Entry(
        Stage.LOAD,
        "Loading takes too long",
        "The model was not ready within its start timeout.",
        "See in `modelyard logs {service}` what it waits for; if it is slow, raise `start_timeout_seconds`.",
    ),
    "SignatureMismatch": Entry(
        Stage.LOAD,
        "The model is not what it was said to be",
        "The loaded model takes or gives something else than the version's signature says.",
        "Publish the model again with its true signature, or without one, and deploy the new version.",
    ),
    "UserCodeFailed": Entry(
        Stage.LOAD,
        "The model's own code failed",
        "The code that was published with the model raised an error.",
        "Mend the code where the message says, publish it again and deploy the new version.",
    ),
    "OutOfMemory": Entry(
        Stage.READY,
        "It needs more memory than it may have",
        "The replica was ended because it used more memory than its limit or than the machine has.",
        "Deploy with more `--memory` (now {memory}), or send smaller batches.",
    ),
    "WorkerCrashed": Entry(
        Stage.READY,
        "The model's process died",
        "The process that runs the model ended, for instance by a fault in a native library.",
        "It is started again by itself; if it goes on, read `modelyard logs {service}` and mend the model.",
    ),
    "WorkerHung": Entry(
        Stage.READY,
        "The model hangs",
        "The model's process did not answer in time and was replaced.",
        "Send smaller requests or raise `request_timeout_seconds`; look for endless loops in its code.",
    ),
    "PredictionFailed": Entry(
        Stage.READY,
        "A prediction failed",
        "The model raised an error for a request.",
        "Compare the request with the model's signature: `modelyard model show {model}`.",
    ),
    "ReadinessFailed": Entry(
        Stage.READY,
        "It says that it is not ready",
        "The readiness probe fails, so that the replica gets no requests.",
        "It gets requests again when the probe is well; see in `modelyard logs {service}` what it lacks.",
    ),
    "LivenessFailed": Entry(
        Stage.READY,
        "It does not live",
        "The liveness probe failed, so that the process was started again.",
        "If it goes on, read `modelyard logs {service}`, or give `health.liveness` more time.",
    ),
    "FrontCrashed": Entry(
        Stage.READY,
        "The serving process died",
        "The process that answers for the replica ended unexpectedly.",
        "It is replaced by itself; if it goes on, read `modelyard logs {service}`.",
    ),
    "FrontUnresponsive": Entry(
        Stage.READY,
        "The serving process is silent",
        "The process that answers for the replica gives no sign of life.",
        "It is replaced by itself; if it goes on, look whether the machine is overloaded.",
    ),
    "Disrupted": Entry(
        Stage.READY,
        "The cluster took its place away",
        "Its node was drained, ran short, went away, or gave way to something more important.",
        "Another replica takes its place by itself; with two or more replicas nobody notices.",
    ),
    "Preempted": Entry(
        Stage.READY,
        "It gave way to something more important",
        "There is not room for all, and the cluster gave its place to a pod of a higher priority.",
        "It starts again by itself where and when there is room; raise `--priority` of {service} with "
        "`modelyard scale`, ask for less (`--cpu`, `--memory`, `--gpu`), or add nodes.",
    ),
    "RolloutStalled": Entry(
        Stage.READY,
        "The cluster gets no further with it",
        "The Deployment of the revision came no nearer to its number of replicas in time.",
        "See in `modelyard status {service}` what its replicas wait for, and in `modelyard logs {service}`.",
    ),
    "BackendUnreachable": Entry(
        Stage.READY,
        "Nobody can tell how it is",
        "What runs the replicas does not answer; what is shown is what was seen last, and requests go on.",
        "Nothing needs to be done for the service; see that the cluster's API server answers again, with "
        "`modelyard doctor kubernetes`.",
    ),
    "GateFailed": Entry(
        Stage.READY,
        "The new revision did not pass a gate",
        "While it was rolled out it did worse than the deployment's strategy allows, and was taken back.",
        "See the numbers with `modelyard rollout status {service}`; mend the model and deploy again, or try "
        "once more with `modelyard restart {service}`.",
    ),
    "RolloutAborted": Entry(
        Stage.READY,
        "The rollout was aborted",
        "Somebody took the new revision back; the one before it serves.",
        "Deploy another version, or try again with `modelyard restart {service}`.",
    ),
    "GatewayUnavailable": Entry(
        Stage.ROUTE,
        "The gateway is away",
        "The proxy at the front door does not run or does not answer.",
        "It is started again by itself; if it goes on, read its log in the data directory.",
    ),
    "RouteRefused": Entry(
        Stage.ROUTE,
        "The cluster's gateway does not take the route up",
        "The controller of the GatewayClass refuses the service's HTTPRoute, or says nothing of it. The "
        "replicas of the route before stay.",
        "See its status with `kubectl get httproute -n modelyard-system -o yaml` and the controller's log; "
        "it is taken up by itself once the controller agrees. `kubernetes.routing=builtin` does without.",
    ),
    "GatewayPortInUse": Entry(
        Stage.ROUTE,
        "The front door's port is taken",
        "Another program listens on the port of the front door.",
        "End the other program, or start Modelyard with another `--port`.",
    ),
    "OwnPortInUse": Entry(
        Stage.ROUTE,
        "A port of the service's own is taken",
        "Another program listens on the port that the service was given.",
        "End the other program, and the port opens by itself; or `modelyard undeploy {service}` and deploy "
        "it anew, which gives it another port.",
    ),
    "HostKept": Entry(
        Stage.ROUTE,
        "The service did not get its host",
        "It failed before it was ready, so that the service that has the host keeps it.",
        "Mend the service and deploy it again: it takes the host over as soon as it is wholly ready.",
    ),
    "NoReplicaReached": Entry(
        Stage.ANSWER,
        "Requests find no replica",
        "The gateway had nobody ready to give them to.",
        "`modelyard status {service}` says why, `modelyard metrics {service} --step 1m` since when.",
    ),
    "RequestsTurnedAway": Entry(
        Stage.ANSWER,
        "Replicas turn requests away",
        "More requests came than the replicas can queue, or they are starting again.",
        "Give it more replicas with `modelyard scale {service}`, or a longer `queue_size`.",
    ),
    "RequestsTimedOut": Entry(
        Stage.ANSWER,
        "Requests take too long",
        "They were not answered within `request_timeout_seconds`.",
        "Look at the queue in `modelyard metrics {service} --replicas`; add replicas, or allow more time.",
    ),
    "RequestsFailed": Entry(
        Stage.ANSWER,
        "The service fails requests",
        "The model or its server answered with an error of its own.",
        "Read what it says with `modelyard logs {service}`; `modelyard rollback {service}` takes it back.",
    ),
    "RequestsAbandoned": Entry(
        Stage.ANSWER,
        "Requests end without an answer",
        "Callers went away before they were answered, or their connections broke.",
        "Compare the callers' time-outs with the times in `modelyard metrics {service}`.",
    ),
    "RequestsUnauthorised": Entry(
        Stage.ANSWER,
        "Callers have no valid token",
        "They sent none, or one that does not open this service.",
        "Show the token with `modelyard deployment token {service}`; send it as `Authorization: Bearer`.",
    ),
    "RequestsLimited": Entry(
        Stage.ANSWER,
        "A limit holds requests back",
        "A rate limit of the service or of a caller was reached.",
        "Raise the limit, or have callers send less.",
    ),
}
"""By reason; the reasons are stable and part of the API."""

WAITING = frozenset({"InsufficientResources", "NoSuitableNode", "Queued", "QuotaExceeded", "Preempted"})
"""Reasons of a replica that waits for a place: it is nobody's fault, and no other replica would do better."""


def is_before_loading(reason: str) -> bool:
    """Whether it is a reason why a replica did not even come to load its model."""
    entry = CATALOGUE.get(reason)
    return entry is not None and entry.stage in (Stage.RUNTIME, Stage.SCHEDULE, Stage.START)
