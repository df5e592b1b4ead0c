"""As its namesake, of a router."""

import asyncio
import socket
from dataclasses import replace

from modelyard.gateway.remote.gateway import RemoteGateway
from tests.gateway.conftest import StartUpstream
from tests.gateway.support import route
from tests.gateway.test_own_ports import *  # noqa: F403
from tests.gateway.test_own_ports import ask
from tests.support.ports import free_port

# A router tries again by itself, a little later than one that is asked to.
del test_a_port_that_another_program_holds_is_left_out_named_and_opened_once_it_is_free  # noqa: F821


async def test_a_port_that_another_program_holds_is_named_with_the_router_and_opened_once_it_is_free(
    gateway: RemoteGateway, upstream: StartUpstream
) -> None:
    churn = route("default/churn", await upstream("r1"))
    with socket.socket() as foreign:
        foreign.bind(("127.0.0.1", 0))
        foreign.listen()
        taken, free = foreign.getsockname()[1], free_port()
        assert taken in await gateway.busy_ports()
        await gateway.publish([replace(churn, ports=(taken, free))])
        assert gateway.unopened()[taken].endswith("(router router-1)")
        assert (await ask(free)).json()["replica"] == "r1"
    while gateway.unopened():
        await asyncio.sleep(0.05)
    assert (await ask(taken)).json()["replica"] == "r1"
