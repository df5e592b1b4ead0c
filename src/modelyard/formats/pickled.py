"""Pickle, joblib and skops files of scikit-learn, XGBoost and LightGBM estimators."""

from __future__ import annotations

from pathlib import Path

from modelyard.domain.model import Format, Function, Serialization, Signature
from modelyard.formats import functions, signatures, skops, xgboost
from modelyard.formats.bytesview import Damaged
from modelyard.formats.found import Detected
from modelyard.formats.pickles import estimators, reading
from modelyard.formats.pickles.allowed import refused
from modelyard.formats.pickles.estimators import Estimator
from modelyard.formats.pickles.reading import Reading
from modelyard.formats.pickles.values import Global, Instance, Malformed

FRAMEWORKS = {"sklearn": Format.SKLEARN, "xgboost": Format.XGBOOST, "lightgbm": Format.LIGHTGBM}
MAX_NAMED = 8


def follow(path: Path) -> Reading:
    """Follow a pickle inertly. Raises Damaged."""
    try:
        return reading.read(path)
    except Malformed as error:
        raise Damaged(str(error)) from None


def read_pickle(path: Path, entry: str, *, hint: Format | None) -> Detected:
    """Read a pickle or joblib file. Raises Damaged when its root is no estimator that is known here.

    An estimator of a package that is not known counts as `hint` when that is given.
    """
    found = follow(path)
    estimator = estimators.describe(found)
    framework = FRAMEWORKS.get(estimator.made_by.module.split(".")[0]) if estimator else None
    if framework is None and estimator is not None and hint in FRAMEWORKS.values():
        framework = hint
    if framework is None or estimator is None:
        raise Damaged(_not_a_model(found))
    joblib = found.joblib or entry.endswith(".joblib")
    version, features, columns = estimator.sklearn_version, estimator.features, estimator.columns
    if framework is Format.XGBOOST:
        version, width, names = xgboost.pickled(estimator.booster)
        features, columns = features or width, columns or names
    return Detected(
        format=framework,
        serialization=Serialization.JOBLIB if joblib else Serialization.PICKLE,
        entry=entry,
        framework_version="" if framework is Format.LIGHTGBM else version,
        algorithm=estimator.made_by.name,
        function=estimator.function,
        signature=_signature(estimator, features, columns),
        libraries=_libraries(found.imports),
        notes=(f"classes {', '.join(map(str, estimator.classes[:20]))}",) if estimator.classes else (),
    )


def read_skops(path: Path, entry: str) -> Detected:
    """Read a skops file. Raises Damaged when its root is no estimator that is known here."""
    schema = skops.read(path)
    framework = FRAMEWORKS.get(schema.root.module.split(".")[0])
    if framework is None:
        raise Damaged(f"it holds a {schema.root}, not an estimator of scikit-learn, XGBoost or LightGBM")
    mixed = any(item.name in estimators.MIXED for item in schema.imports)
    return Detected(
        format=framework,
        serialization=Serialization.SKOPS,
        entry=entry,
        framework_version=schema.sklearn_version if framework is Format.SKLEARN else "",
        algorithm=schema.root.name,
        function=functions.of_class(schema.root.module, schema.root.name),
        signature=None if mixed or not schema.features else _inputs(schema.features, schema.columns),
        libraries=_libraries(schema.imports),
    )


def _signature(estimator: Estimator, features: int, columns: tuple[str, ...]) -> Signature | None:
    if estimator.mixed or features <= 0 or estimator.function is Function.UNKNOWN:
        return None
    return _inputs(features, columns)


def _inputs(features: int, columns: tuple[str, ...]) -> Signature:
    return Signature(inputs=(signatures.table(features, columns),))


def _libraries(imports: tuple[Global, ...]) -> tuple[str, ...]:
    tops = {item.module.split(".")[0] for item in imports}
    return tuple(sorted(tops & {"sklearn", "xgboost", "lightgbm", "pandas", "scipy", "numpy", "joblib"}))


def _not_a_model(found: Reading) -> str:
    unsafe = (*refused(found.imports), *found.findings)
    if unsafe:
        return (
            f"UnsafeContent: loading it would import or run {'; '.join(unsafe[:MAX_NAMED])}, "
            "and it holds no estimator of scikit-learn, XGBoost or LightGBM"
        )
    root = found.root
    kind = str(root.made_by) if isinstance(root, Instance) else type(root).__name__
    return (
        f"it holds a {kind}, not an estimator of scikit-learn, XGBoost or LightGBM; "
        "write the fitted estimator itself, or publish a model.py that loads this file"
    )
