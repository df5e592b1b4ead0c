"""Judged rollouts: how far one is, and what to say about it."""

from __future__ import annotations

from modelyard.client import decode
from modelyard.client._async.transport import AsyncTransport
from modelyard.domain.comparison import Report
from modelyard.domain.rollout_view import RolloutView
from modelyard.domain.views import DeploymentView


class AsyncRollouts:
    """The rollouts of one project's deployments, by the deployment's name."""

    def __init__(self, transport: AsyncTransport, project: str) -> None:
        self._transport = transport
        self._path = f"/projects/{project}/deployments"

    async def get(self, name: str) -> RolloutView:
        """How far it is, with the numbers of its gates."""
        return decode.one(RolloutView, await self._transport.call("GET", f"{self._path}/{name}/rollout"))

    async def comparison(self, name: str) -> Report:
        """How the new revision's answers to mirrored requests differ from the old one's."""
        path = f"{self._path}/{name}/rollout/comparison"
        return decode.one(Report, await self._transport.call("GET", path))

    async def pause(self, name: str) -> DeploymentView:
        """Stay at this step; gates go on judging."""
        return await self._say(name, "pause")

    async def resume(self, name: str) -> DeploymentView:
        """Go on after a pause, or approve the next step. Raises Conflict when nothing waits."""
        return await self._say(name, "resume")

    async def abort(self, name: str) -> DeploymentView:
        """Give all requests back to the revision before, at once."""
        return await self._say(name, "abort")

    async def _say(self, name: str, what: str) -> DeploymentView:
        path = f"{self._path}/{name}/rollout/{what}"
        return decode.one(DeploymentView, await self._transport.call("POST", path))
