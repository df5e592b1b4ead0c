"""The options of `deploy` and `plan` that become fields of the spec, in groups.

A group is a function whose parameters are options and which gives the fields they mean; None is not said.
`accepting` gives a command the options of all groups, and `fields` reads them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from modelyard.cli import files, server_options
from modelyard.cli.rollout_options import rollout
from modelyard.domain import texts

Fields = dict[str, Any]
Group = Callable[..., Fields]


def size(
    replicas: Annotated[int | None, typer.Option(help="How many; 0 is offline")] = None,
    cpu: Annotated[str | None, typer.Option(help="Cores per replica, such as 0.5")] = None,
    memory: Annotated[str | None, typer.Option(help="Memory per replica, such as 512Mi")] = None,
    gpu: Annotated[
        str | None, typer.Option(help="GPUs per replica: 1, 1(T4), 0.2(T4), mem=4Gi, mig=1g.10gb")
    ] = None,
) -> Fields:
    """How many, and how much each may use."""
    return {"replicas": replicas, "cpu": cpu, "memory": memory, "gpu": gpu}


def runs(
    runtime: Annotated[str | None, typer.Option(help="Runtime, host, or auto")] = None,
    artifact: Annotated[str | None, typer.Option(help="Which of several models")] = None,
    model_files: Annotated[
        str | None, typer.Option(help="Where pods find the files: pvc://CLAIM/FOLDER, oci://IMAGE@sha256:…")
    ] = None,
    variant: Annotated[str | None, typer.Option(help="auto, or original: never the compiled variant")] = None,
    env: Annotated[list[str] | None, typer.Option(help="KEY=VALUE; repeat")] = None,
    env_file: Annotated[Path | None, typer.Option(help="File of lines KEY=VALUE")] = None,
    config_file: Annotated[
        list[str] | None, typer.Option(help="NAME=PATH of a file to offer; repeat")
    ] = None,
) -> Fields:
    """What runs, and with what around it."""
    lines = texts.split_variables(files.read(env_file), "--env-file") if env_file else {}
    variables = {**lines, **files.pairs(env or [], "--env")}
    named = files.pairs(config_file or [], "--config-file")
    return {
        "runtime": runtime,
        "artifact": artifact,
        "model_files": model_files,
        "variant": variant,
        "env": variables or None,
        "config_files": {key: files.read(Path(path)) for key, path in named.items()} or None,
    }


def answers(
    public: Annotated[bool | None, typer.Option(help="Answer without a token")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes of the model per replica")] = None,
    batch: Annotated[str | None, typer.Option(help="Share calls to the model: auto, on or off")] = None,
    latency_slo_ms: Annotated[float | None, typer.Option(help="Time a request may take, in ms")] = None,
    cache: Annotated[str | None, typer.Option(help="Keep answers for equal requests, such as 64Mi")] = None,
    warmup: Annotated[str | None, typer.Option(help="sample, zero, random or none")] = None,
    start_timeout: Annotated[str | None, typer.Option(help="How long it may load, such as 120s")] = None,
) -> Fields:
    """How requests are answered."""
    loading = None if start_timeout is None else files.seconds(start_timeout, "--start-timeout")
    return {
        "public": public,
        "workers": workers,
        "batch": batch,
        "latency_slo_ms": latency_slo_ms,
        "cache": cache,
        "warmup": warmup,
        "start_timeout_seconds": loading,
    }


def reached(
    host: Annotated[str | None, typer.Option(help="Domain, URL or path; stages stand in front")] = None,
    own_port: Annotated[bool | None, typer.Option(help="Listen on a port for this service alone")] = None,
    second_port: Annotated[bool | None, typer.Option(help="And on one for its second port")] = None,
) -> Fields:
    """Where it answers beside its path."""
    return {"host": host, "own_port": own_port, "second_port": second_port}


def scales(
    autoscale: Annotated[
        str | None, typer.Option(help="What replicas follow: cpu:50%,mem:50%,gpu:50%,concurrency:8,qps:100")
    ] = None,
    minimum: Annotated[
        int | None, typer.Option("--min", help="Fewest replicas; 0 sleeps while nobody asks")
    ] = None,
    maximum: Annotated[int | None, typer.Option("--max", help="Most replicas")] = None,
    cron: Annotated[str | None, typer.Option(help="Hours and replicas, as 9~21:3,21~9:0")] = None,
    time_zone: Annotated[str | None, typer.Option(help="Of the hours, such as Europe/Berlin")] = None,
    idle: Annotated[str | None, typer.Option(help="Sleep after so long without a request, as 5m")] = None,
    priority: Annotated[
        str | None, typer.Option(help="Who gets scarce capacity: low, normal, high, critical")
    ] = None,
    guaranteed: Annotated[int | None, typer.Option(help="Replicas that are never taken away")] = None,
    by: Annotated[
        str | None, typer.Option("--scaled-by", help="Who follows it: auto, platform, cluster")
    ] = None,
) -> Fields:
    """How many by load and clock, and who goes before when capacity is short."""
    autoscaling = {
        "on": autoscale,
        "by": by,
        "min": minimum,
        "max": maximum,
        "cron": cron,
        "time_zone": time_zone,
        "idle_seconds": None if idle is None else files.seconds(idle, "--idle"),
    }
    level = {"level": priority, "guaranteed": guaranteed}
    return {"autoscaling": _said(autoscaling), "priority": _said(level)}


def _said(values: Fields) -> Fields | None:
    """Those that were said; None when none was."""
    return {name: value for name, value in values.items() if value is not None} or None


def limited(
    limit: Annotated[
        list[str] | None, typer.Option(help="requests_per_second=100, concurrency=8, failures=5; repeat")
    ] = None,
) -> Fields:
    """What the gateway enforces."""
    return {"limits": files.pairs(limit or [], "--limit") or None}


GROUPS: tuple[Group, ...] = (size, runs, answers, reached, scales, rollout, server_options.serves, limited)


def fields(given: Fields) -> Fields:
    """The fields of the spec that these options mean, None for what was not said. Raises Invalid."""
    found: Fields = {}
    for group in GROUPS:
        found |= group(**{name: given[name] for name in _options(group) if name in given})
    return found


def accepting(command: Callable[..., None]) -> Callable[..., None]:
    """The command, known to Typer with the options of all groups in place of its `**options`."""
    own = [p for p in _options(command).values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    before, after = own[:3], own[3:]
    chosen = [*before, *_all_groups(), *after]
    command.__signature__ = inspect.Signature(chosen)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in chosen}
    return command


def _all_groups() -> Iterator[inspect.Parameter]:
    for group in GROUPS:
        yield from _options(group).values()


def _options(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    found = inspect.signature(function, eval_str=True).parameters
    return {
        name: p if p.kind is inspect.Parameter.VAR_KEYWORD else p.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, p in found.items()
    }
