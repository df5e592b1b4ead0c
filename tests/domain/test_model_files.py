"""Where model files can lie on a cluster, and what is said of anything else."""

from __future__ import annotations

import pytest

from modelyard.domain import model_files
from modelyard.domain.deployment import DeploymentSpec
from modelyard.domain.errors import Invalid
from modelyard.domain.model_files import InClaim, InImage
from modelyard.domain.server import Server, ServerKind

DIGEST = f"@sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("pvc://models", InClaim("models", "")),
        ("pvc://models/churn/3", InClaim("models", "churn/3")),
        ("pvc://models/churn/", InClaim("models", "churn")),
        (f"oci://reg.example.org:5000/a/b:7{DIGEST}", InImage(f"reg.example.org:5000/a/b:7{DIGEST}", "")),
        (f"oci://reg/b{DIGEST}#models/1", InImage(f"reg/b{DIGEST}", "models/1")),
    ],
)
def test_claims_and_images_are_read_and_written(text: str, meant: InClaim | InImage) -> None:
    assert model_files.parse(text) == meant
    assert model_files.parse(str(meant)) == meant
    assert DeploymentSpec(model="churn@3", model_files=text).model_files == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("s3://bucket/key", "neither a claim nor an image"),
        ("models", "neither a claim nor an image"),
        ("://", "neither a claim nor an image"),
        ("pvc://", "no name of a PersistentVolumeClaim"),
        ("pvc://Models", "no name of a PersistentVolumeClaim"),
        ("pvc://models/../other", "without `..`"),
        ("pvc://models/a//b", "plain relative path"),
        ("pvc://models/a\nb", "plain relative path"),
        ("oci://reg/churn:7", "its digest"),
        (f"oci://churn{DIGEST}", "its registry"),
        (f"oci://reg/b{DIGEST}#../x", "without `..`"),
    ],
)
def test_anything_else_is_refused_with_the_remedy(text: str, words: str) -> None:
    with pytest.raises(Invalid, match="model_files") as caught:
        DeploymentSpec(model="churn@3", model_files=text)
    (wrong,) = caught.value.errors
    assert wrong.path == "spec.model_files"
    assert words in wrong.message


def test_files_without_a_version_to_compare_them_with_are_refused() -> None:
    server = Server(kind=ServerKind.SERVING, image="a/b:1", command="serve")
    with pytest.raises(Invalid, match=r"spec\.model_files: names the files of a version"):
        DeploymentSpec(server=server, model_files="pvc://models")
