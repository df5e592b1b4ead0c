"""Compiled variants: asked for at publish, accepted when their file is harmless, chosen at launch."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from modelyard import formats
from modelyard.backends.base import Answer, Guest
from modelyard.control.platform import Platform
from modelyard.domain import requirement
from modelyard.domain.deployment import DeploymentSpec
from modelyard.domain.errors import FieldError, Refused
from modelyard.domain.model import Artifact, File, Format
from modelyard.domain.placement import Request
from modelyard.domain.runtime import HOST, RuntimeStatus
from modelyard.domain.variant import Attempt, Optimization, Optimize, Serve, Variant

COMPILED = (Format.SKLEARN, Format.XGBOOST, Format.LIGHTGBM)
"""Formats whose models are compiled."""
PACKAGES = {Variant.ONNX: "onnxruntime", Variant.TREELITE: "treelite"}
"""What an environment needs to run a variant."""
_ATTEMPTS = TypeAdapter(tuple[Attempt, ...])
_CHUNK = 1 << 20


@asynccontextmanager
async def workplace(artifact: Artifact) -> AsyncIterator[tuple[Optimize, Path | None]]:
    """What to ask of the guest, and a directory for what it makes; nothing when all is decided."""
    asked = artifact.optimization
    if not asked.is_open or artifact.format not in COMPILED:
        yield Optimize.OFF, None
        return
    directory = await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="modelyard-variant-")
    try:
        yield asked.wanted, Path(directory.name)
    finally:
        await asyncio.to_thread(directory.cleanup)


async def settle(platform: Platform, artifact: Artifact, answer: Answer, out: Path | None) -> Artifact:
    """The artifact with the decision about its variant, whose file is stored.

    Raises Refused when one kind was asked for and cannot be had.
    """
    if not artifact.optimization.is_open:
        return artifact
    decided = _decision(artifact, answer)
    variant: tuple[File, ...] = ()
    if decided.chosen is not Variant.ORIGINAL:
        decided, variant = await _stored(platform, decided, out)
    if decided.wanted is not Optimize.AUTO and decided.chosen is Variant.ORIGINAL:
        raise _impossible(artifact, decided)
    return replace(artifact, optimization=decided, variant=variant)


async def served(
    platform: Platform, guest: Guest, spec: DeploymentSpec, runtime: RuntimeStatus | None
) -> Guest:
    """The guest as this deployment runs it: the artifact's variant where it has one and nothing forbids it.

    A variant runs no code of the model, so the interpreter of the platform itself may run it.
    """
    artifact = guest.artifact
    chosen = artifact.optimization.chosen
    if (
        chosen is Variant.ORIGINAL
        or spec.variant is Serve.ORIGINAL
        or Request.of(spec.resources).computes_on_gpus
    ):
        return guest
    host = await platform.environments.host()
    here = _has(host, PACKAGES[chosen])
    if here:
        guest = replace(guest, interpreter=host.interpreter, runtime=HOST, image="")
    elif runtime is None or not _has(runtime, PACKAGES[chosen]):
        return guest
    path = await platform.artifacts.tree(artifact.variant)
    inline = here and artifact.optimization.is_quick
    return replace(guest, variant=chosen, variant_path=path, inline=inline)


def _has(runtime: RuntimeStatus, library: str) -> bool:
    return library in {requirement.library(name) for name in runtime.packages}


def _decision(artifact: Artifact, answer: Answer) -> Optimization:
    asked = artifact.optimization
    if artifact.format not in COMPILED:
        reason = f"models of format {artifact.format.value} are not compiled"
        return replace(asked, reason=reason)
    said: Any = (answer.result or {}).get("optimization")
    if answer.failure is not None:
        return replace(asked, reason=f"compiling was ended: {answer.failure.message}")
    try:
        return replace(
            asked,
            chosen=Variant(said["chosen"] or Variant.ORIGINAL),
            reason=str(said["reason"] or "compiling ended without a result")[:2000],
            attempts=_ATTEMPTS.validate_python(said["candidates"]),
        )
    except (ValidationError, ValueError, KeyError, TypeError):
        # What a guest says is not to be relied on: the model itself is served.
        return replace(asked, reason="the model's process gave no account of its compiled variant")


async def _stored(
    platform: Platform, decided: Optimization, out: Path | None
) -> tuple[Optimization, tuple[File, ...]]:
    """Keep the variant's file, if it is one that may be loaded."""
    name = f"variant.{decided.chosen.value}"
    path = (out or Path()) / name
    objection = "its file is missing or too large"
    if out is not None and path.is_file():
        objection = await asyncio.to_thread(formats.variant_objection, path, decided.chosen.value)
    if objection:
        reason = f"{decided.chosen.value}: {objection}"
        return replace(decided, chosen=Variant.ORIGINAL, reason=reason), ()
    async with platform.artifacts.upload() as upload:
        await upload.add(name, _chunks(path))
        return decided, await upload.commit("")


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    file = await asyncio.to_thread(path.open, "rb")
    try:
        while chunk := await asyncio.to_thread(file.read, _CHUNK):
            yield chunk
    finally:
        file.close()


def _impossible(artifact: Artifact, decided: Optimization) -> Refused:
    what = artifact.algorithm or artifact.format.value
    message = (
        f"{what} has no {decided.wanted.value} variant: {decided.reason}; "
        "publish it with optimize `auto` or `off`"
    )
    return Refused(f"NotCompiled: {message}", errors=[FieldError("optimize", message)])
