"""Makes the PriorityClasses that a cluster lacks which the platform was not installed into."""

from __future__ import annotations

import logging

from modelyard.backends.kubernetes import priorities
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.kinds import PRIORITY_CLASS
from modelyard.domain.errors import Forbidden

log = logging.getLogger(__name__)


async def bring(cluster: Cluster) -> None:
    """Make the rungs that the cluster does not have; those that are there stay as somebody made them.

    Without the right to make one it is left to the pods of that class, which are refused, to say so.
    """
    there = {each["metadata"]["name"] for each in (await cluster.list(PRIORITY_CLASS)).items}
    for rung in priorities.LADDER:
        if rung.name in there:
            continue
        try:
            await cluster.apply(priorities.manifest(rung))
        except Forbidden as error:
            log.warning("the PriorityClass %s is missing and may not be made: %s", rung.name, error.message)
