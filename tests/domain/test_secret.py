"""How a spec names secrets, and where it may."""

from __future__ import annotations

import pytest

from modelyard.domain import mounts, secret
from modelyard.domain.deployment import DeploymentSpec
from modelyard.domain.health import Health, Probe
from modelyard.domain.secret import Reference, SecretValues
from modelyard.domain.server import Server, ServerKind

URL = "postgres://{{secret.db.USER}}:{{ secret.db.PASSWORD }}@{{K8S_HOST_IP}}/x"
GIVEN = {"db": SecretValues(mark="m", values={"USER": b"eve", "PASSWORD": "{{secret.db.USER}}ü".encode()})}


def spec(**fields: object) -> DeploymentSpec:
    return DeploymentSpec(**{"model": "churn@1", **fields})  # type: ignore[arg-type]


def serving(**fields: object) -> DeploymentSpec:
    server = Server(kind=ServerKind.SERVING, command=fields.pop("command", "serve"))  # type: ignore[arg-type]
    return spec(server=server, **fields)


def test_variables_name_values_by_secret_and_key() -> None:
    env = {"URL": URL, "PLAIN": "x", "CERT": "{{secret.tls-1.ca.crt}}"}
    assert secret.references(env) == (
        Reference("URL", "db", "USER"),
        Reference("URL", "db", "PASSWORD"),
        Reference("CERT", "tls-1", "ca.crt"),
    )
    assert secret.hidden(env) == {"URL", "CERT"}
    assert secret.references(env)[2].path == "spec.env.CERT"


def test_values_are_filled_in_once_and_nothing_else_is() -> None:
    assert secret.fill(URL, GIVEN) == "postgres://eve:{{secret.db.USER}}ü@{{K8S_HOST_IP}}/x"
    for text in (
        "{{secret.other.KEY}}",
        "{{secret.db.OTHER}}",
        "{{secret.db}}",
        "{secret.db.USER}",
        "{{ x }}",
    ):
        assert secret.fill(text, GIVEN) == text


def test_a_text_comes_apart_where_values_stand() -> None:
    assert list(secret.split("a{{secret.db.USER}}b{{secret.db}}")) == ["a", ("db", "USER"), "b{{secret.db}}"]
    assert list(secret.split("{{secret.db.USER}}")) == [("db", "USER")]
    assert list(secret.split("")) == []


def test_a_spec_names_what_it_mounts_too() -> None:
    wanted = spec(env={"URL": URL}, mounts=mounts.parse("1Gi(memory):/m, keys(secret):/keys"))
    assert secret.names(wanted) == {"db", "keys"}
    assert secret.mounted(wanted) == {"keys": "spec.mounts[1].source"}
    assert secret.reads(wanted, "db", {"PASSWORD", "NEW"})
    assert not secret.reads(wanted, "db", {"NEW"})
    assert secret.reads(wanted, "keys", {"NEW"})


@pytest.mark.parametrize("text", ["{{secret.}}", "{{secret.db}}", "{{secret.DB.KEY}}", "{{secret.db.a b}}"])
def test_what_names_no_value_is_told_by_its_field(text: str) -> None:
    (wrong,) = secret.spec_errors(spec(env={"URL": f"x{text}"}))
    assert wrong.path == "spec.env.URL"
    assert "{{secret.NAME.KEY}}" in wrong.message


HOLDS = {"API_KEY": "{{secret.db.PASSWORD}}"}


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("spec.server.command", serving(command="serve --key {{secret.db.PASSWORD}}")),
        ("spec.server.command", serving(command=("serve", "{{API_KEY}}"), env=HOLDS)),
        ("spec.health.liveness", spec(env=HOLDS, health=Health(liveness=Probe(command="ask {{API_KEY}}")))),
        ("spec.health.readiness", spec(health=Health(readiness=Probe(http="/{{secret.db.PASSWORD}}")))),
        ("spec.config_files.a.ini", spec(config_files={"a.ini": "key={{ secret.db.PASSWORD }}"})),
        ("spec.config", spec(env=HOLDS, config="---a.ini\nkey={{API_KEY}}\n")),
    ],
)
def test_no_value_comes_to_where_more_people_look(path: str, wanted: DeploymentSpec) -> None:
    (wrong,) = secret.spec_errors(wanted)
    assert wrong.path == path


def test_names_that_hold_no_secret_may_stand_anywhere() -> None:
    wanted = serving(command="serve {{PLAIN}} {{MODELYARD_PORT}}", env={"PLAIN": "x", **HOLDS})
    assert secret.spec_errors(wanted) == []


@pytest.mark.parametrize("key", ["", "a b", "../x", "..x", ".", "a/b", "ü", "k" * 254])
def test_keys_are_names_of_files(key: str) -> None:
    (wrong,) = secret.value_errors({key: b"hunter2"}, "values")
    assert "is not a key" in wrong.message
    assert "hunter2" not in wrong.message


def test_a_secret_has_a_megabyte_at_most() -> None:
    assert (
        secret.value_errors(
            {
                "k": b"x" * ((1 << 20) - 1),
            },
            "values",
        )
        == []
    )
    (wrong,) = secret.value_errors({"k": b"x" * (1 << 20)}, "values")
    assert "1048577 bytes" in wrong.message


def test_variables_carry_texts() -> None:
    assert secret.is_text("ü\n".encode())
    for value in (b"\xff", b"a\0b", b"x" * 100_001):
        assert not secret.is_text(value)


def test_values_are_not_shown_by_accident() -> None:
    assert "eve" not in repr(GIVEN)
