"""`python -m modelyard.backends.keeper --config FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

from modelyard.backends.keeper import config
from modelyard.backends.keeper.keeping import Keeper

if __name__ == "__main__":
    sys.exit(Keeper(config.load(Path(sys.argv[sys.argv.index("--config") + 1]))).run())
