"""Compiled variants from publish to prediction, and the ways to do without them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier

from modelyard import Refused
from tests.support.command import modelyard as command
from tests.support.platform import Running

X, Y = make_classification(400, 6, random_state=3)
FOREST = RandomForestClassifier(40, random_state=3).fit(X, Y)


def answers(platform: Running, name: str) -> tuple[list[int], np.ndarray]:
    with platform.client() as client:
        answer = client.service(name).predict({"input": X[:50].tolist()})
    return list(answer["label"]), np.asarray(answer["probabilities"])


def test_a_forest_is_served_by_its_onnx_variant(platform: Running) -> None:
    with platform.client() as client:
        version = client.publish(FOREST, "forest", x_test=X)
        artifact = version.artifacts[0]
        decided = artifact.optimization
        assert (decided.wanted, decided.chosen) == ("auto", "onnx"), decided
        assert decided.attempt is not None
        parity = decided.attempt.parity
        assert parity is not None
        assert parity.held
        assert parity.label_mismatches == 0
        assert parity.rows > 500
        assert {speed.batch for speed in decided.attempt.speed} == {1, 100}
        assert all(speed.gain > 1 for speed in decided.attempt.speed)
        assert [file.path for file in artifact.variant] == ["variant.onnx"]
        assert "variant.onnx" not in [file.path for file in artifact.files]
        service = client.deploy("forest", name="forest")
        assert [(r.variant, r.inline) for r in service.view.status.replicas] == [("onnx", True)]
        assert "answering with onnx, inline" in client.deployments.explain("forest").summary
    assert "0 labels differ" in command(platform, "model", "show", "forest@1").out
    assert "onnx, inline" in command(platform, "status", "forest").out
    labels, probabilities = answers(platform, "forest")
    assert labels == FOREST.predict(X[:50]).tolist()
    np.testing.assert_allclose(probabilities, FOREST.predict_proba(X[:50]), atol=1e-9)


def test_a_deployment_may_ask_for_the_original(platform: Running) -> None:
    with platform.client() as client:
        client.publish(FOREST, "plain", x_test=X)
        service = client.deploy("plain", name="plain", variant="original")
        assert [(r.variant, r.inline) for r in service.view.status.replicas] == [("original", False)]
    labels, probabilities = answers(platform, "plain")
    assert labels == FOREST.predict(X[:50]).tolist()
    np.testing.assert_array_equal(probabilities, FOREST.predict_proba(X[:50]))


def test_bad_input_is_refused_in_the_original_s_words(platform: Running) -> None:
    row = X[:1].copy()
    row[0, 2] = 1e300
    said = {}
    with platform.client() as client:
        client.publish(FOREST, "strict", x_test=X)
        for variant in ("auto", "original"):
            service = client.deploy("strict", name=f"strict-{variant}", variant=variant)
            with pytest.raises(Exception, match="too large for dtype") as caught:
                service.predict({"input": row})
            said[variant] = (type(caught.value), str(caught.value).replace(f"strict-{variant}", "strict"))
    assert said["auto"] == said["original"]


def test_optimizing_can_be_left_out(platform: Running) -> None:
    with platform.client() as client:
        version = client.publish(FOREST, "off", x_test=X, optimize="off")
        assert (version.artifacts[0].optimization.chosen, version.artifacts[0].variant) == ("original", ())
        service = client.deploy("off", name="off")
        assert [r.variant for r in service.view.status.replicas] == ["original"]


def test_what_cannot_be_compiled_is_refused_by_name_when_it_was_demanded(platform: Running) -> None:
    with platform.client() as client:
        model = BaggingClassifier(n_estimators=3, random_state=0).fit(X, Y)
        with pytest.raises(Refused, match="BaggingClassifier has no treelite variant") as caught:
            client.publish(model, "demanded", x_test=X, optimize="treelite")
        assert caught.value.errors[0].path == "optimize"


def test_the_download_is_what_was_published(platform: Running, tmp_path: object) -> None:
    with platform.client() as client:
        version = client.publish(FOREST, "kept", x_test=X)
        written = client.models.download("kept", tmp_path)  # type: ignore[arg-type]
    assert [path.name for path in written] == [file.path for file in version.artifacts[0].files]
