"""The errors for what is not there, with what would help."""

from __future__ import annotations

from modelyard.domain.deployment import Key
from modelyard.domain.errors import NotFound


def project(name: str) -> NotFound:
    """There is no such project."""
    return NotFound(f"project {name!r} does not exist; `modelyard project list` shows yours")


def user(name: str) -> NotFound:
    """There is no such user."""
    return NotFound(f"user {name!r} does not exist; `modelyard user list` shows all")


def model(project: str, name: str) -> NotFound:
    """There is no such model."""
    return NotFound(f"model {name!r} does not exist in project {project!r}; `modelyard model list` shows all")


def version(project: str, ref: str) -> NotFound:
    """There is no such version."""
    name = ref.partition("@")[0]
    return NotFound(
        f"model version {ref!r} does not exist in project {project!r}; "
        f"`modelyard model show {name}` lists them"
    )


def artifact(ref: str, name: str, known: tuple[str, ...]) -> NotFound:
    """The version has no such artifact."""
    return NotFound(f"{ref} has no artifact {name!r}; it has {', '.join(known)}")


def runtime(project: str, name: str) -> NotFound:
    """There is no such runtime."""
    return NotFound(
        f"runtime {name!r} does not exist in project {project!r}; use `host`, `auto`, or one that "
        "`modelyard runtime list` shows"
    )


def secret(project: str, name: str) -> NotFound:
    """There is no such secret."""
    return NotFound(
        f"secret {name!r} does not exist in project {project!r}; `modelyard secret list` shows all"
    )


def deployment(key: Key) -> NotFound:
    """There is no such deployment."""
    return NotFound(
        f"deployment {key.service!r} does not exist in project {key.project!r}; "
        "`modelyard deployment list` shows all"
    )


def revision(key: Key, number: int) -> NotFound:
    """The deployment has no such revision."""
    return NotFound(f"{key.service} has no revision {number}; `modelyard history {key.service}` lists them")
