"""What the kubelet makes of variables that hold secrets is what one machine makes of them."""

from __future__ import annotations

import base64
from dataclasses import replace

import hypothesis.strategies as st
from hypothesis import example, given, settings

from modelyard.backends.kubernetes.kinds import Manifest
from modelyard.domain import secret, texts
from modelyard.domain.deployment import DeploymentSpec
from modelyard.domain.secret import SecretValues
from tests.kubernetes.render.cases import desired, objects
from tests.support.cluster.processes import environ

SECRETS = {
    "a": SecretValues(mark="m1", values={"KEY": b"$(HOME) $$ hunter2", "x.y": b"hunter3"}),
    "b-1": SecretValues(mark="m2", values={"KEY": b"{{secret.a.KEY}}"}),
}
_pieces = st.sampled_from(
    [
        "{{secret.a.KEY}}", "{{ secret.a.x.y }}", "{{secret.b-1.KEY}}", "{{secret.a}}",
        "$", "$$", "$(", "HOME)", "x", "{{", "$model_name", "{{MODELYARD_STAGE}}",
    ]
)  # fmt: skip


def made(found: tuple[Manifest, ...]) -> dict[str, str]:
    """The environment as a kubelet makes it, but for what only a node knows."""
    kept = {each["metadata"]["name"]: each["data"] for each in found if each["kind"] == "Secret"}
    (deployment,) = (each for each in found if each["kind"] == "Deployment")
    env: dict[str, str] = {}
    for each in deployment["spec"]["template"]["spec"]["containers"][0]["env"]:
        reference = each.get("valueFrom", {}).get("secretKeyRef")
        if reference:
            env[each["name"]] = base64.b64decode(kept[reference["name"]][reference["key"]]).decode()
        elif "value" in each:
            env[each["name"]] = environ.expand(each["value"], env)
    return env


@settings(deadline=None, max_examples=150)
@given(st.lists(_pieces, max_size=6).map("".join))
@example("$${{secret.a.KEY}}$({{secret.b-1.KEY}}$")
@example("${{secret.a.x.y}}")
def test_a_variable_is_what_its_spec_says(text: str) -> None:
    wish = desired(DeploymentSpec(model="churn@3", env={"WANTED": text}))
    wish = replace(wish, launch=replace(wish.launch, secrets=SECRETS))
    found = objects(wish)
    names = {"KUBEFLOW_MODEL_NAME": "churn", "MODELYARD_STAGE": "production"}
    assert made(found)["WANTED"] == secret.fill(texts.fill(text, names), SECRETS)
    shown = [each for each in found if each["kind"] != "Secret"]
    assert "hunter" not in repr(shown)
