"""The Helm chart: Helm itself lints it, and renders what the platform renders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

from modelyard.installing import chart, rendering, values
from tests.kubernetes.install.choices import CHOICES

CHART = Path(__file__).parents[3] / "deploy/helm/modelyard"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart as it is written now, which need not be what is committed."""
    directory = tmp_path_factory.mktemp("chart") / "modelyard"
    for name, text in chart.files().items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    return directory


def test_the_chart_that_is_committed_is_the_one_that_is_written() -> None:
    found = {str(path.relative_to(CHART)): path.read_text() for path in CHART.rglob("*") if path.is_file()}
    assert found == chart.files()


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_helm_finds_nothing_to_say(written: Path, choice: dict[str, Any]) -> None:
    report = helm_python.lint(written, choice, strict=True, kube_version="v1.37.0")
    told = [each for each in report["messages"] if "icon is recommended" not in str(each)]
    assert (told, report["errors"]) == ([], [])


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_helm_renders_what_the_platform_renders(written: Path, choice: dict[str, Any]) -> None:
    with helm_python.Chart.load(written) as loaded:
        files = loaded.render(choice, name="modelyard", namespace="platform")
    theirs = [yaml.safe_load(text) for name, text in files.items() if name.endswith(".yaml")]
    ours = rendering.manifests(values.of({**choice, "namespace": "platform"}))
    assert _by_place([each for each in theirs if each]) == _by_place(
        [each for each in ours if each["kind"] != "Namespace"]
    )


@pytest.mark.parametrize(
    ("choice", "named"),
    [
        ({"bind": {"htp_port": 1}}, "htp_port"),
        ({"bind": {"kind": "Ingress"}}, "kind"),
        ({"bind": {"http_port": "x"}}, "http_port"),
        ({"control_plane": {"env": {}}}, "env"),
        ({"unheard": True}, "unheard"),
    ],
)
def test_helm_refuses_values_that_nobody_knows(written: Path, choice: dict[str, Any], named: str) -> None:
    with (
        helm_python.Chart.load(written) as loaded,
        pytest.raises(helm_python.HelmError, match=named),
    ):
        loaded.validate_schema(choice)


def _by_place(manifests: list[Any]) -> dict[tuple[str, str], Any]:
    return {(each["kind"], each["metadata"]["name"]): each for each in manifests}


def test_no_file_of_the_chart_names_a_place_of_this_machine() -> None:
    for name, text in chart.files().items():
        assert os.getcwd() not in text, name
