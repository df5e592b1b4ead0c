"""Models and versions."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import orjson

from modelyard.client import capture, decode, downloads, metrics, progress, waiting
from modelyard.client._async.transport import AsyncTransport
from modelyard.client.problems import Unreachable
from modelyard.domain import model_files, naming
from modelyard.domain.errors import Unavailable
from modelyard.domain.model import Format, Function, Model, ModelVersion, PublishSpec, Signature
from modelyard.domain.views import TestResult

_PATIENCE = httpx2.Timeout(10.0, read=3600.0, write=600.0)
"""Where all files are read once before there is an answer."""


class AsyncModels:
    """The models of one project."""

    def __init__(self, transport: AsyncTransport, project: str) -> None:
        self._transport = transport
        self._path = f"/projects/{project}/models"

    async def publish(
        self,
        model: Any,
        spec: PublishSpec,
        *,
        x_test: Any = None,
        y_test: Any = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> ModelVersion:
        """Upload a fitted object, a class, a path, or a dict of such, as a new version.

        An address such as `s3://bucket/prefix` is read by the platform, where its settings allow that. In a
        cluster `pvc://claim/folder` and `oci://image@sha256:…#folder` are read by a pod, and stay there.

        What `spec` leaves open is read off the object and the test data. `on_progress` gets bytes sent and
        bytes in all. Raises Refused when the model does not pass the scan or validation.
        """
        if isinstance(model, str) and model_files.is_address(model):
            said = replace(spec, source=model)
            return await self._upload(said, capture.Captured(files={}), timeout=_PATIENCE)
        with tempfile.TemporaryDirectory(prefix="modelyard-") as directory:
            example = spec.sample if x_test is None else x_test
            captured = capture.capture(model, Path(directory), example=example)
            said = said_of(model, spec, captured, x_test, y_test)
            return await self._upload(said, captured, on_progress=on_progress)

    async def check(self, model: Any, *, format: Format | None = None) -> ModelVersion:
        """The version, without a number, that publishing this would make: all is checked, nothing published.

        Raises Refused when it does not pass the scan or validation.
        """
        with tempfile.TemporaryDirectory(prefix="modelyard-") as directory:
            captured = capture.capture(model, Path(directory))
            said = said_of(model, PublishSpec(name="unpublished", format=format), captured, None, None)
            return await self._upload(said, captured, params={"dry_run": "true"})

    async def list(self) -> tuple[Model, ...]:
        """All models, by name."""
        return decode.items(Model, await self._transport.call("GET", self._path, params={"limit": 1000}))

    async def get(self, name: str) -> Model:
        """One model."""
        return decode.one(Model, await self._transport.call("GET", f"{self._path}/{name}"))

    async def versions(self, name: str) -> tuple[ModelVersion, ...]:
        """All versions of a model, newest first."""
        path = f"{self._path}/{name}/versions"
        return decode.items(ModelVersion, await self._transport.call("GET", path, params={"limit": 1000}))

    async def version(self, ref: str) -> ModelVersion:
        """One version, by `name`, `name@3`, `name@alias` or `name@label`."""
        return decode.one(ModelVersion, await self._transport.call("GET", self._version_path(ref)))

    async def update(self, name: str, *, description: str) -> Model:
        """Change the words about a model."""
        body = {"description": description}
        return decode.one(Model, await self._transport.call("PATCH", f"{self._path}/{name}", json=body))

    async def update_version(self, ref: str, **changes: Any) -> ModelVersion:
        """Change `description`, `label` or `metrics` of a version; its files never change."""
        return decode.one(
            ModelVersion, await self._transport.call("PATCH", self._version_path(ref), json=changes)
        )

    async def set_alias(self, name: str, alias: str, version: str) -> Model:
        """Point an alias at a version."""
        body = {"version": version}
        document = await self._transport.call("PUT", f"{self._path}/{name}/aliases/{alias}", json=body)
        return decode.one(Model, document)

    async def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias."""
        await self._transport.call("DELETE", f"{self._path}/{name}/aliases/{alias}")

    async def delete(self, ref: str) -> None:
        """Delete a model, or with `name@version` one version; refused while a deployment uses it."""
        parsed = naming.parse_model_ref(ref)
        named = "@" in ref or ":" in ref
        await self._transport.call(
            "DELETE", self._version_path(ref) if named else f"{self._path}/{parsed.name}"
        )

    async def download(self, ref: str, directory: Path, *, artifact: str = "") -> tuple[Path, ...]:
        """Write the files of a version, or of one of its artifacts, below `directory`.

        Raises NotFound for an artifact it does not have, Refused for a file that is not what was published.
        """
        version = await self.version(ref)
        chosen = downloads.chosen(version, artifact)
        written = []
        for each in chosen:
            for file in each.files:
                target = downloads.target(directory / (each.name if len(chosen) > 1 else ""), file)
                source = f"{self._version_path(version.ref)}/artifacts/{each.name}/files/{quote(file.path)}"
                async with self._transport.stream(source) as response:
                    with downloads.Checked(target, file) as out:
                        async for chunk in response.aiter_bytes():
                            out.write(chunk)
                written.append(target)
        return tuple(written)

    async def test(
        self,
        ref: str,
        body: dict[str, Any],
        *,
        runtime: str = "",
        artifact: str = "",
        gpu: str = "0",
        timeout_seconds: float = 120.0,
    ) -> TestResult:
        """Answer one request in a process of its own; `body` has `inputs`, `rows` or nothing.

        Waits while the runtime is built and while no GPU is free, `timeout_seconds` at most.
        """
        options = {"runtime": runtime, "artifact": artifact, "gpu": gpu, "timeout_seconds": timeout_seconds}
        path = f"{self._version_path(ref)}/test"
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                document = await self._transport.call("POST", path, json={**body, **options})
                return decode.one(TestResult, document)
            except Unavailable as error:
                if isinstance(error, Unreachable) or time.monotonic() > deadline:
                    raise
                await asyncio.sleep(min(error.retry_after_seconds, waiting.LONGEST_SECONDS))

    async def validate(self, ref: str) -> ModelVersion:
        """Check a version again: its checksums, the scan, and a load in a process of its own."""
        return decode.one(
            ModelVersion, await self._transport.call("POST", f"{self._version_path(ref)}/validate")
        )

    async def _upload(
        self,
        said: PublishSpec,
        captured: capture.Captured,
        *,
        on_progress: Callable[[int, int], None] | None = None,
        params: dict[str, str] | None = None,
        timeout: httpx2.Timeout | None = None,
    ) -> ModelVersion:
        with ExitStack() as opened:
            files = progress.opened(captured.files, opened, on_progress)
            parts = [
                ("spec", (None, orjson.dumps(decode.plain(said)), "application/json")),
                *(("file", (name, file, "application/octet-stream")) for name, file in files),
            ]
            response = await self._transport.send(
                "POST", self._path, files=parts, params=params, timeout=timeout
            )
        return decode.one(ModelVersion, orjson.loads(response.content))

    def _version_path(self, ref: str) -> str:
        parsed = naming.parse_model_ref(ref)
        return f"{self._path}/{parsed.name}/versions/{parsed.selector}"


def said_of(
    model: Any, spec: PublishSpec, captured: capture.Captured, x_test: Any, y_test: Any
) -> PublishSpec:
    """The publisher's words, completed by what the object and the test data say."""
    function = spec.function or metrics.function_of(model, y_test)
    sample, signature = capture.sample_of(x_test) if captured.sample is None else (captured.sample, None)
    signature = spec.signature or signature
    targets = capture.targets_of(y_test)
    if targets:
        known = signature or Signature(sample=sample)
        signature = Signature(
            inputs=known.inputs, targets=targets, outputs=known.outputs, sample=known.sample
        )
    return PublishSpec(
        name=spec.name,
        format=spec.format,
        label=spec.label,
        description=spec.description,
        metrics=spec.metrics or metrics.evaluate(model, x_test, y_test, function),
        requirements=spec.requirements if spec.requirements.packages else captured.requirements,
        source_run=spec.source_run,
        function=None if function is Function.UNKNOWN else function,
        signature=signature,
        sample=spec.sample if spec.sample is not None and captured.sample is None else sample,
        artifacts=spec.artifacts or dict(captured.artifacts),
        optimize=spec.optimize,
        pipeline=spec.pipeline,
    )
