"""Write the Helm chart below deploy/helm; `--check` fails when it is stale."""

from __future__ import annotations

import sys
from pathlib import Path

from modelyard.installing import chart

CHART = Path(__file__).resolve().parent.parent / "deploy/helm/modelyard"


def main() -> int:
    """Write or check every file; the exit code."""
    wanted = chart.files()
    present = {str(path.relative_to(CHART)): path for path in CHART.rglob("*") if path.is_file()}
    stale = [
        name for name, text in wanted.items() if name not in present or present[name].read_text() != text
    ]
    extra = [name for name in present if name not in wanted]
    if "--check" in sys.argv:
        for name in stale + extra:
            print(f"deploy/helm/modelyard/{name} is stale; run `make chart`", file=sys.stderr)
        return 1 if stale or extra else 0
    for name in stale:
        (CHART / name).parent.mkdir(parents=True, exist_ok=True)
        (CHART / name).write_text(wanted[name])
    for name in extra:
        present[name].unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
