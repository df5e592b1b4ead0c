"""As its namesake, of a router."""

from tests.gateway.test_traffic import *  # noqa: F403

del test_a_client_without_a_cookie_gets_one_and_stays_where_it_was_sent  # noqa: F821 - looks into its parts
del test_what_is_in_progress_is_bounded_and_some_may_wait  # noqa: F821 - bounds are those of its Envoy
