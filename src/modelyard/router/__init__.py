"""The third composition root: a gateway of its own somewhere else, told its routes by the control plane."""

from modelyard.router.options import Options, parse
from modelyard.router.running import run

__all__ = ["Options", "parse", "run"]
