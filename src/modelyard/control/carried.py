"""What goes to pods and comes from tasks through this control plane: counted, and bounded for each task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modelyard.domain.errors import TooLarge


@dataclass(slots=True)
class Carried:
    """Bytes since this control plane started, and what each task has stored until its token expires."""

    sent_bytes: int = 0
    stored_bytes: int = 0
    damaged: int = 0
    """How often a file was found damaged while it was sent."""

    tasks: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Until when, and bytes, by task."""

    def count(self, scope: Mapping[str, Any], size: int, *, now: float) -> None:
        """Add to a task's account; raises TooLarge above its bound."""
        self.tasks = {task: kept for task, kept in self.tasks.items() if kept[0] > now}
        _, before = self.tasks.get(scope["task"], (0.0, 0))
        if before + size > scope["takes"]:
            raise TooLarge(f"the task may store {scope['takes']} bytes; it has stored {before} already")
        self.tasks[scope["task"]] = (float(scope["until"]), before + size)
