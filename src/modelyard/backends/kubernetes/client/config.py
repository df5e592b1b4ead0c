"""Where the API server is and who we are to it: a kubeconfig file, or the pod that we run in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to reach one API server."""

    server: str
    namespace: str = "default"
    """Of the context, for whoever names none."""


def load(environ: Mapping[str, str], *, kubeconfig: str = "", context: str = "") -> Access:
    """The access that a file's context gives; without a file, the pod's own, else the usual files.

    Raises Invalid that names the file and what is wrong with it.
    """
    raise NotImplementedError
