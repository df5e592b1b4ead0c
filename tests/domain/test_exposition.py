"""Texts of many targets become one that Prometheus reads."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from modelyard.domain.exposition import Target, merged, of_gateway
from modelyard.domain.tallies import Reading, Tally

CHURN = {
    "project": "default",
    "service": "churn",
    "stage": "production",
    "revision": "2",
    "replica": "churn-2-a",
}
FRONT = """# HELP modelyard_requests_total Requests answered.
# TYPE modelyard_requests_total counter
modelyard_requests_total{project="default",service="churn",code="200"} 3
"""
FOREIGN = r"""# HELP app_size Its size, in "bytes"
# TYPE app_size histogram
app_size_bucket{service="own",le="1"} 1
app_size_bucket{service="own",le="+Inf"} 2
app_size_sum{service="own"} 2.5
app_size_count{service="own",} 2
# TYPE process_cpu_seconds counter
process_cpu_seconds_total 7 1700000000000
odd{text="a,service=\"x\"} {\\"} 1e-3
this is no sample
bad{a="b} 1
"""


def _samples(text: str) -> dict[tuple[str, ...], float]:
    """Name and labels to value."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items())))
            assert key not in found
            found[key] = sample.value
    return found


def test_samples_say_whose_they_are_and_labels_of_their_own_are_kept() -> None:
    own = "# TYPE process_cpu_seconds counter\nprocess_cpu_seconds_total 1.0\n"
    text = merged(
        [
            Target(labels=CHURN, text=FRONT, ours=True),
            Target(labels=CHURN | {"replica": "b"}, text=FOREIGN),
            Target(labels=CHURN | {"replica": "c"}, text=None),
        ],
        own=own,
    )
    found = _samples(text)
    labels = tuple(f"{name}={value}" for name, value in sorted((CHURN | {"replica": "b"}).items()))
    assert {k: v for k, v in found.items() if k[0] == "up"} == {
        ("up", *sorted(f"{n}={v}" for n, v in (CHURN | {"replica": r}).items())): float(r != "c")
        for r in ("churn-2-a", "b", "c")
    }
    front = ("code=200", "project=default", "replica=churn-2-a", "revision=2", "service=churn")
    assert found["modelyard_requests_total", *front] == 3
    assert found["app_size_sum", *sorted((*labels, "exported_service=own"))] == 2.5
    assert found["process_cpu_seconds_total",] == 1
    assert found["process_cpu_seconds_total", *labels] == 7
    assert found["odd", *sorted((*labels, 'text=a,service="x"} {\\'))] == 1e-3
    assert len(found) == 3 + 1 + 4 + 2 + 1
    assert text.count("# TYPE process_cpu_seconds ") == 1


def test_the_gateway_tells_requests_by_service_revision_and_code() -> None:
    tallies = (
        Tally(
            route="default/churn",
            share="default/churn#2",
            revision=2,
            codes={200: 5},
            calls={14: 1},
            microseconds=600_000,
            times={100_000: 6},
        ),
        Tally(route="shop/all", share="shop/a@test", revision=1, codes={503: 1}),
    )
    found = _samples(of_gateway(Reading(epoch="1", tallies=tallies, inflight={"r": 2})))
    where = ("project=default", "revision=2", "service=churn", "stage=production", "via=")
    name = "modelyard_gateway_requests_total"
    assert found[name, "code=200", *where[:1], "protocol=http", *where[1:]] == 5
    assert found[name, "code=14", *where[:1], "protocol=grpc", *where[1:]] == 1
    assert tuple(
        part for key in found if key[0] == name and "project=shop" in key for part in key
        if part in ("code=503", "project=shop", "stage=test", "via=shop/all")
    ) == ("code=503", "project=shop", "stage=test", "via=shop/all")  # fmt: skip
    assert found["modelyard_gateway_request_duration_seconds_sum", *where] == 0.6
    assert found["modelyard_gateway_request_duration_seconds_bucket", "le=0.1", *where] == 0
    assert found["modelyard_gateway_request_duration_seconds_bucket", "le=0.22", *where] == 6
    assert found["modelyard_gateway_inflight", "replica=r"] == 2


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet='ab_{}"=,\\# \nTYPE1.', max_size=80))
def test_whatever_a_target_says_the_text_can_be_read(text: str) -> None:
    made = merged([Target(labels=CHURN, text=text), Target(labels=CHURN | {"replica": "b"}, text=FOREIGN)])
    assert made.count("up{") == 2
    assert 'process_cpu_seconds_total{project="default"' in made
