"""Where bytes live: content-addressed files, written beside and renamed, checked on the way out."""

from modelyard.artifacts.base import Artifacts, NoSources, Sources
from modelyard.artifacts.bounds import Bounds
from modelyard.artifacts.local import LocalArtifacts
from modelyard.artifacts.upload import Upload

__all__ = ["Artifacts", "Bounds", "LocalArtifacts", "NoSources", "Sources", "Upload"]
