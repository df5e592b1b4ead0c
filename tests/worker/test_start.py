"""The host starts anywhere, lean, on old Pythons, and brings nothing of ours along."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import models
from tests.worker import process

PATHS = """
import sys
def predict(inputs):
    found = {name: module for name, module in sys.modules.items() if name.startswith("modelyard")}
    ours = sorted(module.__file__ for name, module in found.items() if name.startswith("modelyard_worker"))
    others = [name for name in found if not name.startswith("modelyard_worker")]
    return {"path": sys.path, "ours": ours, "others": others or ["none"]}
"""


@pytest.mark.parametrize("flags", [(), ("-I",)])
def test_nothing_beside_the_package_becomes_importable(flags: tuple[str, ...], tmp_path: Path) -> None:
    host = tmp_path / "elsewhere" / "modelyard_worker"
    shutil.copytree(process.package(), host, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "elsewhere" / "secret.py").write_text("")
    config = models.python_model(tmp_path / "m", PATHS).config(sample={"x": [1]})
    answer = process.inspect(config, tmp_path, *flags, host=host).result["sample_outputs"]
    assert not any(entry.startswith(str(tmp_path / "elsewhere")) for entry in answer["path"])
    assert answer["path"][0] == str(tmp_path / "m")
    assert all(path.startswith(str(host)) for path in answer["ours"])
    assert answer["others"] == ["none"]


def test_a_runtime_without_numpy_is_told_so(tmp_path: Path) -> None:
    config = models.python_model(tmp_path / "m", "def predict(inputs): return inputs\n").config()
    reason, text = process.inspect(config, tmp_path, "-S", "-I").failure
    assert reason == "MissingPackage"
    assert "the package numpy" in text


def test_the_code_is_valid_for_python_3_9() -> None:
    files = sorted(process.package().rglob("*.py"))
    assert len(files) > 20
    for path in files:
        ast.parse(path.read_text(), filename=str(path), feature_version=(3, 9))


def test_the_linter_agrees_for_python_3_9() -> None:
    ruff = Path(sys.executable).parent / "ruff"
    checked = subprocess.run(
        [
            ruff,
            "check",
            "--target-version",
            "py39",
            "--select",
            "UP,B905,F,FA102",
            "--ignore",
            "UP",
            process.package(),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


LEAN = """
import json, sys
sys.path.insert(0, {root!r})
from modelyard_worker import loaders
loaded = loaders.load(json.load(open({config!r})))
print(json.dumps([name for name in {names!r} if name in sys.modules]))
"""


def _imported(model: models.WrittenModel, names: list[str], directory: Path) -> list[str]:
    path = directory / "worker.json"
    path.write_text(json.dumps(model.config(signature={"sample": {"input": [models.IRIS_ROW]}})))
    source = LEAN.format(root=str(process.package().parent), config=str(path), names=names)
    ended = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    found: list[str] = json.loads(ended.stdout.splitlines()[-1])
    return found


def test_an_array_model_starts_without_what_it_does_not_use(tmp_path: Path) -> None:
    names = ["sklearn", "pandas", "rich", "scipy.stats"]
    assert _imported(models.sklearn_forest(tmp_path / "m"), names, tmp_path) == ["sklearn"]


@pytest.mark.parametrize("name", ["xgboost-json", "lightgbm-text"])
def test_a_booster_starts_without_scikit_learn(name: str, tmp_path: Path) -> None:
    library = name.split("-", maxsplit=1)[0]
    assert _imported(models.EVERY[name](tmp_path / "m"), [library, "sklearn", "pandas"], tmp_path) == [
        library
    ]


def test_the_command_line_alone_imports_no_numpy() -> None:
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", process.package() / "__main__.py", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "modelyard_worker.explain" in ended.stderr
    for name in ("numpy", "asyncio", "sklearn", "importlib.metadata"):
        assert f" {name}\n" not in ended.stderr


LATER = """
import sys
sys.path.insert(0, {root!r})
from modelyard_worker.loaders import lean
with lean.hidden("pandas"), lean.statistics_later():
    import sklearn.neighbors, sklearn.isotonic, sklearn.covariance
    assert "scipy.stats._stats_py" not in sys.modules
    assert type(sklearn.isotonic.spearmanr).__name__ == "_Stand"
import scipy.stats, pandas
assert sklearn.isotonic.spearmanr([1, 2, 3], [1, 2, 3]).statistic > 0.99
assert scipy.stats.norm.cdf(0) == 0.5
assert pandas.DataFrame is not None
import numpy as np
print(sklearn.neighbors.KNeighborsClassifier(3).fit(np.eye(4), [0, 1, 1, 1]).predict(np.eye(4)).tolist())
"""

WITHIN = """
import sys
sys.path.insert(0, {root!r})
from modelyard_worker.loaders import lean
with lean.statistics_later():
    from scipy.stats import rankdata
    from scipy.stats.mstats import mquantiles
print(type(rankdata).__name__, type(mquantiles).__name__)
"""


def test_statistics_that_were_put_off_are_there_when_they_are_used() -> None:
    source = LATER.format(root=str(process.package().parent))
    ended = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    assert ended.stdout.split() == ["[1,", "1,", "1,", "1]"], ended.stderr


def test_other_code_gets_the_real_statistics_at_once() -> None:
    source = WITHIN.format(root=str(process.package().parent))
    ended = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    assert ended.stdout.split() == ["function", "function"], ended.stderr


def test_threads_are_bounded_before_numeric_libraries_are_imported(tmp_path: Path) -> None:
    source = "import os\ndef predict(inputs): return [os.environ['OMP_NUM_THREADS']]\n"
    config = models.python_model(tmp_path / "m", source).config(sample={"x": [1]}, threads=3)
    assert process.inspect(config, tmp_path).result["sample_outputs"] == {"output": ["3"]}


def test_a_warning_about_versions_is_printed_once(tmp_path: Path) -> None:
    model = models.sklearn_forest(tmp_path / "m", "pickle")
    path = tmp_path / "m" / model.entry
    version = models.version("scikit-learn").encode()
    path.write_bytes(path.read_bytes().replace(version, b"0" * len(version)))
    outcome = process.inspect(model.config(framework_version=""), tmp_path)
    assert outcome.stderr.count("InconsistentVersionWarning") == 1
    assert outcome.result["framework_version"] == "0" * len(version)
