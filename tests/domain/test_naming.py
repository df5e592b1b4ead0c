"""What names are admitted, and what the refusal says."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain import naming
from modelyard.domain.deployment import DeploymentSpec, Key, Stage
from modelyard.domain.errors import Invalid
from modelyard.domain.naming import ModelRef

BAD_NAMES = [
    "",
    "a" * 64,
    "a" * 300,
    "../etc",
    "a/b",
    "Churn",
    "-churn",
    "churn-",
    "churn_model",
    "churn.model",
    "churn\n",
    " churn",
    "сhurn",  # begins with a Cyrillic letter
    "ｃhurn",  # full width
    "churn\u200b",
    "churn\0",
    "٣",  # an Arabic digit
    "x@y",
]


@pytest.mark.parametrize("name", ["a", "churn", "churn-2", "0", "a" * 63])
def test_dns_labels_are_names(name: str) -> None:
    assert naming.require_name(name, "name") == name


@pytest.mark.parametrize("name", BAD_NAMES)
def test_other_names_are_refused_with_field_and_remedy(name: str) -> None:
    with pytest.raises(Invalid) as caught:
        naming.require_name(name, "metadata.name")
    assert [e.path for e in caught.value.errors] == ["metadata.name"]
    assert "lower-case letters" in caught.value.message
    assert len(caught.value.message) < 400
    assert caught.value.message.isprintable()


@given(st.text(max_size=80))
def test_a_name_that_is_suggested_is_valid(text: str) -> None:
    try:
        naming.require_name(text, "name")
    except Invalid as error:
        found = re.search(r"such as `([^`]*)`", error.message)
        assert found is None or naming.require_name(found[1], "name")


def test_a_look_alike_is_named() -> None:
    with pytest.raises(Invalid, match="CYRILLIC SMALL LETTER ES is not a-z"):
        naming.require_name("сhurn", "name")


@pytest.mark.parametrize("label", ["v2026.11.22.1", "2026-11-22", "rc_1", "1.0", "V2"])
def test_labels_are_admitted(label: str) -> None:
    assert naming.require_label(label, "label") == label


@pytest.mark.parametrize("label", ["", "3", "latest", "../x", "a b", "v1@2", "v1:2", ".x", "x" * 64, "vé"])
def test_labels_that_could_be_something_else_are_refused(label: str) -> None:
    with pytest.raises(Invalid, match=r"^label: .*such as `v2026\.11\.22\.1`"):
        naming.require_label(label, "label")


@pytest.mark.parametrize("alias", ["champion", "challenger-2"])
def test_aliases_are_admitted(alias: str) -> None:
    assert naming.require_alias(alias, "alias") == alias


@pytest.mark.parametrize("alias", ["", "3", "latest", "Champion", "a.b", "../x"])
def test_aliases_that_already_mean_something_are_refused(alias: str) -> None:
    with pytest.raises(Invalid, match=r"^alias: .*champion"):
        naming.require_alias(alias, "alias")


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("churn", ModelRef("churn", "latest")),
        ("churn@3", ModelRef("churn", "3")),
        ("churn:3", ModelRef("churn", "3")),
        ("churn@latest", ModelRef("churn", "latest")),
        ("churn@champion", ModelRef("churn", "champion")),
        ("churn@v2026.11.22.1", ModelRef("churn", "v2026.11.22.1")),
    ],
)
def test_model_references_are_read(text: str, ref: ModelRef) -> None:
    assert naming.parse_model_ref(text) == ref


@pytest.mark.parametrize(
    "text", ["", "@3", "churn@", "churn@0", "churn@03", "churn@-1", "churn@1.", "a/b@3", "churn@3@4"]
)
def test_broken_model_references_are_refused_with_their_field(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        naming.parse_model_ref(text, "spec.model")
    assert caught.value.errors[0].path == "spec.model"


def test_only_a_number_needs_no_looking_up() -> None:
    assert [naming.parse_model_ref(t).number for t in ("m@12", "m@latest", "m@v1")] == ["12", "", ""]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("churn", Key("default", "churn")),
        ("churn@test", Key("default", "churn", Stage.TEST)),
        ("bank/churn", Key("bank", "churn")),
        ("bank/churn@debug", Key("bank", "churn", Stage.DEBUG)),
        ("churn@production", Key("default", "churn")),
    ],
)
def test_service_references_are_read(text: str, key: Key) -> None:
    assert Key.parse(text) == key


@given(st.builds(Key, st.just("p1"), st.just("n-2"), st.sampled_from(Stage)))
def test_a_key_reads_back_as_itself(key: Key) -> None:
    assert Key.parse(str(key)) == key


@pytest.mark.parametrize(
    "text", ["", "/churn", "a/b/c", "churn@", "churn@prod", "churn@Test", "@test", "../x"]
)
def test_broken_service_references_are_refused(text: str) -> None:
    with pytest.raises(Invalid, match=r"^service: "):
        Key.parse(text)


def test_replica_names_differ_between_deployments_that_look_alike() -> None:
    one = naming.replica_name("churn", id=1, revision=2, ordinal=0)
    other = naming.replica_name("churn-1", id=2, revision=1, ordinal=0)
    assert one == "churn-1-2-0"
    assert one != other


@pytest.mark.parametrize(
    ("name", "text", "remedy"),
    [
        ("1X", "", "no digit first"),
        ("A=B", "", "use letters"),
        ("", "", "use letters"),
        ("Ä", "", "use letters"),
        ("MODELYARD_PROJECT", "", "choose another name"),
        ("OK", "a\0b", "config file"),
        ("OK", "\ud800", "config file"),
        ("OK", "x" * 100_001, "config file"),
    ],
)
def test_variables_that_a_process_cannot_have_are_refused(name: str, text: str, remedy: str) -> None:
    (error,) = naming.env_errors({name: text, "FINE": "a=b\nc"}, "spec.env")
    assert error.path.startswith("spec.env.")
    assert remedy in error.message


@pytest.mark.parametrize(
    ("name", "text", "remedy"),
    [
        ("../x", "", "no folders"),
        ("a/b", "", "no folders"),
        ("..", "", "no folders"),
        ("", "", "no folders"),
        ("x" * 201, "", "no folders"),
        ("ok.yaml", "\udfff", "UTF-8"),
        ("ok.yaml", "x" * (2**20 + 1), "publish it with the model"),
    ],
)
def test_files_that_could_leave_their_directory_are_refused(name: str, text: str, remedy: str) -> None:
    (error,) = naming.file_name_errors({name: text, "app.toml": "x = 1"}, "spec.config_files")
    assert error.path.startswith("spec.config_files.")
    assert remedy in error.message


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"replicas": -1}, "spec.replicas"),
        ({"max_surge": 0}, "spec.max_surge"),
        ({"drain_seconds": float("nan")}, "spec.drain_seconds"),
        ({"start_timeout_seconds": float("inf")}, "spec.start_timeout_seconds"),
        ({"env": {"MODELYARD_X": "1"}}, "spec.env.MODELYARD_X"),
        ({"config_files": {"..": ""}}, "spec.config_files.'..'"),
    ],
)
def test_a_spec_names_each_field_that_is_wrong(changes: dict[str, object], path: str) -> None:
    with pytest.raises(Invalid) as caught:
        DeploymentSpec(model="churn@1", **changes)  # type: ignore[arg-type]
    assert [e.path for e in caught.value.errors] == [path]
