"""Whatever happens to a service, no request and no call is lost; `bench lossless` does it at length."""

from __future__ import annotations

import pytest

from tests.support import changes
from tests.support.platform import Running

TIMES = {"rolling update": 2, "scale event": 4, "promotion": 2, "gateway reconfiguration": 6}


@pytest.fixture(scope="module")
def token(platform: Running) -> str:
    with platform.client() as client:
        return changes.publish(client)


async def test_no_request_is_lost_whatever_changes(platform: Running, token: str) -> None:
    async with changes.asked(changes.at_the_service(platform, token, rate=100), callers=2) as asked:
        for name, change in changes.CHANGES.items():
            await changes.happen(platform, change, TIMES[name])
    asked.require_none_failed()
