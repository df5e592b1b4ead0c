"""How a fetch ends: an exit code that says what went wrong, and one line for people."""

from __future__ import annotations

import os
import re
import sys
from typing import Optional

OK = 0
USAGE = 2
"""The command line or the manifest is wrong."""
NOT_FOUND = 3
DIFFERS = 4
"""What came is not what was published: another size or checksum."""
NO_SPACE = 5
REFUSED = 6
"""The server does not accept the token or the keys."""
UNREACHABLE = 7
"""Nobody answered, or only with errors, until patience ended."""
PACKAGES = 8
"""The environment cannot be made: a package is missing, or is not what was locked."""
INTERRUPTED = 143

REASONS = {
    USAGE: "ManifestInvalid",
    NOT_FOUND: "ArtifactNotFound",
    DIFFERS: "ArtifactCorrupt",
    NO_SPACE: "DiskFull",
    REFUSED: "ArtifactRefused",
    UNREACHABLE: "ArtifactUnreachable",
    PACKAGES: "RuntimeBuildFailed",
}
TERMINATION_LOG = "/dev/termination-log"
"""Where Kubernetes reads why a container ended."""
_SECRETS = re.compile(
    r"(?i)(bearer\s+)\S+|(://)[^/@\s]+@|([?&](?:x-amz-[a-z-]+|token|signature|sig)=)[^&\s]+"
)


class Failed(Exception):
    """The fetch cannot succeed; carries its exit code and its reason."""

    def __init__(self, code: int, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason or REASONS.get(code, "Failed")


def plain(text: str) -> str:
    """The text on one line and without what could be a secret."""
    hidden = _SECRETS.sub(lambda found: (found[1] or found[2] or found[3] or "") + "***", text)
    return " ".join(hidden.split())[:1000]


def tell(failed: Failed, last_words: Optional[str]) -> None:
    """Say why it ended, on stderr and where the kubelet looks."""
    line = "%s: %s" % (failed.reason, plain(failed.message))
    print("modelyard-fetch: " + line, file=sys.stderr, flush=True)
    path = last_words or (TERMINATION_LOG if os.path.exists(TERMINATION_LOG) else "")
    if not path:
        return
    try:
        with open(path, "w", encoding="utf-8") as log:
            log.write(line)
    except OSError:
        pass  # it stands on stderr already
