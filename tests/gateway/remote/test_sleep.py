"""As its namesake, of a router."""

from tests.gateway.test_sleep import *  # noqa: F403
