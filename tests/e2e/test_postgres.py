"""The main story on PostgreSQL, which is restarted in its middle."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import httpx2
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

import modelyard
from tests.support import postgres
from tests.support.command import modelyard as command
from tests.support.command import until
from tests.support.platform import Running
from tests.support.postgres import Postgres


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with postgres.running() as server:
        yield server


@pytest.fixture(scope="module")
def platform(database: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("postgres") / "home"
    running = Running(home, flags=("--store", database.url)).start()
    yield running
    running.stop()


def test_services_go_on_and_the_control_plane_recovers_when_postgresql_goes_and_comes_back(
    platform: Running, database: Postgres
) -> None:
    x, y = load_iris(return_X_y=True)
    models = LogisticRegression(max_iter=500).fit(x, y), DecisionTreeClassifier(random_state=0).fit(x, y)
    with platform.client() as client:
        for model in models:
            client.publish(model, "iris", x_test=x)
        service = client.deploy("iris@1", name="iris", replicas=2)
        before = {r.name: r.pid for r in client.deployments.get("iris").status.replicas}

        for how in (signal.SIGINT, signal.SIGQUIT):  # stopped in order, and crashed
            database.stop(how=how)
            assert service.predict(x)["label"].tolist() == models[0].predict(x).tolist()
            with pytest.raises(modelyard.Unavailable) as away:
                client.deployments.get("iris")
            assert "postgresql://" not in str(away.value)
            database.start()
            back = time.monotonic()
            until(lambda: answers(platform, client.connection.token), "the control plane is back")
            print(f"the API answered {time.monotonic() - back:.2f} s after PostgreSQL was back")
            assert {r.name: r.pid for r in client.deployments.get("iris").status.replicas} == before

        client.deploy("iris@2", name="iris", replicas=2)
        assert service.predict(x)["label"].tolist() == models[1].predict(x).tolist()
        platform.kill()
        assert service.predict(x)["label"].tolist() == models[1].predict(x).tolist()
        platform.start()
        command(platform, "rollback", "iris")
        assert service.predict(x)["label"].tolist() == models[0].predict(x).tolist()
        assert [r.spec.model for r in client.deployments.history("iris")] == ["iris@1", "iris@2", "iris@1"]
        client.undeploy("iris")
    assert not [p for p in platform.processes() if "default/iris" in " ".join(p.cmdline())]


def test_a_platform_whose_database_is_away_says_so_at_the_start(
    database: Postgres, platform: Running, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("away") / "home"
    nowhere = Running(home)
    url = "postgresql://somebody:sesame@127.0.0.1:1/modelyard"
    said = command(nowhere, "up", "--port", str(nowhere.port), "--store", url, code=1, seconds=90)
    assert "sesame" not in said.everything
    assert "database" in said.err.lower() or "postgresql" in said.err.lower()
    assert nowhere.processes() == []


def answers(platform: Running, token: str) -> bool:
    url, headers = f"{platform.url}/api/v1/projects", {"authorization": f"Bearer {token}"}
    return httpx2.get(url, headers=headers, timeout=10).status_code == 200
