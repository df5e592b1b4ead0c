"""Which volumes of a cluster a model's files can lie on, and what is needed where they cannot."""

from __future__ import annotations

from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.capabilities import Capabilities
from modelyard.domain.model_files import InClaim, InImage, ModelFiles


def refusal(wanted: ModelFiles, capabilities: Capabilities) -> str:
    """Why pods cannot have the files from there, and what to do; empty when they can."""
    match wanted:
        case InImage() if not capabilities.mounts_images:
            major, minor = capabilities.version
            return (
                f"this cluster (Kubernetes {major}.{minor}) takes no image as a volume of a restricted pod; "
                "that needs Kubernetes 1.35, or 1.33 with the feature gate ImageVolume, and containerd 2.1 "
                "or CRI-O 1.31 on the nodes. Use `pvc://CLAIM/FOLDER`, or publish the files and leave "
                "`model_files` empty: the platform then brings them"
            )
        case InClaim(claim) if claim == names.CACHE:
            return f"the claim {names.CACHE} is what the platform's fetchers share; keep models in another"
        case InImage() | InClaim():
            return ""
