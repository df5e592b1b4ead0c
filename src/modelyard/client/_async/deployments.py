"""Deployments: desired state, verbs, waiting, logs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from modelyard.client import decode, waiting
from modelyard.client._async.transport import AsyncTransport
from modelyard.domain import naming
from modelyard.domain.deployment import DeploymentSpec, Revision
from modelyard.domain.endpoint import Endpoint
from modelyard.domain.event import Event
from modelyard.domain.explain import Explanation
from modelyard.domain.figures import Metrics
from modelyard.domain.planning import Plan
from modelyard.domain.program import Program
from modelyard.domain.views import DeploymentView


class AsyncDeployments:
    """The deployments of one project; names may carry a stage, `churn@test`."""

    def __init__(self, transport: AsyncTransport, project: str) -> None:
        self._transport = transport
        self._project = f"/projects/{project}"
        self._path = f"/projects/{project}/deployments"

    async def list(self) -> tuple[DeploymentView, ...]:
        """All deployments, by name."""
        return decode.items(
            DeploymentView, await self._transport.call("GET", self._path, params={"limit": 1000})
        )

    async def get(self, name: str) -> DeploymentView:
        """One deployment with its status."""
        return await self._view("GET", name)

    async def apply(
        self,
        name: str,
        spec: DeploymentSpec,
        *,
        generation: int | None = None,
        dry_run: bool = False,
        allow_breaking: bool = False,
    ) -> DeploymentView:
        """Create or replace; with `generation`, only if nobody changed it since. Answers with the token.

        Raises Refused when requests that the production service answers today would break, unless allowed.
        """
        headers = {"if-match": f'"{generation}"'} if generation is not None else None
        said = {"dry_run": dry_run, "allow_breaking": allow_breaking}
        params = {option: "true" for option, on in said.items() if on} or None
        path = f"{self._path}/{name}"
        document = await self._transport.call(
            "PUT", path, json=decode.plain(spec), headers=headers, params=params
        )
        return decode.one(DeploymentView, document)

    async def plan(self, name: str, spec: DeploymentSpec) -> Plan:
        """What `apply` would do: replicas, resources, traffic, and what it would break."""
        document = await self._transport.call("POST", f"{self._path}/{name}/plan", json=decode.plain(spec))
        return decode.one(Plan, document)

    async def promote(
        self, name: str, *, allow_breaking: bool = False, clear: bool = False
    ) -> DeploymentView:
        """Make the next stage (debug → test → production) run what `NAME@STAGE` runs; answers with the next.

        With `clear` the promoted stage goes offline. Raises Conflict while it is not ready.
        """
        body = {"allow_breaking": allow_breaking, "clear": clear}
        return await self._view("POST", f"{name}/promote", json=body)

    async def plan_promotion(self, name: str) -> Plan:
        """What `promote` would do."""
        return decode.one(Plan, await self._transport.call("POST", f"{self._path}/{name}/promote/plan"))

    async def clear(self, name: str, *, every_stage: bool = False) -> tuple[DeploymentView, ...]:
        """Take it offline, or all stages of the name; specs and history stay."""
        params = {"every_stage": "true"} if every_stage else None
        document = await self._transport.call("POST", f"{self._path}/{name}/clear", params=params)
        return decode.items(DeploymentView, document)

    async def patch(self, name: str, changes: dict[str, Any]) -> DeploymentView:
        """Merge changes into the spec."""
        return await self._view("PATCH", name, json=changes)

    async def delete(self, name: str) -> None:
        """Take it offline and forget it; asynchronous, see `wait_gone`."""
        await self._transport.call("DELETE", f"{self._path}/{name}")

    async def scale(
        self,
        name: str,
        replicas: int | None = None,
        *,
        autoscaling: dict[str, Any] | None = None,
        priority: dict[str, Any] | None = None,
    ) -> DeploymentView:
        """Change the number of replicas, or fields of what decides it; nothing is restarted.

        `scale("churn", autoscaling={"max": 8, "on": "concurrency:8"})`.
        """
        said = {"replicas": replicas, "autoscaling": autoscaling, "priority": priority}
        body = {field: value for field, value in said.items() if value is not None}
        return await self._view("POST", f"{name}/scale", json=body)

    async def restart(self, name: str) -> DeploymentView:
        """Replace every replica, one surge at a time, without losing a request."""
        return await self._view("POST", f"{name}/restart")

    async def roll_back(self, name: str, *, revision: int | None = None) -> DeploymentView:
        """Make what an earlier revision ran (the one before, if not said) the newest revision."""
        return await self._view(
            "POST", f"{name}/rollback", json={} if revision is None else {"revision": revision}
        )

    async def create_offline(self, ref: str, *, name: str = "") -> DeploymentView:
        """Make an offline service of a version, named like its model if not said; Conflict when it exists."""
        parsed = naming.parse_model_ref(ref)
        path = f"{self._project}/models/{parsed.name}/versions/{parsed.selector}/service"
        return decode.one(DeploymentView, await self._transport.call("POST", path, json={"name": name}))

    async def endpoints(self) -> tuple[Endpoint, ...]:
        """Where every service answers, and how often it did."""
        return decode.items(Endpoint, await self._transport.call("GET", f"{self._project}/endpoints"))

    async def copy(self, name: str, to: str) -> DeploymentView:
        """An offline copy under another name."""
        return await self._view("POST", f"{name}/copy", json={"name": to})

    async def token(self, name: str) -> str:
        """The token that opens this service."""
        return str((await self._transport.call("GET", f"{self._path}/{name}/token"))["token"])

    async def rotate_token(self, name: str) -> str:
        """A new token; the old one stops working."""
        return str((await self._transport.call("POST", f"{self._path}/{name}/token"))["token"])

    async def history(self, name: str) -> tuple[Revision, ...]:
        """All revisions, newest first."""
        return decode.items(Revision, await self._transport.call("GET", f"{self._path}/{name}/history"))

    async def events(self, name: str) -> tuple[Event, ...]:
        """What happened to it, newest first."""
        return decode.items(Event, await self._transport.call("GET", f"{self._path}/{name}/events"))

    async def explain(self, name: str) -> Explanation:
        """Why it is as it is, stage by stage, with remedies."""
        return decode.one(Explanation, await self._transport.call("GET", f"{self._path}/{name}/explain"))

    async def server(self, name: str) -> Program:
        """The program that serves it: what its spec says, completed by what is generated."""
        return decode.one(Program, await self._transport.call("GET", f"{self._path}/{name}/server"))

    async def metrics(self, name: str, *, since: str = "1h", until: str = "", step: str = "") -> Metrics:
        """Requests, codes, times and resources; see `AsyncClient.metrics`."""
        params = {"since": since, "until": until, "step": step}
        document = await self._transport.call("GET", f"{self._path}/{name}/metrics", params=params)
        return decode.one(Metrics, document)

    async def logs(
        self, name: str, *, tail: int = 100, replica: str = "", follow: bool = False
    ) -> AsyncIterator[tuple[str, str]]:
        """Pairs of replica and line, oldest first; `follow` goes on with what comes."""
        params = {"tail": tail, "replica": replica, "follow": "1" if follow else None}
        async with self._transport.stream(f"{self._path}/{name}/logs", params=params) as response:
            async for line in response.aiter_lines():
                parsed = waiting.log_line(line)
                if parsed is not None:
                    yield parsed

    async def wait(self, name: str, *, timeout_seconds: float = 180.0) -> DeploymentView:
        """Until the newest generation is wholly ready.

        Raises Refused with the cause and the remedy when it fails, TimedOut when time is up.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            view = await self.get(name)
            if waiting.is_settled(view):
                return view
            if waiting.is_failed(view) or time.monotonic() > deadline:
                raise waiting.ended(view, await self.explain(name), timeout_seconds)
            await asyncio.sleep(waiting.INTERVAL_SECONDS)

    async def wait_gone(self, name: str, *, timeout_seconds: float = 60.0) -> None:
        """Until a deleted deployment is gone with all its replicas. Raises TimedOut."""
        deadline = time.monotonic() + timeout_seconds
        while name in {view.service for view in await self.list()}:
            if time.monotonic() > deadline:
                raise waiting.still_there(name, timeout_seconds)
            await asyncio.sleep(waiting.INTERVAL_SECONDS)

    async def _view(self, method: str, path: str, *, json: Any = None) -> DeploymentView:
        return decode.one(
            DeploymentView, await self._transport.call(method, f"{self._path}/{path}", json=json)
        )
