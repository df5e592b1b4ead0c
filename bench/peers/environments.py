"""The peers' own environments: made on demand, with versions that are known to start together."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".venvs" / "peers"

_MODELS = ("numpy==2.2.6", "scikit-learn==1.5.2", "lightgbm==4.7.0", "onnxruntime==1.31.1", "orjson==3.13.0")
PINS: dict[str, tuple[str, ...]] = {
    "models": (*_MODELS, "onnx==1.23.2"),
    "fastapi": (*_MODELS, "fastapi==0.165.0", "uvicorn==0.54.0", "uvloop==0.23.0", "httptools==0.9.0"),
    # MLServer's workers die at start with uvloop 0.22 and later.
    "mlserver": (*_MODELS, "mlserver==1.7.1", "mlserver-sklearn==1.7.1", "mlserver-lightgbm==1.7.1",
                 "uvloop<0.22"),
    "kserve": (*_MODELS, "kserve==0.21.0"),
    "bentoml": (*_MODELS, "bentoml==1.4.39"),
    "litserve": (*_MODELS, "litserve==0.2.19"),
    "mlflow": (*_MODELS, "mlflow==3.17.2"),
    "ray": (*_MODELS, "ray[serve]==2.60.0"),
    # The wheel carries the C++ server and its Python backend, which wants NumPy 1.
    "triton": (*(pin for pin in _MODELS if not pin.startswith("numpy")), "numpy==1.26.4",
               "nvidia-pytriton==0.7.0"),
    # The last wheel with the load generator in it.
    "perf": ("numpy==1.26.4", "tritonclient==2.50.0", "nvidia-cuda-runtime-cu12==12.9.79"),
    "clients": ("numpy==2.2.6", "tritonclient[http,grpc]==2.73.0", "kserve==0.21.0"),
}  # fmt: skip


def interpreter(name: str) -> Path:
    """Python of an environment, which is made when it is not there; raises RuntimeError with uv's words."""
    directory = HOME / name
    python, stamp = directory / "bin" / "python", directory / ".made"
    pins = "\n".join(PINS[name])
    if stamp.is_file() and stamp.read_text() == pins:
        return python
    print(f"making the environment of {name} …", file=sys.stderr)
    _uv("venv", "--quiet", "--clear", "--python", sys.executable, str(directory))
    _uv("pip", "install", "--quiet", "--python", str(python), *PINS[name])
    # Peers start as fast as they can, not as fast as a first import.
    subprocess.run([str(python), "-m", "compileall", "-q", str(directory / "lib")], check=False)
    stamp.write_text(pins)
    return python


def versions() -> dict[str, str]:
    """The version of each peer, as pinned."""
    own = {
        name: _OWN.get(name, name) for name in PINS if name not in ("models", "clients", "perf", "fastapi")
    }
    found = {}
    for name, package in own.items():
        pin = next(each for each in PINS[name] if each.partition("[")[0].partition("==")[0] == package)
        found[package] = pin.partition("==")[2]
    return found


_OWN = {"triton": "nvidia-pytriton"}


def _uv(*arguments: str) -> None:
    own = ROOT / ".make" / "uv" / "bin" / "uv"
    uv = str(own) if own.is_file() else shutil.which("uv")
    if uv is None:
        raise RuntimeError("uv is missing: run `make .make/dev` first")
    environ = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    done = subprocess.run([uv, *arguments], env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"uv {' '.join(arguments)}: {done.stderr.strip()[-2000:]}")
