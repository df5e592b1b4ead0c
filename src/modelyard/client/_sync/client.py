"""The client: publish, test, deploy, predict, and every resource behind it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import httpx2

from modelyard.client import connection, decode, options, payload
from modelyard.client._sync.certificate import Certificate
from modelyard.client._sync.deployments import Deployments
from modelyard.client._sync.endpoints import Endpoints
from modelyard.client._sync.models import Models
from modelyard.client._sync.resources import Accounts, Projects, Runtimes
from modelyard.client._sync.rollouts import SyncRollouts
from modelyard.client._sync.secrets import Secrets
from modelyard.client._sync.service import Service
from modelyard.client._sync.shells import Shells
from modelyard.client._sync.transport import Transport
from modelyard.domain.figures import Metrics
from modelyard.domain.model import ModelVersion, PublishSpec
from modelyard.domain.views import System, TestResult


class Client:
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
        http: httpx2.Client | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.connection = connection.resolve(url, token, environ)
        self.project = project or environ.get("MODELYARD_PROJECT") or "default"
        self._transport = Transport(self.connection, http=http)
        self.models = Models(self._transport, self.project)
        self.deployments = Deployments(self._transport, self.project)
        self.rollouts = SyncRollouts(self._transport, self.project)
        self.shells = Shells(self._transport, self.project)
        self.endpoints = Endpoints(self._transport, self.project)
        self.runtimes = Runtimes(self._transport, self.project)
        self.secrets = Secrets(self._transport, self.project)
        self.projects = Projects(self._transport)
        self.accounts = Accounts(self._transport)
        self.certificate = Certificate(self._transport)

    def publish(
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
        return self.models.publish(model, spec, x_test=x_test, y_test=y_test, on_progress=on_progress)

    def test(
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
        return self.models.test(
            ref,
            payload.test_request(rows),
            runtime=runtime,
            artifact=artifact,
            gpu=gpu,
            timeout_seconds=timeout_seconds,
        )

    def deploy(
        self,
        ref: str,
        *,
        name: str,
        wait: bool = True,
        timeout_seconds: float = 180.0,
        allow_breaking: bool = False,
        **wanted: Any,
    ) -> Service:
        """Make a version answer as a service, and wait until it does.

        `wanted` are fields of DeploymentSpec, Resources and Address: replicas, runtime, variant, cpu, memory,
        gpu, env, config_files, host, own_port, … Raises Refused with cause and remedy when it does not come
        up, and when requests that the service answers today would break, unless that is allowed.
        """
        spec = options.deployment_spec(ref, wanted)
        view = self.deployments.apply(name, spec, allow_breaking=allow_breaking)
        if wait:
            token = view.token
            view = self.deployments.wait(name, timeout_seconds=timeout_seconds)
            return Service(self._transport, self.deployments, view, token)
        return Service(self._transport, self.deployments, view, view.token)

    def promote(
        self, name: str, *, wait: bool = True, timeout_seconds: float = 180.0, **how: bool
    ) -> Service:
        """Make the next stage run what `NAME@STAGE` runs, and wait until it does; `how` as its verb takes."""
        view = self.deployments.promote(name, **how)
        if wait:
            view = self.deployments.wait(view.service, timeout_seconds=timeout_seconds)
        return self.service(view.service)

    def service(self, name: str) -> Service:
        """A handle on a deployment that exists."""
        view = self.deployments.get(name)
        return Service(self._transport, self.deployments, view, self.deployments.token(name))

    def predict(self, name: str, rows: Any) -> Any:
        """Ask a service; see `AsyncService.predict`."""
        service = self.service(name)
        return service.predict(rows)

    def metrics(self, name: str, *, since: str = "1h", until: str = "", step: str = "") -> Metrics:
        """What a service did in an interval: whole, by revision, by replica and in steps.

        `since` and `until` are times such as `2026-03-01T12:00:00Z` or how long ago, `step` is a duration;
        without them it is the last hour, in about sixty steps.
        """
        return self.deployments.metrics(name, since=since, until=until, step=step)

    def undeploy(self, name: str, *, wait: bool = True, timeout_seconds: float = 60.0) -> None:
        """Take a deployment offline and forget it."""
        self.deployments.delete(name)
        if wait:
            self.deployments.wait_gone(name, timeout_seconds=timeout_seconds)

    def system(self) -> System:
        """What this installation is, and what it enforces."""
        return decode.one(System, self._transport.call("GET", "/system"))

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
