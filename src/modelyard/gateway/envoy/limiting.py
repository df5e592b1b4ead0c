"""Limits of a service as Envoy enforces them: pure."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil
from typing import Any

from modelyard.domain.endpoint import Route
from modelyard.domain.limits import Limits

Json = dict[str, Any]

RATE_LIMIT = "envoy.filters.http.local_ratelimit"
METADATA, RETRY_AFTER = "modelyard.limits", "retry_after"
"""Where a route says after how many seconds to try again."""

_SERVICE = "service"
_MOST = 2**32 - 1

_RATE_LIMIT = "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
_PREVIOUS_HOSTS = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
_WITHOUT_BOUND = 1_000_000
"""Queues are bounded by the replicas themselves, who know what their model bears."""
_ALWAYS: Json = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}


def rate_filter() -> Json:
    """The filter of the listener; it runs only while some service has a rate."""
    configured = {"@type": _RATE_LIMIT, "stat_prefix": "rate"}
    return {"name": RATE_LIMIT, "disabled": True, "typed_config": configured}


def rates(routes: Iterable[Route]) -> Json:
    """What the table says of that filter: a bucket for each service with a rate, whatever the address.

    Entries of the table cannot have it, since each would have a bucket of its own.
    """
    limited = [route for route in routes if route.limits.requests_per_second]
    if not limited:
        return {}
    return {
        RATE_LIMIT: {
            "@type": _RATE_LIMIT,
            "stat_prefix": "rate",
            "token_bucket": {"max_tokens": _MOST, "tokens_per_fill": _MOST, "fill_interval": "1s"},
            "always_consume_default_token_bucket": False,
            "filter_enabled": _ALWAYS,
            "filter_enforced": _ALWAYS,
            "rate_limited_as_resource_exhausted": True,
            "descriptors": [
                {"entries": [{"key": _SERVICE, "value": route.name}], "token_bucket": _bucket(route.limits)}
                for route in limited
            ],
        }
    }


def counted(route: Route) -> Json:
    """What the action of a route says, so that its requests are counted in its bucket."""
    if not route.limits.requests_per_second:
        return {}
    key = {"descriptor_key": _SERVICE, "descriptor_value": route.name}
    return {"rate_limits": [{"actions": [{"generic_key": key}]}]}


def told(route: Route) -> Json:
    """Metadata for the answer to who comes too often."""
    rate = route.limits.requests_per_second
    return {METADATA: {RETRY_AFTER: str(max(ceil(1 / rate), 1))}} if rate else {}


def _bucket(limits: Limits) -> Json:
    # It is filled little by little: what counts is how much per second, and how much it holds.
    tokens = max(ceil(limits.requests_per_second), 1)
    return {
        "max_tokens": limits.burst or tokens,
        "tokens_per_fill": tokens,
        "fill_interval": f"{max(tokens / limits.requests_per_second, 0.05):.6f}s",
    }


def thresholds(limits: Limits) -> Json:
    """How much a cluster takes at once, beside what its replicas bear."""
    busy = limits.concurrency or _WITHOUT_BOUND
    return {
        # Whoever may wait waits for a connection, as one carries one request of HTTP/1.1 at a time.
        "max_connections": busy if limits.pending else _WITHOUT_BOUND,
        "max_pending_requests": limits.pending or _WITHOUT_BOUND,
        "max_requests": busy + limits.pending if limits.concurrency else _WITHOUT_BOUND,
        "max_retries": _WITHOUT_BOUND,
    }


def breaking(limits: Limits) -> Json:
    """When a replica that fails again and again gets no requests for a while; nothing where that is off."""
    if not limits.failures:
        return {}
    return {
        "outlier_detection": {
            "consecutive_5xx": limits.failures,
            "enforcing_consecutive_5xx": 100,
            "enforcing_consecutive_gateway_failure": 0,
            "enforcing_success_rate": 0,
            "max_ejection_percent": 100,
            "always_eject_one_host": True,
            "interval": f"{min(limits.open_seconds, 1.0):.3f}s",
            "base_ejection_time": f"{limits.open_seconds:.3f}s",
            "max_ejection_time": f"{max(limits.open_seconds * 10, 300.0):.3f}s",
        }
    }


def elsewhere(limits: Limits) -> Json:
    """Try another replica, but only with what no replica has begun; nothing where that is off."""
    if not limits.retries:
        return {}
    return {
        "retry_policy": {
            "retry_on": "connect-failure,refused-stream,reset-before-request,retriable-headers",
            "num_retries": limits.retries,
            "retriable_headers": [{"name": "x-modelyard-retry", "string_match": {"exact": "safe"}}],
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {"@type": f"type.googleapis.com/{_PREVIOUS_HOSTS}"},
                }
            ],
            # The one that refused is the least busy, so that it is drawn again and again.
            "host_selection_retry_max_attempts": 40,
            "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.05s"},
        }
    }
