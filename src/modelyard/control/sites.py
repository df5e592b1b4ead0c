"""What projects say of their own addresses, at hand for whoever shows one."""

from __future__ import annotations

from collections.abc import Iterable

from modelyard.domain.address import Site
from modelyard.domain.project import Project


class Sites:
    """The installation's site, and those of projects that say something of their own.

    Whoever reads projects tells; what is routed is always read anew, so that this may be a little behind.
    """

    def __init__(self, installation: Site | None = None) -> None:
        self.installation = installation or Site()
        self._own: dict[str, Site] = {}

    def of(self, project: str) -> Site:
        """The site that the project's services answer at."""
        return self._own.get(project, self.installation)

    def learn(self, projects: Iterable[Project]) -> None:
        """Remember what these projects say."""
        for each in projects:
            said = each.spec
            self._own[each.name] = self.installation.with_own(
                domain=said.domain, external_ip=said.external_ip
            )

    def domains(self, projects: Iterable[Project]) -> dict[str, str]:
        """Project to domain, for those that have their own; these projects are remembered."""
        known = tuple(projects)
        self.learn(known)
        return {each.name: each.spec.domain for each in known if each.spec.domain}
