"""publish, validate, test, and `model …`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from modelyard.cli import context, files, output
from modelyard.client import options, payload
from modelyard.domain import model_files, quantity, variant
from modelyard.domain.footprint import Footprint
from modelyard.domain.model import Format, Requirements, Signature

_FORMATS = ", ".join(Format)
Ref = Annotated[str, typer.Argument(help="NAME, NAME@3, NAME@latest, NAME@ALIAS")]
_VERSION: list[output.Column] = [
    ("ref", lambda v: v.ref if v.version else "not published"),
    ("label", lambda v: v.label),
    ("format", lambda v: ", ".join(f"{a.format} ({a.serialization})" for a in v.artifacts)),
    ("algorithm", lambda v: ", ".join(a.algorithm for a in v.artifacts)),
    ("function", lambda v: ", ".join(a.function for a in v.artifacts)),
    ("task", lambda v: ", ".join(a.task for a in v.artifacts if a.task)),
    ("framework", lambda v: ", ".join(a.framework_version for a in v.artifacts)),
    ("metrics", lambda v: shown_metrics(v.metrics)),
    ("inputs", lambda v: "; ".join(_signature(a.signature) for a in v.artifacts)),
    ("python", lambda v: v.requirements.python),
    ("size", lambda v: f"{v.size:,} bytes"),
    ("memory", lambda v: _memory(v.memory)),
    ("variant", lambda v: "; ".join(variant.described(a.optimization) for a in v.artifacts)),
    ("validation", lambda v: v.validation),
    ("run", lambda v: v.source_run),
    ("description", lambda v: v.description),
    ("created", lambda v: f"{v.created_at:%Y-%m-%d %H:%M} by {v.created_by}"),
    ("warnings", lambda v: "; ".join(v.warnings)),
]
_ROW: list[output.Column] = [
    ("version", lambda v: v.version),
    ("label", lambda v: v.label),
    ("format", lambda v: ", ".join(a.format for a in v.artifacts)),
    ("algorithm", lambda v: ", ".join(a.algorithm for a in v.artifacts)),
    ("metrics", lambda v: shown_metrics(v.metrics)),
    ("variant", lambda v: ", ".join(a.optimization.chosen for a in v.artifacts)),
    ("created", lambda v: f"{v.created_at:%Y-%m-%d %H:%M}"),
]
_MODEL: list[output.Column] = [
    ("name", lambda m: m.name),
    ("latest", lambda m: m.latest),
    ("aliases", lambda m: ", ".join(f"{k}={v}" for k, v in m.aliases.items())),
    ("description", lambda m: m.description),
]
group = typer.Typer(no_args_is_help=True, help="Models, their versions and aliases.")


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (publish, validate, test):
        app.command()(command)
    app.add_typer(group, name="model")


def _memory(seen: Footprint) -> str:
    """Memory as people read it: `212Mi loaded, 340Mi at most (original), measured`."""
    if not seen.loaded_bytes:
        return "not measured yet: a deployment shows it"
    loaded, peak = (quantity.format_memory(size) for size in (seen.loaded_bytes, seen.peak_bytes))
    return f"{loaded} loaded, {peak} at most, measured in a worker of the {seen.variant or 'original'}"


def shown_metrics(metrics: dict[str, Any] | str) -> str:
    """Metrics as people read them: `auc=0.9,f1=0.8`, or the text as given."""
    if isinstance(metrics, str):
        return metrics
    return ",".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in metrics.items())


def publish(
    path: Annotated[
        str, typer.Argument(help="Model file or directory, s3://…, pvc://CLAIM/FOLDER or oci://…")
    ],
    name: Annotated[str, typer.Option(help="Model to publish under")],
    format: Annotated[str | None, typer.Option(help=_FORMATS)] = None,
    version_label: Annotated[str, typer.Option(help="Second name, such as v2026.11.22.1")] = "",
    sample: Annotated[Path | None, typer.Option(help="JSON or CSV file with example rows")] = None,
    metrics: Annotated[str, typer.Option(help="JSON or text")] = "",
    requirements: Annotated[Path | None, typer.Option(help="Requirements file of its environment")] = None,
    python: Annotated[str, typer.Option(help="Python version of its environment, such as 3.11")] = "",
    signature: Annotated[Path | None, typer.Option(help="JSON file with inputs and outputs")] = None,
    function: Annotated[str | None, typer.Option(help="classification, regression or clustering")] = None,
    source_run: Annotated[str, typer.Option(help="Training run; the same run twice updates")] = "",
    artifact: Annotated[
        list[str] | None, typer.Option(help="NAME=FOLDER of one of several models in PATH; repeat")
    ] = None,
    description: Annotated[str, typer.Option(help="A sentence for people")] = "",
    optimize: Annotated[
        str, typer.Option(help="Compiled variant: auto, off, or onnx or treelite and nothing else")
    ] = "auto",
) -> None:
    """Upload a model as a new version, checked before it is accepted."""
    said: dict[str, Any] = {
        "format": format,
        "label": version_label,
        "metrics": _metrics(metrics),
        "sample": files.given(None, sample),
        "requirements": _requirements(requirements, python),
        "signature": _read_signature(signature),
        "function": function,
        "source_run": source_run,
        "artifacts": files.pairs(artifact or [], "--artifact"),
        "description": description,
        "optimize": optimize,
    }
    with context.client() as client, _bar() as bar:
        task = bar.add_task(f"publishing {name}", total=None)
        version = client.publish(
            path if model_files.is_address(path) else Path(path),
            name,
            on_progress=lambda sent, total: bar.update(task, completed=sent, total=total),
            **{key: value for key, value in said.items() if value is not None},
        )
    output.show(version, _VERSION)


def validate(
    ref: Annotated[str, typer.Argument(help="NAME@VERSION, or a model file or directory")],
    format: Annotated[str | None, typer.Option(help="Of a file: sklearn, xgboost, …")] = None,
) -> None:
    """Check a version again, or a file without publishing it: safety scan, and a load in its own process."""
    path = Path(ref)
    known = None if format is None else options.build_enum(Format, format, "--format")
    with context.client() as client:
        is_file = path.exists() and ("/" in ref or path.suffix or path.is_dir())
        version = client.models.check(path, format=known) if is_file else client.models.validate(ref)
    output.show(version, _VERSION)


def test(
    ref: Ref,
    data: Annotated[str | None, typer.Option("--data", "-d", help="Rows or inputs as JSON")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="JSON or CSV file; - is stdin")] = None,
    runtime: Annotated[str, typer.Option(help="Runtime to test in")] = "",
    artifact: Annotated[str, typer.Option(help="Which of several models")] = "",
    gpu: Annotated[str, typer.Option(help="GPUs to test on, such as 1 or 1(T4)")] = "0",
    timeout: Annotated[str, typer.Option(help="Such as 60s")] = "120s",
) -> None:
    """Answer one request (the recorded sample if none is given) in a process that is gone afterwards."""
    rows = files.given(data, file)
    seconds = files.seconds(timeout, "--timeout")
    with context.client() as client:
        body = payload.raw_test_request(rows)
        result = client.models.test(
            ref, body, runtime=runtime, artifact=artifact, gpu=gpu, timeout_seconds=seconds
        )
    notes = context.notes()
    for text in (result.stdout, result.stderr, *(f"warning: {each}" for each in result.warnings)):
        if text.strip():
            notes.print(text.rstrip(), markup=False)
    if context.current().output != "table":
        return output.show(result, [])
    notes.print(f"{result.device} · {result.runtime} · {result.duration_seconds:.2f} s")
    output.data(result.outputs)


@group.command("list")
def list_models() -> None:
    """All models of the project."""
    with context.client() as client:
        output.rows(client.models.list(), _MODEL)


@group.command()
def show(ref: Ref) -> None:
    """A model with its versions, or with `@` one version."""
    with context.client() as client:
        if "@" in ref or ":" in ref:
            return output.show(client.models.version(ref), _VERSION)
        if context.current().output == "table":
            output.show(client.models.get(ref), _MODEL)
        output.rows(client.models.versions(ref), _ROW)


@group.command()
def update(
    ref: Ref,
    description: Annotated[str | None, typer.Option(help="New description")] = None,
    version_label: Annotated[str | None, typer.Option(help="New label of a version")] = None,
    metrics: Annotated[str | None, typer.Option(help="New metrics of a version")] = None,
) -> None:
    """Change the words about a model, or with `@` about a version."""
    changes: dict[str, Any] = {
        "description": description,
        "label": version_label,
        "metrics": None if metrics is None else _metrics(metrics),
    }
    given = {key: value for key, value in changes.items() if value is not None}
    with context.client() as client:
        if "@" in ref or ":" in ref:
            return output.show(client.models.update_version(ref, **given), _VERSION)
        output.show(client.models.update(ref, description=description or ""), _MODEL)


@group.command()
def delete(ref: Ref) -> None:
    """Delete a model, or with `@` one version; refused while a deployment uses it."""
    with context.client() as client:
        client.models.delete(ref)
    context.notes().print(f"deleted {ref}")


@group.command()
def alias(
    name: Annotated[str, typer.Argument(help="Model")],
    alias: Annotated[str, typer.Argument(help="Such as champion")],
    version: Annotated[str, typer.Argument(help="Version number; empty removes the alias")] = "",
) -> None:
    """Point an alias at a version, or remove it."""
    with context.client() as client:
        if not version:
            client.models.delete_alias(name, alias)
            return context.notes().print(f"removed {name}@{alias}")
        output.show(client.models.set_alias(name, alias, version), _MODEL)


@group.command()
def download(
    ref: Ref,
    directory: Annotated[Path, typer.Argument(help="Where to write the files")] = Path("."),
    artifact: Annotated[str, typer.Option(help="Only this one of several models")] = "",
) -> None:
    """Write a version's files, checked against their checksums."""
    with context.client() as client:
        written = client.models.download(ref, directory, artifact=artifact)
    sys.stdout.write("".join(f"{path}\n" for path in written))


def _metrics(text: str) -> dict[str, Any] | str:
    if not text.lstrip().startswith("{"):
        return text
    metrics: dict[str, Any] = files.parse_json(text, "--metrics")
    return metrics


def _requirements(file: Path | None, python: str) -> Requirements | None:
    if file is None:
        return Requirements(python=python) if python else None
    lines = [line.split("#")[0].strip() for line in files.read(file).splitlines()]
    return Requirements(python=python, packages=tuple(line for line in lines if line and line[0] != "-"))


def _read_signature(file: Path | None) -> Signature | None:
    if file is None:
        return None
    return options.build(Signature, files.parse_json(files.read(file), str(file)))


def _signature(signature: Signature) -> str:
    return ", ".join(f"{t.name} {t.datatype}{list(t.shape)}" for t in signature.inputs)


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    notes = context.notes()
    return Progress(*columns, console=notes, transient=True, disable=not notes.is_terminal)
