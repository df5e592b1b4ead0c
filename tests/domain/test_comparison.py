"""A perturbation of known size is reported as what it is."""

from __future__ import annotations

import random

import pytest

from modelyard.domain.agreement import Values
from modelyard.domain.comparison import MOST_WORST, Report, Sample, compare

START = Report(service="churn", base=1, revision=2, until=10.0)


def sample(identity: str, *outputs: Values, at: float = 20.0, seconds: float = 0.01, rows: int = 1) -> Sample:
    return Sample(id=identity, at=at, seconds=seconds, rows=rows, size=32, outputs=outputs)


def labels(*values: int) -> Values:
    return Values(name="label", datatype="INT64", shape=(len(values),), data=values)


def numbers(*values: float | None, name: str = "score") -> Values:
    return Values(name=name, datatype="FP64", shape=(len(values),), data=values)


def scores(*values: float) -> Values:
    return Values(name="scores", datatype="FP32", shape=(1, len(values)), data=values)


def test_the_report_tells_the_truth_about_a_known_perturbation() -> None:
    dice = random.Random(7)
    flipped = set(dice.sample(range(1000), 50))
    base, new, errors = [], [], []
    for n in range(1000):
        label, score, error = dice.randrange(3), dice.uniform(1, 2), dice.uniform(-0.01, 0.01)
        errors.append(abs(error))
        base.append(sample(f"r{n}", labels(label), numbers(score), seconds=0.010))
        wrong = (label + 1) % 3 if n in flipped else label
        new.append(sample(f"r{n}", labels(wrong), numbers(score + error), seconds=0.013))
    dice.shuffle(new)
    found = compare(START, base, new, tolerance=0.05, until=30.0)
    report = found.report
    assert (report.pairs, report.rows, report.flipped_rows, report.disagreeing) == (1000, 1000, 50, 50)
    assert report.flip_rate == pytest.approx(0.05)
    assert report.latency_delta_seconds == pytest.approx(0.003)
    outputs = {output.name: output for output in report.outputs}
    assert outputs["label"].flips == 50
    assert outputs["score"].flips == 0
    assert outputs["score"].mean_error == pytest.approx(sum(errors) / 1000)
    assert outputs["score"].max_error == pytest.approx(max(errors))
    assert len(report.worst) == MOST_WORST
    assert {worst.id for worst in report.worst} <= {f"r{n}" for n in flipped}
    assert sum(part < 1 for part in found.agreements) == 50


def test_every_pair_is_counted_once_however_often_the_fronts_are_read() -> None:
    base = [sample(f"r{n}", labels(1), at=11.0 + n) for n in range(10)]
    new = [sample(f"r{n}", labels(1), at=11.5 + n) for n in range(10)]
    report = START
    for until in (13.0, 13.0, 17.2, 16.0, 40.0):
        report = compare(report, base, new, tolerance=0.0, until=until).report
    assert report.pairs == 10


@pytest.mark.parametrize(
    ("old", "fresh", "agrees"),
    [
        (labels(1), labels(1), True),
        (labels(1), labels(2), False),
        (scores(0.1, 0.9), scores(0.4, 0.6), True),
        (scores(0.1, 0.9), scores(0.6, 0.4), False),
        (numbers(100.0), numbers(104.0), True),
        (numbers(100.0), numbers(106.0), False),
        (numbers(0.0), numbers(0.0), True),
        (numbers(None), numbers(None), True),
        (numbers(1.0), numbers(None), False),
        (numbers(1.0), numbers(1.0, 2.0), False),
        (numbers(1.0), labels(1), False),
        (numbers(1.0, name="a"), numbers(1.0, name="b"), False),
    ],
)
def test_classes_agree_exactly_and_numbers_within_the_tolerance(
    old: Values, fresh: Values, *, agrees: bool
) -> None:
    found = compare(START, [sample("r", old)], [sample("r", fresh)], tolerance=0.05, until=30.0)
    assert found.agreements == (float(agrees),)


def test_of_many_rows_the_part_that_agrees_counts() -> None:
    old, fresh = sample("r", labels(1, 2, 3, 4), rows=4), sample("r", labels(1, 2, 3, 0), rows=4)
    found = compare(START, [old], [fresh], tolerance=0.05, until=30.0)
    assert found.agreements == (0.75,)
    assert (found.report.flipped_rows, found.report.worst[0].flipped) == (1, 0.25)


def test_what_cannot_be_paired_is_left_out() -> None:
    new = [sample("twice", labels(1)), sample("twice", labels(2)), sample("only-new", labels(1))]
    base = [sample("twice", labels(1)), sample("only-old", labels(1))]
    assert compare(START, base, new, tolerance=0.0, until=30.0).report.pairs == 0
