"""What a project may say of its network."""

from __future__ import annotations

import pytest

from modelyard.domain import network
from modelyard.domain.errors import Invalid
from modelyard.domain.network import Network


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (Network(), ""),
        (Network(isolated=True), "isolated"),
        (
            Network(isolated=True, allow_projects=("b", "c"), allow_namespaces=("monitoring",)),
            "isolated, but for project b, project c, namespace monitoring",
        ),
    ],
)
def test_it_is_told_in_a_few_words(wish: Network, words: str) -> None:
    assert network.write(wish) == words


@pytest.mark.parametrize(
    ("given", "path", "words"),
    [
        ({"allow_projects": ("b",)}, "spec.network.allow_projects", "set isolated too"),
        ({"allow_namespaces": ("b",)}, "spec.network.allow_namespaces", "set isolated too"),
        ({"isolated": True, "allow_projects": ("B",)}, "spec.network.allow_projects[0]", "lower-case"),
        ({"isolated": True, "allow_namespaces": ("a", "")}, "spec.network.allow_namespaces[1]", "1 to 63"),
        ({"isolated": True, "allow_namespaces": ("a.b",)}, "spec.network.allow_namespaces[0]", "hyphens"),
        ({"isolated": True, "allow_namespaces": ("-a",)}, "spec.network.allow_namespaces[0]", "both ends"),
        ({"isolated": True, "allow_projects": ("a", "a")}, "spec.network.allow_projects[1]", "there twice"),
        (
            {"isolated": True, "allow_namespaces": tuple(f"n{n}" for n in range(101))},
            "spec.network.allow_namespaces",
            "100 are the most",
        ),
    ],
)
def test_what_is_no_name_or_opens_nothing_is_refused(given: dict[str, object], path: str, words: str) -> None:
    with pytest.raises(Invalid) as refused:
        Network(**given)  # type: ignore[arg-type]
    (error,) = refused.value.errors
    assert error.path == path
    assert words in error.message


def test_everything_wrong_is_told_at_once() -> None:
    with pytest.raises(Invalid) as refused:
        Network(isolated=True, allow_projects=("A",), allow_namespaces=("B",))
    assert len(refused.value.errors) == 2
