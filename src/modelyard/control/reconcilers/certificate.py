"""Keep the HTTPS port's certificate good: for every host, and renewed or warned about before it ends."""

from __future__ import annotations

import logging

from modelyard.control import certificates
from modelyard.control.loop import Again
from modelyard.control.platform import Platform
from modelyard.domain.certificate import Source
from modelyard.domain.errors import Invalid

log = logging.getLogger(__name__)

REST = Again(3600.0)
WATCHING = Again(15.0)
"""Files that the settings name are replaced by others, who tell nobody."""


async def reconcile(platform: Platform, _: str) -> Again:
    """Look once; what the settings name and cannot serve leaves the last good one in use."""
    if platform.tls is None:
        return REST
    try:
        view = await certificates.refresh(platform)
    except Invalid as error:
        log.warning("the certificate of the settings is not used", extra={"error": error.message})
        return WATCHING
    return WATCHING if view.source is Source.SETTINGS else REST
