"""What Envoy does with requests for services that sleep: sends them where they wait, and then on: pure."""

from __future__ import annotations

from typing import Any

from modelyard.domain.endpoint import Share, Waking
from modelyard.gateway.activator.holding import AWAKE, LARGEST_BODY

Json = dict[str, Any]

_FILTERS = "type.googleapis.com/envoy.extensions.filters.http"
_AWAKE: Json = {"name": "x-modelyard-retry", "string_match": {"exact": AWAKE}}
_TRIES = 8
"""One that finds the service awake, and some for an activator that is just being started again."""


def held_by(share: Share, waking: Waking) -> Json:
    """Protocol options of a cluster whose only member holds requests: plain HTTP, and for whom they are."""
    # No more than may go on to the replicas at once.
    limits = share.limits
    most = limits.concurrency + limits.pending if limits.concurrency else waking.requests
    told = {
        # Without the revision, which may be another one when it is awake.
        "x-modelyard-wake": share.service,
        "x-modelyard-hold-requests": str(min(waking.requests, most)),
        "x-modelyard-hold-seconds": f"{waking.seconds:g}",
    }
    mutations = [
        {"append": {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
        for key, value in told.items()
    ]
    return {
        "explicit_http_config": {"http_protocol_options": {}},
        "http_filters": [
            {
                "name": "envoy.filters.http.header_mutation",
                "typed_config": {
                    "@type": f"{_FILTERS}.header_mutation.v3.HeaderMutation",
                    "mutations": {"request_mutations": mutations},
                },
            },
            {
                "name": "envoy.filters.http.upstream_codec",
                "typed_config": {"@type": f"{_FILTERS}.upstream_codec.v3.UpstreamCodec"},
            },
        ],
    }


def patient(entry: Json, waking: Waking | None) -> Json:
    """The entry of a service that may sleep: requests have time to wait and are kept to be sent again."""
    if waking is None:
        return entry
    action = entry["route"]
    policy = action.get("retry_policy", {"retry_on": "retriable-headers", "retriable_headers": []})
    policy = {
        **policy,
        "retriable_headers": [*policy["retriable_headers"], _AWAKE],
        "num_retries": _TRIES,
        "retry_back_off": {"base_interval": "0.02s", "max_interval": "1s"},
    }
    more = {name: _longer(action[name], waking.seconds) for name in ("timeout", "idle_timeout")}
    return {
        **entry,
        "request_body_buffer_limit": str(LARGEST_BODY),
        "route": {**action, **more, "retry_policy": policy},
    }


def _longer(timeout: str, seconds: float) -> str:
    """A time as Envoy writes it, and so much more; 0 is without end and stays."""
    given = float(timeout.removesuffix("s"))
    return f"{given + seconds:.3f}s" if given else timeout
