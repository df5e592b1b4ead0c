"""The client: publish, test, deploy, predict, and every resource behind it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import httpx2

from modelyard.client import connection, decode, options, payload
from modelyard.client._async.certificate import AsyncCertificate
from modelyard.client._async.deployments import AsyncDeployments
from modelyard.client._async.endpoints import AsyncEndpoints
from modelyard.client._async.models import AsyncModels
from modelyard.client._async.resources import AsyncAccounts, AsyncProjects, AsyncRuntimes
from modelyard.client._async.rollouts import AsyncRollouts
from modelyard.client._async.secrets import AsyncSecrets
from modelyard.client._async.service import AsyncService
from modelyard.client._async.shells import AsyncShells
from modelyard.client._async.transport import AsyncTransport
from modelyard.domain.figures import Metrics
from modelyard.domain.model import ModelVersion, PublishSpec
from modelyard.domain.views import System, TestResult


class AsyncClient:
    """One user's view of one project of an installation.

    URL and token come from the arguments, the environment (`MODELYARD_URL`, `MODELYARD_TOKEN`), a login, or
    the installation on this machine.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        project: str | None = None,
        http: httpx2.AsyncClient | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.connection = connection.resolve(url, token, environ)
        self.project = project or environ.get("MODELYARD_PROJECT") or "default"
        self._transport = AsyncTransport(self.connection, http=http)
        self.models = AsyncModels(self._transport, self.project)
        self.deployments = AsyncDeployments(self._transport, self.project)
        self.rollouts = AsyncRollouts(self._transport, self.project)
        self.shells = AsyncShells(self._transport, self.project)
        self.endpoints = AsyncEndpoints(self._transport, self.project)
        self.runtimes = AsyncRuntimes(self._transport, self.project)
        self.secrets = AsyncSecrets(self._transport, self.project)
        self.projects = AsyncProjects(self._transport)
        self.accounts = AsyncAccounts(self._transport)
        self.certificate = AsyncCertificate(self._transport)

    async def publish(
        self,
        model: Any,
        name: str,
        *,
        x_test: Any = None,
        y_test: Any = None,
        on_progress: Callable[[int, int], None] | None = None,
        **said: Any,
    ) -> ModelVersion:
        """Publish a fitted object, a class, a path, or a dict of such, as a new version of `name`.

        `said` are fields of PublishSpec: format, label, description, metrics, requirements, source_run,
        function, signature, sample, pipeline, optimize (auto, off, onnx or treelite: compiled variants). With
        `x_test` (rows) a sample is recorded, with `y_test` metrics too.
        """
        spec = options.build(PublishSpec, {"name": name, **said})
        return await self.models.publish(model, spec, x_test=x_test, y_test=y_test, on_progress=on_progress)

    async def test(
        self,
        ref: str,
        rows: Any = None,
        *,
        runtime: str = "",
        artifact: str = "",
        gpu: str = "0",
        timeout_seconds: float = 120.0,
    ) -> TestResult:
        """Answer rows (or the recorded sample) in a process that is gone afterwards, GPU memory included."""
        return await self.models.test(
            ref,
            payload.test_request(rows),
            runtime=runtime,
            artifact=artifact,
            gpu=gpu,
            timeout_seconds=timeout_seconds,
        )

    async def deploy(
        self,
        ref: str,
        *,
        name: str,
        wait: bool = True,
        timeout_seconds: float = 180.0,
        allow_breaking: bool = False,
        **wanted: Any,
    ) -> AsyncService:
        """Make a version answer as a service, and wait until it does.

        `wanted` are fields of DeploymentSpec, Resources and Address: replicas, runtime, variant, cpu, memory,
        gpu, env, config_files, host, own_port, … Raises Refused with cause and remedy when it does not come
        up, and when requests that the service answers today would break, unless that is allowed.
        """
        spec = options.deployment_spec(ref, wanted)
        view = await self.deployments.apply(name, spec, allow_breaking=allow_breaking)
        if wait:
            token = view.token
            view = await self.deployments.wait(name, timeout_seconds=timeout_seconds)
            return AsyncService(self._transport, self.deployments, view, token)
        return AsyncService(self._transport, self.deployments, view, view.token)

    async def promote(
        self, name: str, *, wait: bool = True, timeout_seconds: float = 180.0, **how: bool
    ) -> AsyncService:
        """Make the next stage run what `NAME@STAGE` runs, and wait until it does; `how` as its verb takes."""
        view = await self.deployments.promote(name, **how)
        if wait:
            view = await self.deployments.wait(view.service, timeout_seconds=timeout_seconds)
        return await self.service(view.service)

    async def service(self, name: str) -> AsyncService:
        """A handle on a deployment that exists."""
        view = await self.deployments.get(name)
        return AsyncService(self._transport, self.deployments, view, await self.deployments.token(name))

    async def predict(self, name: str, rows: Any) -> Any:
        """Ask a service; see `AsyncService.predict`."""
        service = await self.service(name)
        return await service.predict(rows)

    async def metrics(self, name: str, *, since: str = "1h", until: str = "", step: str = "") -> Metrics:
        """What a service did in an interval: whole, by revision, by replica and in steps.

        `since` and `until` are times such as `2026-03-01T12:00:00Z` or how long ago, `step` is a duration;
        without them it is the last hour, in about sixty steps.
        """
        return await self.deployments.metrics(name, since=since, until=until, step=step)

    async def undeploy(self, name: str, *, wait: bool = True, timeout_seconds: float = 60.0) -> None:
        """Take a deployment offline and forget it."""
        await self.deployments.delete(name)
        if wait:
            await self.deployments.wait_gone(name, timeout_seconds=timeout_seconds)

    async def system(self) -> System:
        """What this installation is, and what it enforces."""
        return decode.one(System, await self._transport.call("GET", "/system"))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
