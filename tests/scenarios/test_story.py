"""From a fitted model to a service, and to nothing again."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from tests.scenarios.engines import Engine, until


def test_a_fitted_model_is_tested_deployed_asked_and_leaves_nothing(engine: Engine) -> None:
    x, y = load_iris(return_X_y=True, as_frame=True)
    model = LogisticRegression(max_iter=1000).fit(x, y)
    with engine.client() as client:
        assert client.publish(model, "story", x_test=x, y_test=y).ref == "story@1"
        tested = client.test("story@1", x.head(3))
        assert tested.outputs["label"] == model.predict(x.head(3)).tolist()
        service = client.deploy("story@1", name="story", replicas=2)
        assert service.predict(x)["label"].tolist() == model.predict(x).tolist()
        probabilities = service.predict(x.to_numpy())["probabilities"]
        np.testing.assert_allclose(probabilities, model.predict_proba(x), rtol=1e-6)
    assert "is healthy" in engine.cli("explain", "story")
    engine.cli("undeploy", "story")
    engine.cli("status", "story", code=3)
    until(lambda: not engine.left("story"), "nothing is left of the service")
    engine.cli("model", "delete", "story")
