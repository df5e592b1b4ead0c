"""Which listeners there should be now: the front door's, and those of the services' own ports that can be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from modelyard.domain.deployment import Failure
from modelyard.gateway.envoy import doors, files, render
from modelyard.gateway.envoy.door import problem_at
from modelyard.gateway.envoy.files import Json
from modelyard.gateway.envoy.layout import Layout
from modelyard.gateway.envoy.listener import Scripts

_REMEDY = "undeploy the service and deploy it anew, which gives it another port"


class Doors:
    """The doors of one Envoy; a service's port that somebody else holds is left out and tried again.

    Envoy refuses a whole document of listeners for one port that is taken, so that they are tried before.
    """

    def __init__(self, layout: Layout, scripts: Scripts) -> None:
        self._layout, self._scripts = layout, scripts
        self._wanted: frozenset[int] | None = None
        self._open: frozenset[int] | None = None
        self._rendered: tuple[frozenset[int], Json] | None = None
        self._unopened: dict[int, str] = {}

    @property
    def unopened(self) -> Mapping[int, str]:
        """Ports that could not be opened, and why."""
        return dict(self._unopened)

    def want(self, ports: Iterable[int]) -> None:
        """Make these the services' own ports."""
        self._wanted = frozenset(ports)

    def listeners(self, *, running: bool) -> Json:
        """The document for an Envoy that is `running`, or about to be started, with what can be opened."""
        if self._open is None:
            self._open = doors.own_ports(files.read(self._layout.listeners))
        # Before the first publication, services keep what an earlier control plane opened for them.
        wanted = self._open if self._wanted is None else self._wanted
        held = self._open if running else frozenset()
        self._unopened = {}
        for port in sorted(wanted - held):
            failure = problem_at(self._layout.door.host, port, remedy=_REMEDY)
            if failure is not None:
                self._unopened[port] = failure.message
        self._wanted, self._open = wanted, wanted - self._unopened.keys()
        return self._of(self._open)

    def moved_to_taken(self) -> Failure | None:
        """Why the front door cannot go where it should now be; None when it stays or can."""
        place = self._layout
        before = doors.door_ports(files.read(place.listeners))
        fresh = [port for port in place.door.ports if (place.door.host, port) not in before]
        return next((f for f in (problem_at(place.door.host, p) for p in fresh) if f is not None), None)

    def _of(self, ports: frozenset[int]) -> Json:
        if self._rendered is None or self._rendered[0] != ports:
            self._rendered = (ports, render.listeners(self._layout, self._scripts, sorted(ports)))
        return self._rendered[1]
