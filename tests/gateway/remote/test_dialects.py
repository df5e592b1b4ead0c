"""As its namesake, of a router."""

from tests.gateway.test_dialects import *  # noqa: F403
