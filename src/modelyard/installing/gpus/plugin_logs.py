"""What the pods of a device plugin that is not well wrote last."""

from __future__ import annotations

from collections.abc import Iterable

from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.client.logs import line_of
from modelyard.backends.kubernetes.kinds import POD, Manifest, place
from modelyard.domain.errors import ModelyardError

_LINES = 20
_MOST_WORDS = 300


async def last_lines(client: Cluster, daemons: Iterable[Manifest]) -> dict[tuple[str, str], str]:
    """The last line of each, by its place; nothing of one whose pods or logs may not be seen."""
    found = {}
    for daemon in daemons:
        try:
            if said := await _last_line(client, daemon):
                found[place(daemon)] = said
        except ModelyardError:
            continue
    return found


async def _last_line(client: Cluster, daemon: Manifest) -> str:
    namespace, _ = place(daemon)
    selected = ((daemon.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
    pods = (await client.list(POD, namespace=namespace, labels=names.selector(selected))).items
    # Of one that is not ready first: it is the one that has something to say.
    for pod in sorted(pods, key=_is_ready):
        name = place(pod)[1]
        for previous in (False, True):
            try:
                lines = [
                    line_of(text, name).text
                    async for text in client.logs(namespace, name, tail=_LINES, previous=previous)
                ]
            except ModelyardError:
                continue
            if written := [line.strip() for line in lines if line.strip()]:
                return f"{name}: {written[-1][:_MOST_WORDS]}"
    return ""


def _is_ready(pod: Manifest) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
