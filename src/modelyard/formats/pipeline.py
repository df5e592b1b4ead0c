"""The file that makes several models of an upload one: pipeline.yaml, or pipeline.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from modelyard.domain.errors import Invalid
from modelyard.formats import limits

FILES = ("pipeline.yaml", "pipeline.yml", "pipeline.json")


def document(directory: Path) -> tuple[str, dict[str, Any]] | None:
    """Name and content of the file at the top of an upload; None when there is none that has `steps`.

    Raises Invalid when it is neither YAML nor JSON. Blocking: call it in a thread.
    """
    name = next((each for each in FILES if (directory / each).is_file()), None)
    if name is None:
        return None
    path = directory / name
    if path.stat().st_size > limits.MIB:
        raise Invalid(f"{name}: larger than {limits.MIB} bytes")
    try:
        found = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = " ".join(str(error).split())[:200]
        raise Invalid(f"{name}: it is not YAML or JSON: {problem}") from None
    return (name, found) if isinstance(found, dict) and "steps" in found else None
