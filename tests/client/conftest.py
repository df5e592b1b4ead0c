"""One installation on loopback for all tests of the SDK; each test has a project of its own in it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

import modelyard
from modelyard.domain.project import ProjectSpec
from tests.support.faces import Live, live

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live(tmp_path_factory.mktemp("sdk") / "home") as made:
        yield made


@pytest.fixture
def client(installation: Live) -> Iterator[modelyard.Client]:
    project = f"project-{next(_numbers)}"
    with modelyard.Client(installation.url, installation.token, project=project, environ={}) as made:
        made.projects.apply(project, ProjectSpec())
        yield made
