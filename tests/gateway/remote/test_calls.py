"""As its namesake, of a router."""

from tests.gateway.test_calls import *  # noqa: F403
