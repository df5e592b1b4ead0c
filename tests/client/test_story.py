"""The SDK from a fitted object to an undeployed service, in both its forms."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import httpx2
import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import modelyard
from modelyard.domain.access import Role, Verb
from modelyard.domain.deployment import Failure
from modelyard.domain.model import Function
from modelyard.domain.project import ProjectSpec, Trust
from modelyard.domain.runtime import RuntimeSpec
from modelyard.domain.views import State
from tests.client.doubler import Doubler
from tests.support import models as samples
from tests.support.faces import Live, opened


@pytest.fixture(scope="module")
def iris() -> tuple[pd.DataFrame, pd.Series]:
    x, y = load_iris(return_X_y=True, as_frame=True)
    return x, y


def test_a_fitted_model_becomes_a_service_and_is_undeployed(client: modelyard.Client, iris: Any) -> None:
    x, y = iris
    seen: list[tuple[int, int]] = []
    version = client.publish(
        LogisticRegression(max_iter=1000).fit(x, y), "iris", x_test=x, y_test=y,
        label="v1.0", on_progress=lambda sent, total: seen.append((sent, total)),
    )  # fmt: skip
    assert version.ref == "iris@1"
    assert version.artifacts[0].function is Function.CLASSIFICATION
    assert isinstance(version.metrics, dict)
    assert version.metrics["accuracy"] > 0.9
    assert version.artifacts[0].signature.inputs[0].columns == tuple(x.columns)
    assert version.artifacts[0].signature.sample == {"input": [x.iloc[0].tolist()]}
    assert any(p.startswith("scikit-learn==") for p in version.requirements.packages)
    assert seen[-1][0] == seen[-1][1] > 0

    tested = client.test("iris@v1.0", x.head(2))
    assert tested.outputs == {"prediction": [1.0]}
    assert tested.stdout == "hello from the model\n"

    service = client.deploy("iris", name="iris", replicas=2, cpu=0.5, memory="64Mi")
    assert service.view.state is State.RUNNING
    assert service.view.spec.model == "iris@1"
    assert service.url.endswith("/iris")
    assert service.token.startswith("mys_")
    sums = x.sum(axis=1).to_numpy()
    frame = service.predict(x.head(3))
    assert isinstance(frame, pd.DataFrame)
    np.testing.assert_allclose(frame["prediction"], sums[:3])
    np.testing.assert_allclose(service.predict(x.to_numpy())["prediction"], sums)
    np.testing.assert_allclose(service.predict(x.to_numpy(np.float32))["prediction"], sums, rtol=1e-5)
    np.testing.assert_allclose(service.predict({"input": x.head(2).to_numpy()})["prediction"], sums[:2])
    np.testing.assert_allclose(service.predict(x.head(2).to_numpy().tolist())["prediction"], sums[:2])
    records = service.predict(x.head(2).to_dict(orient="records"))
    assert [each["prediction"] for each in records] == pytest.approx(sums[:2])
    assert client.predict("iris", x.head(1))["prediction"][0] == pytest.approx(sums[0])

    client.undeploy("iris")
    with pytest.raises(modelyard.NotFound):
        client.deployments.get("iris")
    client.models.delete("iris@1")
    with pytest.raises(modelyard.NotFound):
        client.models.version("iris@1")


def test_every_kind_of_object_is_published_in_its_own_format(
    client: modelyard.Client, iris: Any, tmp_path: Path
) -> None:
    x, y = iris
    onnx = pytest.importorskip("onnx")
    written = samples.onnx_sum(tmp_path / "onnx")
    graph = onnx.load(next(Path(written.directory).glob("*.onnx")))
    made = {
        "sklearn": LinearRegression().fit(x, y),
        "xgboost": xgboost.train(
            {"objective": "multi:softmax", "num_class": 3}, xgboost.DMatrix(x.to_numpy(), y), 2
        ),
        "lightgbm": lightgbm.train({"verbose": -1}, lightgbm.Dataset(x.to_numpy(), y), 2),
        "onnx": graph,
        "python": Doubler,
    }
    for format, model in made.items():
        version = client.publish(model, f"a-{format}")
        assert version.artifacts[0].format.value == format, format
    assert (
        client.publish(xgboost.XGBClassifier(n_estimators=2).fit(x, y), "wrapped").artifacts[0].algorithm
        == "XGBClassifier"
    )
    assert (
        client.publish(lightgbm.LGBMRegressor(n_estimators=2, verbose=-1).fit(x, y), "wrapped").version == "2"
    )


def test_several_models_travel_in_one_version_and_come_back_apart(
    client: modelyard.Client, iris: Any, tmp_path: Path
) -> None:
    x, y = iris
    both = {"first": LinearRegression().fit(x, y), "second": Doubler}
    version = client.publish(both, "bundle")
    assert [a.name for a in version.artifacts] == ["first", "second"]
    files = client.models.download("bundle@1", tmp_path)
    assert {f.relative_to(tmp_path).as_posix() for f in files} == {"first/model.joblib", "second/model.py"}
    only = client.models.download("bundle@1", tmp_path / "only", artifact="second")
    assert [f.relative_to(tmp_path / "only").as_posix() for f in only] == ["model.py"]
    with pytest.raises(modelyard.NotFound):
        client.models.download("bundle@1", tmp_path, artifact="third")


def test_a_table_of_mixed_types_keeps_its_columns(client: modelyard.Client) -> None:
    table = pd.DataFrame({"age": [41, 23, 35], "plan": ["basic", "plus", "basic"], "fee": [1.5, 2.5, 3.5]})
    model = make_pipeline(
        make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["plan"]), remainder="passthrough"),
        LogisticRegression(),
    ).fit(table, [0, 1, 0])
    version = client.publish(model, "churn", x_test=table, y_test=pd.Series([0, 1, 0], name="left"))
    signature = version.artifacts[0].signature
    assert [(t.name, t.datatype.value) for t in signature.inputs] == [
        ("age", "INT64"),
        ("plan", "BYTES"),
        ("fee", "FP64"),
    ]
    assert [t.name for t in signature.targets] == ["left"]
    service = client.deploy("churn@1", name="churn")
    answer = service.predict(table)
    assert answer["prediction"].tolist() == [42.5, 25.5, 38.5]
    assert answer["text"].tolist() == ["basic", "plus", "basic"]
    arrays = service.predict({name: table[name].to_numpy() for name in table})
    assert arrays["text"].tolist() == ["basic", "plus", "basic"]
    with pytest.raises(modelyard.Invalid, match="no input `agee`"):
        service.predict({"agee": [1], "plan": ["basic"], "fee": [1.0]})
    with pytest.raises(modelyard.Invalid, match="several inputs"):
        service.predict([[1, "basic", 1.0]])
    with pytest.raises(modelyard.Invalid, match="column"):
        service.predict(table[["age"]])


def test_operations_come_back_as_what_they_did(client: modelyard.Client, iris: Any) -> None:
    x, y = iris
    for strength in (0.1, 1.0):
        client.publish(LogisticRegression(C=strength, max_iter=1000).fit(x, y), "iris")
    client.deploy("iris@1", name="iris")
    client.deploy("iris@2", name="iris")
    assert [r.spec.model for r in client.deployments.history("iris")] == ["iris@2", "iris@1"]
    client.deployments.roll_back("iris")
    assert client.deployments.wait("iris").spec.model == "iris@1"
    assert client.deployments.scale("iris", 2).spec.replicas == 2
    assert client.deployments.wait("iris").status.ready_replicas == 2
    scaled = client.deployments.scale(
        "iris", autoscaling={"max": 3, "on": "qps:9"}, priority={"level": "low"}
    )
    assert (scaled.spec.replicas, scaled.spec.autoscaling.on, scaled.spec.priority.level) == (
        2,
        "qps:9",
        "low",
    )
    scaled = client.deployments.scale("iris", autoscaling={"max": 2})
    assert (scaled.spec.autoscaling.max, scaled.spec.autoscaling.on, scaled.revision) == (2, "qps:9", 3)
    client.deployments.scale("iris", autoscaling={"max": None, "on": None})
    client.deployments.restart("iris")
    client.deployments.wait("iris")
    token = client.deployments.token("iris")
    assert client.deployments.rotate_token("iris") != token
    assert client.deployments.copy("iris", "twin").spec.replicas == 0
    assert {v.service for v in client.deployments.list()} == {"iris", "twin"}
    assert client.deployments.patch("iris", {"env": {"A": "1"}}).spec.env == {"A": "1"}
    assert client.deployments.explain("iris").summary
    assert client.metrics("iris").service == "iris"
    assert "Deployed" in {event.reason for event in client.deployments.events("iris")}
    assert [text for _, text in client.deployments.logs("iris", tail=1)]
    before = client.deployments.get("iris")
    preview = client.deployments.apply("iris", before.spec, dry_run=True)
    assert preview.message == "nothing changes"
    with pytest.raises(modelyard.Conflict) as caught:
        client.deployments.apply("iris", before.spec, generation=1)
    assert caught.value.generation == before.generation


def test_a_service_can_be_made_offline_once_and_every_address_is_listed(
    client: modelyard.Client, iris: Any
) -> None:
    x, y = iris
    client.publish(LogisticRegression(max_iter=1000).fit(x, y), "iris")
    made = client.deployments.create_offline("iris@latest")
    assert (made.name, made.spec.model, made.spec.replicas) == ("iris-1", "iris@1", 0)
    with pytest.raises(modelyard.Conflict, match="already exists"):
        client.deployments.create_offline("iris@1")
    client.deployments.create_offline("iris@1", name="second")
    listed = {each.service: each for each in client.deployments.endpoints()}
    assert set(listed) == {"iris-1", "second"}
    assert listed["iris-1"].url.endswith(listed["iris-1"].addresses.path)
    assert listed["iris-1"].requests == 0


def test_words_about_models_can_be_changed(client: modelyard.Client, iris: Any) -> None:
    x, y = iris
    client.publish(LinearRegression().fit(x, y), "iris", description="first")
    assert client.models.update("iris", description="flowers").description == "flowers"
    assert client.models.update_version("iris@1", label="v9").label == "v9"
    assert client.models.set_alias("iris", "champion", "v9").aliases == {"champion": "1"}
    assert client.models.version("iris@champion").version == "1"
    client.models.delete_alias("iris", "champion")
    assert client.models.get("iris").aliases == {}
    assert client.models.validate("iris@1").validation.value == "passed"
    assert [m.name for m in client.models.list()] == ["iris"]
    assert [v.version for v in client.models.versions("iris")] == ["1"]
    client.models.delete("iris")
    assert client.models.list() == ()


def test_a_file_is_validated_without_being_published(client: modelyard.Client, tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    path.write_text("def predict(inputs):\n    return inputs\n")
    checked = client.models.check(path)
    assert checked.version == ""
    assert checked.artifacts[0].format.value == "python"
    assert client.models.list() == ()
    path.write_text("no python(")
    with pytest.raises((modelyard.Refused, modelyard.Invalid)):
        client.models.check(path)


def test_a_test_waits_while_its_runtime_is_built(client: modelyard.Client) -> None:
    client.publish(Doubler, "doubler")
    client.runtimes.apply("small", RuntimeSpec(packages=("numpy==2.0.0",)))
    assert client.test("doubler@1", [[1.0]], runtime="small").runtime == "small"


def test_projects_runtimes_and_accounts(client: modelyard.Client) -> None:
    client.projects.apply(client.project, ProjectSpec(description="ours", trust=Trust.NEVER))
    assert client.projects.get(client.project).spec.trust is Trust.NEVER
    assert client.project in {p.name for p in client.projects.list()}
    runtime = client.runtimes.apply("small", RuntimeSpec(packages=("numpy==2.0.0",)))
    assert runtime.spec.packages == ("numpy==2.0.0",)
    assert [r.name for r in client.runtimes.list()] == ["host", "small"]
    client.runtimes.build("small")
    assert client.runtimes.get("small").name == "small"
    client.runtimes.delete("small")
    user = f"user-{client.project}"
    client.accounts.create_user(user, password="correct horse battery")
    assert client.projects.set_member(client.project, user, Role.VIEWER).role is Role.VIEWER
    assert user in {m.user for m in client.projects.members(client.project)}
    client.projects.remove_member(client.project, user)
    assert client.accounts.login(user, "correct horse battery").startswith("myu_")
    token, secret = client.accounts.create_token(description="ci", scope=(Verb.READ,), days=1)
    assert token.scope == (Verb.READ,)
    assert secret.startswith("myu_")
    assert token.id in {t.id for t in client.accounts.tokens()}
    client.accounts.revoke_token(token.id)
    assert client.accounts.update_user(user, disabled=True).disabled
    assert client.accounts.login_link().startswith("http")
    client.accounts.delete_user(user)
    assert user not in {u.name for u in client.accounts.users()}
    assert client.accounts.whoami().administrator
    assert client.accounts.nodes()[0].name == "memory"
    assert client.system().version == "1.2.3"
    assert client.projects.events(client.project, limit=5)


async def test_the_asynchronous_client_does_the_same(installation: Live, iris: Any) -> None:
    x, y = iris
    async with modelyard.AsyncClient(
        installation.url, installation.token, project="a-sync", environ={}
    ) as client:
        await client.projects.apply("a-sync", ProjectSpec())
        version = await client.publish(LinearRegression().fit(x, y), "iris", x_test=x, y_test=y)
        assert version.ref == "iris@1"
        assert (await client.test("iris@1")).outputs == {"prediction": [1.0]}
        service = await client.deploy("iris@1", name="iris")
        answer = await service.predict(x.head(2))
        assert answer["prediction"].tolist() == pytest.approx(x.head(2).sum(axis=1))
        assert [line async for line in client.deployments.logs("iris", tail=1)]
        assert (await service.refresh()).state is State.RUNNING
        await client.undeploy("iris")


async def test_the_asynchronous_client_needs_no_socket(tmp_path: Path) -> None:
    async with opened(tmp_path / "home") as faces, faces.http() as http:
        client = modelyard.AsyncClient(
            faces.platform.public_url, await faces.secret(), http=http, environ={}, project="default"
        )
        assert (await client.publish(Doubler, "doubler")).ref == "doubler@1"
        with pytest.raises(modelyard.NotFound):
            await client.service("doubler")


def test_a_service_that_does_not_come_up_is_explained(client: modelyard.Client, installation: Live) -> None:
    client.publish(Doubler, "doubler")
    before = installation.faces.backend.load
    installation.faces.backend.load = lambda launch: Failure(reason="OutOfMemory", message="needs 3Gi")
    try:
        with pytest.raises(modelyard.TimedOut, match="not ready after 1 s") as caught:
            client.deploy("doubler", name="doubler", timeout_seconds=1.0)
        assert "doubler" in caught.value.message
    finally:
        installation.faces.backend.load = before


def test_errors_come_back_as_the_class_that_the_server_raised(
    client: modelyard.Client, installation: Live, tmp_path: Path
) -> None:
    with pytest.raises(modelyard.NotFound, match="nothing"):
        client.models.get("nothing")
    with pytest.raises(modelyard.Invalid) as caught:
        client.deployments.patch("x@y", {})
    assert caught.value.errors
    with pytest.raises(modelyard.Unauthenticated):
        modelyard.Client(installation.url, "myu_wrong", environ={}).accounts.whoami()
    _, secret = client.accounts.create_token(scope=(Verb.READ,))
    with pytest.raises(modelyard.Forbidden):
        modelyard.Client(installation.url, secret, environ={}).accounts.users()
    with pytest.raises(modelyard.Conflict):
        client.projects.delete("default")
    harm = tmp_path / "harm.pkl"
    harm.write_bytes(pickle.dumps(os.getcwd))
    with pytest.raises(modelyard.Refused, match="getcwd"):
        client.publish(harm, "harm")


def test_nobody_there_is_unreachable_and_says_what_to_do() -> None:
    client = modelyard.Client("http://127.0.0.1:1", "t", environ={})
    with client, pytest.raises(modelyard.Unavailable, match="modelyard up"):
        client.system()


async def test_nobody_there_is_unreachable_for_streams_too() -> None:
    async with modelyard.AsyncClient(
        "http://127.0.0.1:1", "t", environ={}, http=httpx2.AsyncClient()
    ) as client:
        with pytest.raises(modelyard.Unavailable):
            _ = [line async for line in client.deployments.logs("x")]
