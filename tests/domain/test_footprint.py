"""What a worker was seen to use: recorded when it is news, and never of another variant."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.footprint import NEWS, Footprint, learned, needed

SIZES = st.integers(0, 1 << 40)
FOOTPRINTS = st.builds(
    Footprint, loaded_bytes=SIZES, peak_bytes=SIZES, variant=st.sampled_from(["", "original", "onnx"])
)


@given(FOOTPRINTS, FOOTPRINTS)
def test_what_is_recorded_is_what_was_seen_last_and_the_most_ever(before: Footprint, seen: Footprint) -> None:
    after = learned(before, seen)
    if after is None:
        known = before.variant == seen.variant and before.loaded_bytes
        assert not seen.loaded_bytes or known
        return
    assert (after.loaded_bytes, after.variant) == (seen.loaded_bytes, seen.variant)
    assert after.peak_bytes >= max(seen.peak_bytes, after.loaded_bytes)
    if before.variant == seen.variant and before.loaded_bytes:
        assert after.peak_bytes >= before.peak_bytes


@given(st.lists(FOOTPRINTS, max_size=6))
def test_looking_again_says_nothing_new(seen: list[Footprint]) -> None:
    known = Footprint()
    for each in seen:
        known = learned(known, each) or known
        assert learned(known, each) is None


def test_a_little_more_or_less_is_no_news() -> None:
    known = Footprint(loaded_bytes=1000, peak_bytes=2000, variant="original")
    near = Footprint(loaded_bytes=int(1000 * (1 + NEWS / 2)), peak_bytes=2100, variant="original")
    assert learned(known, near) is None
    more = learned(known, Footprint(loaded_bytes=1000, peak_bytes=2500, variant="original"))
    assert more == Footprint(loaded_bytes=1000, peak_bytes=2500, variant="original")


def test_what_one_variant_needs_says_nothing_of_another() -> None:
    known = Footprint(loaded_bytes=1000, peak_bytes=2000, variant="onnx")
    assert needed(known, "onnx") == 1000
    assert needed(known, "original") == 0
