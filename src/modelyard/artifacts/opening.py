"""The store that the settings name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from modelyard.artifacts.base import Artifacts
from modelyard.artifacts.bounds import Bounds
from modelyard.artifacts.bucket import Bucket, keys
from modelyard.artifacts.local import LocalArtifacts
from modelyard.artifacts.s3 import S3Artifacts
from modelyard.domain.storage import StoreOptions


def open_store(
    options: StoreOptions,
    directory: Path,
    *,
    bounds: Bounds,
    clock: Callable[[], float],
    environ: Mapping[str, str],
) -> Artifacts:
    """A bucket with `directory` in front of it, or the directory alone; raises Invalid naming the setting."""
    local = LocalArtifacts(directory, bounds=bounds)
    if not options.url:
        return local
    bucket = Bucket(options, keys(options, environ))
    return S3Artifacts(bucket, local, clock=clock, redirect=options.redirect)
