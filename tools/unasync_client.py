"""Make the synchronous client from the asynchronous one; `--check` fails when it is stale."""

from __future__ import annotations

import filecmp
import subprocess
import sys
import tempfile
from pathlib import Path

import unasync

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src/modelyard/client/_async"
TARGET = ROOT / "src/modelyard/client/_sync"
NAMES = {
    "_async": "_sync",
    "asyncio": "time",
    "aclose": "close",
    "aread": "read",
    "aiter_bytes": "iter_bytes",
    "aiter_lines": "iter_lines",
    "asynccontextmanager": "contextmanager",
    "AsyncIterator": "Iterator",
    "AsyncHTTPTransport": "HTTPTransport",
}
RESOURCES = (
    "Client",
    "Transport",
    "Models",
    "Deployments",
    "Endpoints",
    "Runtimes",
    "Secrets",
    "Projects",
    "Accounts",
    "Service",
    "Certificate",
    "Shells",
)


def generate(target: Path) -> list[Path]:
    """Write the synchronous modules below `target`."""
    names = NAMES | {f"Async{each}": each for each in RESOURCES}
    rule = unasync.Rule(fromdir=f"{SOURCE}/", todir=f"{target}/", additional_replacements=names)
    unasync.unasync_files([str(path) for path in sorted(SOURCE.glob("*.py"))], [rule])
    for path in target.glob("*.py"):
        text = path.read_text().replace("import time\nimport time\n", "import time\n")
        path.write_text(
            text.replace("The asynchronous client", "The synchronous client").replace("_sync`", "_async`")
        )
    (target / "__init__.py").write_text('"""The synchronous client, generated from `_async`; edit that."""\n')
    ruff = [sys.executable, "-m", "ruff"]
    subprocess.run([*ruff, "check", "-q", "--fix", "--select", "I,F401", str(target)], check=False, cwd=ROOT)
    subprocess.run([*ruff, "format", "-q", "--config", str(ROOT / "pyproject.toml"), str(target)], check=True)
    return sorted(target.glob("*.py"))


def main() -> int:
    """Generate in place, or compare."""
    if "--check" not in sys.argv:
        generate(TARGET)
        return 0
    with tempfile.TemporaryDirectory(dir=TARGET.parent, prefix=".check-") as directory:
        fresh = generate(Path(directory))
        stale = [path.name for path in fresh if not _same(path, TARGET / path.name)]
    if stale:
        print(f"stale: {', '.join(stale)}; run tools/unasync_client.py", file=sys.stderr)
    return bool(stale)


def _same(one: Path, other: Path) -> bool:
    return other.exists() and filecmp.cmp(one, other, shallow=False)


if __name__ == "__main__":
    sys.exit(main())
