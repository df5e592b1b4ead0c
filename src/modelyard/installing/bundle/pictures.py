"""Images in a bundle: copied with the program that is there, else listed with the commands that would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelyard.installing.bundle import programs
from modelyard.installing.bundle.programs import Command, Say

_COPIERS = ("skopeo", "crane", "docker")
_LOADERS = ("k3s", "microk8s", "ctr", "docker")
LIST = "images.txt"
_ANEW = "find * -type f ! -name SHA256SUMS -exec sha256sum {} + > SHA256SUMS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One image of the bundle."""

    reference: str
    archive: str
    """Its file in the bundle, whether or not it is there yet."""
    digest: str = ""
    """What the registry said it is; empty when nobody could be asked."""


def planned(references: Sequence[str]) -> tuple[Picture, ...]:
    """What each image's file will be called."""
    return tuple(Picture(reference=each, archive=f"images/{_file(each)}.tar") for each in references)


def bring(pictures: Sequence[Picture], directory: Path, *, say: Say) -> tuple[Picture, ...]:
    """Copy the images into the bundle, if a program here can; otherwise say how."""
    program = programs.first(_COPIERS)
    if not program:
        say("none of skopeo, crane and docker is on the PATH: images are listed in images.txt, not copied")
        return tuple(pictures)
    (directory / "images").mkdir(exist_ok=True)
    return tuple(_copied(program, each, directory, say) for each in pictures)


def load(pictures: Sequence[Picture], directory: Path, *, say: Say) -> None:
    """Give the bundle's images to this machine's containers, if a program here can; otherwise say how."""
    there = [each for each in pictures if (directory / each.archive).exists()]
    missing = [each.reference for each in pictures if each not in there]
    if missing:
        say(f"not in the bundle, so the cluster must have them or pull them: {', '.join(missing)}")
    program = programs.first(_LOADERS)
    for each in there:
        command = load_command(program or "ctr", str(directory / each.archive))
        if program:
            programs.run(command, f"image {each.reference}")
            say(f"image {each.reference} loaded with {program}")
        else:
            say(f"on each node: {' '.join(command)}")


def copy_commands(program: str, picture: Picture) -> tuple[Command, ...]:
    """What brings an image into a file."""
    match program:
        case "skopeo":
            target = f"docker-archive:{picture.archive}:{picture.reference}"
            return (("skopeo", "copy", f"docker://{picture.reference}", target),)
        case "crane":
            return (("crane", "pull", picture.reference, picture.archive),)
        case _:
            return (
                ("docker", "pull", picture.reference),
                ("docker", "save", "--output", picture.archive, picture.reference),
            )


def load_command(program: str, archive: str) -> Command:
    """What gives an image's file to the containers of this machine."""
    match program:
        case "k3s":
            return ("k3s", "ctr", "images", "import", archive)
        case "microk8s":
            return ("microk8s", "images", "import", archive)
        case "docker":
            return ("docker", "load", "--input", archive)
        case _:
            return ("ctr", "--namespace", "k8s.io", "images", "import", archive)


def listing(pictures: Sequence[Picture]) -> str:
    """The images, and the exact commands for those whose files are not there."""
    lines = [f"{each.reference} {each.digest or '-'} {each.archive}" for each in pictures]
    lines += [
        "",
        "# Run in this directory, where the registry can be reached, what one of these programs does:",
    ]
    lines += ["#   mkdir -p images"]
    for program in _COPIERS:
        lines += [f"#   {' '.join(command)}" for each in pictures for command in copy_commands(program, each)]
    lines += [f"# and then: {_ANEW}"]
    return "\n".join(lines) + "\n"


def _copied(program: str, picture: Picture, directory: Path, say: Say) -> Picture:
    target = Picture(reference=picture.reference, archive=str(directory / picture.archive))
    for command in copy_commands(program, target):
        programs.run(command, f"image {picture.reference}")
    say(f"image {picture.reference} copied with {program}")
    digest = programs.run(_digest_command(program, picture.reference), f"digest of {picture.reference}")
    return Picture(reference=picture.reference, archive=picture.archive, digest=digest.strip().split("@")[-1])


def _digest_command(program: str, reference: str) -> Command:
    match program:
        case "skopeo":
            return ("skopeo", "inspect", "--format", "{{.Digest}}", f"docker://{reference}")
        case "crane":
            return ("crane", "digest", reference)
        case _:
            return ("docker", "image", "inspect", "--format", "{{index .RepoDigests 0}}", reference)


def _file(reference: str) -> str:
    return "".join(each if each.isalnum() or each in "._-" else "_" for each in reference)
