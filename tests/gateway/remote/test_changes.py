"""As its namesake, of a router."""

from tests.gateway.test_changes import *  # noqa: F403

del test_a_document_that_envoy_refuses_is_taken_back  # noqa: F821 - looks into the gateway's own parts
