"""The second composition root: models served from their files at once, with no platform around."""

from modelyard.standalone.options import Options
from modelyard.standalone.running import serve

__all__ = ["Options", "serve"]
