"""As its namesake, of a router."""

from tests.gateway.test_authorization import *  # noqa: F403
