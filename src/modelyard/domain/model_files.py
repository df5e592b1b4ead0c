"""Where pods find a model's files, when the platform need not bring them: on a claim, or in an image."""

from __future__ import annotations

import re
from dataclasses import dataclass

from modelyard.domain import naming
from modelyard.domain.errors import FieldError, Invalid

_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,400}@sha256:[0-9a-f]{64}")
SCHEMES = ("pvc://", "oci://")
_FORMS = "`pvc://CLAIM/FOLDER` or `oci://REGISTRY/IMAGE@sha256:DIGEST#FOLDER`"


@dataclass(frozen=True, slots=True)
class InClaim:
    """A folder of a PersistentVolumeClaim of the project's namespace."""

    claim: str
    folder: str
    """Empty is all of it."""

    def __str__(self) -> str:
        return f"pvc://{self.claim}" + (f"/{self.folder}" if self.folder else "")


@dataclass(frozen=True, slots=True)
class InImage:
    """A folder of an image, which the node pulls as it pulls others."""

    reference: str
    """With its digest, so that it never changes."""
    folder: str
    """Empty is all of it."""

    def __str__(self) -> str:
        return f"oci://{self.reference}" + (f"#{self.folder}" if self.folder else "")


ModelFiles = InClaim | InImage


def parse(text: str, path: str = "model_files") -> ModelFiles | None:
    """What a text names; None for an empty one. Raises Invalid that names `path`."""
    scheme, _, rest = text.partition("://")
    match scheme if text else None:
        case None:
            return None
        case "pvc":
            claim, _, folder = rest.partition("/")
            if not naming.is_subdomain(claim):
                raise _invalid(path, f"{claim[:70]!a} is no name of a PersistentVolumeClaim; write {_FORMS}")
            return InClaim(claim, _folder(folder, path))
        case "oci":
            reference, _, folder = rest.partition("#")
            if not _IMAGE.fullmatch(reference) or "/" not in reference:
                message = (
                    f"{reference[:70]!a} is no image with its registry and its digest, without which it "
                    f"could change under a version; write {_FORMS}"
                )
                raise _invalid(path, message)
            return InImage(reference, _folder(folder, path))
        case _:
            raise _invalid(path, f"{text[:70]!a} is neither a claim nor an image; write {_FORMS}")


def is_address(text: str) -> bool:
    """Whether files are published from where they are, so that nothing is uploaded."""
    return text.startswith(("s3://", *SCHEMES))


def is_volume(text: str) -> bool:
    """Whether an address is meant to be one of these."""
    return text.startswith(SCHEMES)


def errors(text: str, path: str) -> list[FieldError]:
    """What is wrong with such a text, with its remedy."""
    try:
        parse(text, path)
    except Invalid as error:
        return list(error.errors)
    return []


def of_cluster_only(wanted: ModelFiles) -> str:
    """What a platform on one machine says of it."""
    return (
        f"{wanted} is a volume of a cluster, and this platform runs on one machine; publish the directory, "
        "and leave `model_files` empty, as files are not copied here anyway"
    )


def _folder(text: str, path: str) -> str:
    folder = text.strip("/")
    odd = any(part in ("", ".", "..") for part in folder.split("/")) if folder else False
    if odd or not folder.isprintable() or len(folder) > 500:
        raise _invalid(path, f"folder {text[:70]!a} must be a plain relative path without `..`")
    return folder


def _invalid(path: str, message: str) -> Invalid:
    return Invalid(f"{path}: {message}", errors=[FieldError(path, message)])
