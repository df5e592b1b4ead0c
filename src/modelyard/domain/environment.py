"""Which runtime a model version runs in, and what one made for it must hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from modelyard.domain import demand, requirement
from modelyard.domain.errors import Conflict, FieldError, Invalid, NotFound, Refused
from modelyard.domain.model import Artifact, Format, ModelVersion
from modelyard.domain.runtime import (
    AUTO,
    HOST,
    Runtime,
    RuntimeKind,
    RuntimeSpec,
    RuntimeState,
    RuntimeStatus,
)

OLDEST_PYTHON = (3, 9)
"""The oldest interpreter that can host a model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The runtime for a version."""

    runtime: str
    """`host`, the name of an existing runtime, or the name under which `build` is to be made."""
    build: RuntimeSpec | None = None
    """Set for an automatic runtime; the same needs give the same name, so it may exist already."""
    warnings: tuple[str, ...] = ()


def choose(
    version: ModelVersion,
    artifact: Artifact,
    asked: str,
    *,
    host: RuntimeStatus,
    runtimes: Sequence[Runtime],
    pythons: Sequence[str] = (),
) -> Choice:
    """The runtime to deploy or test with.

    `asked` is `auto`, `host` or a name; `runtimes` are the project's; `pythons` the interpreters (`3.11`)
    that can be had beside the host's. Raises Refused for a model made with Python 2, NotFound for an unknown
    runtime, Invalid for one that is for jobs or other formats, Conflict for one that is being deleted.
    """
    refuse_python_2(version)
    if asked == HOST or (asked == AUTO and would_do(version, artifact, host)):
        return Choice(runtime=HOST, warnings=warnings(version, artifact, host, name=HOST))
    if asked == AUTO and (registered := _registered(version, artifact, runtimes)):
        return Choice(
            runtime=registered.name,
            warnings=warnings(version, artifact, registered.status, name=registered.name),
        )
    if asked == AUTO:
        spec, notes = automatic_spec(version, artifact, host=host, pythons=pythons)
        return Choice(runtime=automatic_name(artifact.format, spec), build=spec, warnings=notes)
    named = _named(asked, artifact, runtimes)
    return Choice(runtime=asked, warnings=warnings(version, artifact, named.status, name=asked))


def would_do(version: ModelVersion, artifact: Artifact, status: RuntimeStatus) -> bool:
    """Whether an environment holds what the version needs, in versions that load it."""
    have = {requirement.library(name): number for name, number in status.packages.items()}
    needs = demand.needs(version, artifact)
    return all(demand.met(need, have, artifact) for need in needs)


def suitable(version: ModelVersion, artifact: Artifact, runtimes: Sequence[Runtime]) -> tuple[str, ...]:
    """Names of the runtimes, built already, that would do; what an offline error offers."""
    ready = (r for r in runtimes if r.status.state is RuntimeState.READY and not r.deleting)
    return tuple(
        r.name for r in ready if _serves(r.spec, artifact.format) and would_do(version, artifact, r.status)
    )


def warnings(
    version: ModelVersion, artifact: Artifact, status: RuntimeStatus, *, name: str
) -> tuple[str, ...]:
    """What may go wrong because the environment differs from the one that the model was made in."""
    have = {requirement.library(package): number for package, number in status.packages.items()}
    framework = demand.FRAMEWORK.get(artifact.format)
    found = [
        f"model was made with {need.name} {need.version}, runtime {name} has {have[need.name]}"
        for need in demand.needs(version, artifact)
        if requirement.differs(need.version, have.get(need.name, ""), minor=need.name == framework)
    ]
    if framework and status.packages and framework not in have:
        found.append(f"runtime {name} has no {framework}, which the format {artifact.format} needs")
    return tuple(found)


def automatic_spec(
    version: ModelVersion, artifact: Artifact, *, host: RuntimeStatus, pythons: Sequence[str] = ()
) -> tuple[RuntimeSpec, tuple[str, ...]]:
    """The environment that a version's captured requirements ask for, and notes on what could not be kept."""
    needs = [need for need in demand.needs(version, artifact) if not demand.needless(need, artifact)]
    lines = {need.name: need.line for need in needs}
    lines.setdefault("numpy", "numpy<2" if any(demand.before_numpy_2(need) for need in needs) else "numpy")
    python, notes = _python(version.requirements.python, host.python, pythons)
    dropped = [line for line in version.requirements.packages if requirement.parse(line) is None]
    if dropped:
        notes += (f"not installed, as only names with versions can be: {', '.join(dropped[:5])}",)
    packages = tuple(sorted(lines.values()))
    return RuntimeSpec(python=python, packages=packages, formats=(artifact.format,)), notes


def automatic_name(format: Format, spec: RuntimeSpec) -> str:
    """The same interpreter and packages always give the same name, such as `auto-sklearn-1f0c…`."""
    essence = {"python": spec.python, "packages": sorted(spec.packages), "format": format.value}
    digest = hashlib.sha256(json.dumps(essence, sort_keys=True).encode()).hexdigest()
    return f"auto-{format.value}-{digest[:10]}"


def refuse_python_2(version: ModelVersion) -> None:
    """Nothing for a model that today's interpreters can host; else raises Refused."""
    if version.requirements.python.startswith("2"):
        raise Refused(
            f"{version.ref} was made with Python {version.requirements.python}; runtimes for Python 2 do not "
            "exist any more: train it again with Python 3.9 or newer, or publish it as ONNX"
        )


def _named(asked: str, artifact: Artifact, runtimes: Sequence[Runtime]) -> Runtime:
    found = next((r for r in runtimes if r.name == asked), None)
    if found is None:
        names = ", ".join(sorted({HOST, *(r.name for r in runtimes if not r.automatic)}))
        message = f"there is no runtime {asked!a}; there are {names}, or leave it `{AUTO}`"
        raise NotFound(message, errors=(FieldError("spec.runtime", message),))
    if found.deleting:
        raise Conflict(f"spec.runtime: runtime {asked} is being deleted; choose another or `{AUTO}`")
    if not _serves(found.spec, artifact.format):
        what = "is for jobs" if found.spec.kind is RuntimeKind.WORKER else f"does not serve {artifact.format}"
        message = f"runtime {asked} {what}; choose one of kind `service` for {artifact.format}, or `{AUTO}`"
        raise Invalid(f"spec.runtime: {message}", errors=(FieldError("spec.runtime", message),))
    return found


def _registered(version: ModelVersion, artifact: Artifact, runtimes: Sequence[Runtime]) -> Runtime | None:
    """An interpreter that an administrator named and that would do; nothing has to be built for it."""
    names = suitable(version, artifact, [r for r in runtimes if r.spec.interpreter])
    return next((r for r in runtimes if r.name in names[:1]), None)


def _serves(spec: RuntimeSpec, format: Format) -> bool:
    return spec.kind is RuntimeKind.SERVICE and (not spec.formats or format in spec.formats)


def _python(made: str, host: str, pythons: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The interpreter to ask for, empty for the host's; and a note when it is not the one of the record."""
    wanted, here = requirement.release(made), requirement.release(host)
    if wanted is None or here is None or wanted == here:
        return "", ()
    text = f"{wanted[0]}.{wanted[1]}"
    if wanted >= OLDEST_PYTHON and text in pythons:
        return text, ()
    return "", (f"model was made with Python {text}, its runtime has {here[0]}.{here[1]}",)
