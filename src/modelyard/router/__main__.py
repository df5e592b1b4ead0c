"""`python -m modelyard.router` runs one router; every option may come as `MODELYARD_ROUTER_*` instead."""

from __future__ import annotations

import argparse
import os
import sys

from modelyard.domain.errors import ModelyardError
from modelyard.router.options import FIELDS, parse
from modelyard.router.running import run


def main() -> int:
    """Run until a signal; the exit code."""
    parser = argparse.ArgumentParser(prog="modelyard-router", description=__doc__)
    for each in FIELDS:
        default = f" (default {each.default})" if each.default else ""
        parser.add_argument(f"--{each.name.replace('_', '-')}", default=None, help=f"{each.text}{default}")
    try:
        return run(parse(vars(parser.parse_args()), os.environ))
    except ModelyardError as error:
        sys.stderr.write(f"{error.message}\n")
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
