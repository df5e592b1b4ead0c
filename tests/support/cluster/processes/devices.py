"""What a container with GPUs finds: the program `nvidia-smi`, which prints the cards that it was given."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.support.cluster import claims
from tests.support.cluster.processes.environ import Image
from tests.support.cluster.store import Object
from tests.support.cluster.writing import Hand

DRIVER = "/usr/local/nvidia/bin"
"""Where the driver's programs are laid."""
PRINTS = "tests.modelyard.dev/nvidia-smi"
"""Annotation of a node: what the program says there in place of its cards; `absent` where nobody lays it."""
CARD = "tests.modelyard.dev/card"
"""Annotation of a node: what its cards are, whatever its label says."""
_SUFFIXES = ("-SHARED",)


def given(container: Object) -> dict[str, int]:
    """How many of each of NVIDIA's resources a container asks for."""
    limits = container.get("resources", {}).get("limits", {})
    return {name: int(amount) for name, amount in limits.items() if name.startswith("nvidia.com/")}


def driver(hand: Hand, pod: Object, container: Object, home: Path, image: Image) -> tuple[Image, list[Any]]:
    """The image with the node's driver laid into it, for a container that has GPUs."""
    amounts, claimed = given(container), list(claims.held(hand, pod, container))
    node = hand.get("Node", ("", pod["spec"].get("nodeName", ""))) if amounts or claimed else None
    said = (node or {}).get("metadata", {}).get("annotations", {})
    if node is None or said.get(PRINTS) == "absent":
        return image, []
    place = home / f"driver-{container['name']}"
    place.mkdir(parents=True, exist_ok=True)
    program = place / "nvidia-smi"
    if PRINTS in said:
        text = f"#!/bin/sh\necho '{said[PRINTS]}'\nexit 9\n"
    else:
        text = f"#!/bin/sh\ncat <<'END'\n{_cards(node, amounts) or _claimed(claimed)}\nEND\n"
    program.write_text(text)
    program.chmod(0o755)
    mount = {"path": DRIVER, "source": str(place), "read_only": True}
    return replace(image, path=f"{DRIVER}:{image.path}"), [mount]


def _claimed(devices: list[Object]) -> str:
    named = [each["attributes"] for each in devices]
    return "\n".join(
        f"GPU {n}: {each['productName']['string']} (UUID: {each['uuid']['string']})"
        for n, each in enumerate(named)
    )


def _cards(node: Object, amounts: Mapping[str, int]) -> str:
    """As `nvidia-smi -L` lists them."""
    metadata = node["metadata"]
    label = metadata.get("labels", {}).get("nvidia.com/gpu.product", "GPU")
    name = metadata.get("annotations", {}).get(CARD) or label
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    if name.startswith(("Tesla-", "NVIDIA-")):
        name = name.replace("-", " ", 1)
    lines = []
    for resource, amount in amounts.items():
        if resource.startswith("nvidia.com/mig-"):
            lines.append(f"GPU 0: {name} (UUID: {_uuid('GPU', metadata['name'], 0)})")
            profile = resource.removeprefix("nvidia.com/mig-")
            lines += [
                f"  MIG {profile}     Device  {n}: (UUID: {_uuid('MIG', metadata['name'], n)})"
                for n in range(amount)
            ]
        elif resource in ("nvidia.com/gpu", "nvidia.com/gpu.shared"):
            lines += [f"GPU {n}: {name} (UUID: {_uuid('GPU', metadata['name'], n)})" for n in range(amount)]
    return "\n".join(lines)


def _uuid(kind: str, node: str, number: int) -> str:
    digest = hashlib.sha256(f"{node}/{number}".encode()).hexdigest()
    return f"{kind}-{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"
