"""The images of Modelyard: what each is for, how it is built, and what it is called."""

from __future__ import annotations

from dataclasses import dataclass

REGISTRY = "modelyard"
"""What stands in front of an image's name when nobody says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One image that a release brings."""

    name: str
    purpose: str
    dockerfile: str
    """Below `images/`."""
    arguments: tuple[str, ...] = ()
    """Build arguments, `NAME=VALUE`."""


CONTROL_PLANE = Image(
    name="control-plane",
    purpose="the platform: API, console, reconcilers and its gateway",
    dockerfile="control-plane.Dockerfile",
)
SERVING = Image(
    name="serving",
    purpose="Modelyard's own server with the libraries of the default runtime, and the fetcher of models",
    dockerfile="serving.Dockerfile",
)
SERVING_CUDA = Image(
    name="serving-cuda",
    purpose="the same with ONNX Runtime and PyTorch for NVIDIA GPUs",
    dockerfile="serving-cuda.Dockerfile",
)
FETCH = Image(
    name="fetch",
    purpose="brings a model's files into a pod, for containers of other servers",
    dockerfile="fetch.Dockerfile",
)
IMAGES: tuple[Image, ...] = (CONTROL_PLANE, SERVING, SERVING_CUDA, FETCH)


def reference(image: Image, *, registry: str = "", tag: str) -> str:
    """What pods name an image by: `registry.local:5000/modelyard/serving:0.1.0`."""
    return f"{registry or REGISTRY}/{image.name}:{tag}"
