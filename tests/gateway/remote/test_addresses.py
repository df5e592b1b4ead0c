"""As its namesake, of a router."""

from tests.gateway.test_addresses import *  # noqa: F403
