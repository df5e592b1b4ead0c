"""What an environment is made of, as text whose hash names it; pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from modelyard.domain.deployment import Failure
from modelyard.domain.runtime import RuntimeKind, RuntimeSpec

_NEEDED = "numpy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a builder is asked for; runtimes with the same recipe share a build."""

    python: str
    """Asked version, or empty for that of the interpreter we run in."""
    requirements: tuple[str, ...]
    index_url: str

    @property
    def name(self) -> str:
        """Its hash."""
        return _hash(json.dumps(asdict(self)))


def of(spec: RuntimeSpec, *, index_url: str) -> Recipe:
    """The recipe of a runtime. Services get numpy, because the host of the guest needs it."""
    lines = {line.strip() for line in spec.packages} - {""}
    lines = {line for line in lines if not line.startswith("#")}
    if spec.kind is RuntimeKind.SERVICE and _NEEDED not in {_distribution(line) for line in lines}:
        lines.add(_NEEDED)
    return Recipe(python=spec.python.strip(), requirements=tuple(sorted(lines)), index_url=index_url)


def check(recipe: Recipe) -> Failure | None:
    """Why a recipe can never be built, as far as the spec could not know it; or None."""
    wrong = [text for line in recipe.requirements if (text := _wrong(line))]
    return _refused("; ".join(wrong)) if wrong else None


def lock_name(lock: str, *, python: str) -> str:
    """Hash of a resolution and the interpreter it is for; names the environment."""
    return _hash(f"{python}\n{lock}")


def build_id(recipe: str, *, python: str) -> str:
    """Hash of what a resolution depends on; finds an earlier one without asking an index."""
    return _hash(f"{python}\n{recipe}")


def packages(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Installed packages of an environment's record, by name."""
    found = metadata.get("packages")
    return {str(name): str(version) for name, version in found.items()} if isinstance(found, dict) else {}


def _wrong(line: str) -> str:
    shown = ascii(line[:100])
    try:
        requirement = Requirement(line)
    except InvalidRequirement:
        return f"{shown} is not a requirement; write one such as `scikit-learn==1.5.2`"
    if requirement.url and not requirement.url.startswith("https://"):
        return f"{shown} points beside the index; give a version or an https address of a wheel"
    return ""


def _distribution(line: str) -> str:
    try:
        return canonicalize_name(Requirement(line).name)
    except InvalidRequirement:
        return ""


def _refused(message: str) -> Failure:
    return Failure(reason="RuntimeBuildFailed", message=message)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
