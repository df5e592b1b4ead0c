"""PMML documents of really fitted models, written as other tools write them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from tests.support.models import IRIS_NAMES, IRIS_ROW, WrittenModel, iris, mixed_frame

HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<PMML xmlns="http://www.dmg.org/PMML-4_4" version="4.4">
  <Header><Application name="tests"/></Header>
"""


def pmml_classifier(directory: Path) -> WrittenModel:
    """Logistic regression with three classes of text, from four numbers."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    x, y = iris()
    names = np.asarray(["setosa", "versicolor", "virginica"])
    model = LogisticRegression(max_iter=500).fit(x, names[y])
    tables = [
        table(label, intercept, list(zip(IRIS_NAMES, weights, strict=True)))
        for label, intercept, weights in zip(model.classes_, model.intercept_, model.coef_, strict=True)
    ]
    fields = [number(name) for name in IRIS_NAMES]
    text = document(fields, "species", list(names), "softmax", tables, [mining(name) for name in IRIS_NAMES])
    probabilities = model.predict_proba([IRIS_ROW]).T.tolist()
    expected = {f"p_{label}": each for label, each in zip(model.classes_, probabilities, strict=True)}
    record = dict(zip(IRIS_NAMES, IRIS_ROW, strict=True))
    return _written(directory, text, [record], {"species": model.predict([IRIS_ROW]).tolist(), **expected})


def pmml_mixed(directory: Path) -> WrittenModel:
    """Two classes, from a whole number that may be missing, a number and a category."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    frame = mixed_frame()
    cities = sorted(set(frame["city"]))
    coded = np.column_stack([frame["age"], frame["income"], *(frame["city"] == city for city in cities)])
    model = LogisticRegression(max_iter=5000).fit(
        coded.astype(float), frame["age"] + frame["income"] / 50 > 70
    )
    weights = model.coef_[0]
    predictors = list(zip(["age", "income"], weights[:2], strict=True))
    categories = [("city", city, weight) for city, weight in zip(cities, weights[2:], strict=True)]
    text = document(
        [number("age", "integer", '<Interval closure="closedClosed" leftMargin="0" rightMargin="150"/>'),
         number("income"), category("city", cities)],
        "buys", ["yes", "no"], "logit",
        [table("yes", model.intercept_[0], predictors, categories), table("no", 0.0, [])],
        [mining("age", 'missingValueReplacement="40"'), mining("income"), mining("city")],
    )  # fmt: skip
    rows = [{"age": 44, "income": 1200.0, "city": "Delft"}, {"age": None, "income": 900.0, "city": "Ghent"}]
    values = [
        [44.0, 1200.0, *(city == "Delft" for city in cities)],
        [40.0, 900.0, *(city == "Ghent" for city in cities)],
    ]
    chances = model.predict_proba(np.asarray(values, dtype=float))[:, 1]
    expected = {"buys": ["yes" if chance > 0.5 else "no" for chance in chances], "p_yes": chances.tolist()}
    return _written(directory, text, rows, expected)


def document(
    fields: Sequence[str],
    target: str,
    classes: Sequence[str],
    method: str,
    tables: Sequence[str],
    schema: Sequence[str],
) -> str:
    """A classifying RegressionModel; its outputs are the target's name and `p_CLASS`."""
    outputs = [
        f'<OutputField name="{target}" optype="categorical" dataType="string" feature="predictedValue"/>'
    ]
    outputs += [
        f'<OutputField name="p_{each}" dataType="double" feature="probability" value="{each}"/>'
        for each in classes
    ]
    return (
        f"{HEAD}<DataDictionary>{''.join(fields)}{category(target, classes)}</DataDictionary>\n"
        f'<RegressionModel modelName="m" functionName="classification" normalizationMethod="{method}">\n'
        f'<MiningSchema>{"".join(schema)}<MiningField name="{target}" usageType="target"/></MiningSchema>\n'
        f"<Output>{''.join(outputs)}</Output>\n{''.join(tables)}</RegressionModel></PMML>\n"
    )


def number(name: str, kind: str = "double", inside: str = "") -> str:
    """A continuous field."""
    return f'<DataField name="{name}" optype="continuous" dataType="{kind}">{inside}</DataField>'


def category(name: str, values: Sequence[str]) -> str:
    """A field of text with its valid values."""
    known = "".join(f"<Value value={quoteattr(value)}/>" for value in values)
    return f'<DataField name="{name}" optype="categorical" dataType="string">{known}</DataField>'


def mining(name: str, more: str = "") -> str:
    """An active field."""
    return f'<MiningField name="{name}" {more}/>'


def table(label: str, intercept: float, numbers: Sequence[Any], categories: Sequence[Any] = ()) -> str:
    """The score of one class."""
    inside = [
        f'<NumericPredictor name="{name}" coefficient="{weight!r}"/>' for name, weight in floats(numbers)
    ]
    inside += [
        f'<CategoricalPredictor name="{name}" value="{value}" coefficient="{float(weight)!r}"/>'
        for name, value, weight in categories
    ]
    opened = f'<RegressionTable targetCategory="{label}" intercept="{float(intercept)!r}">'
    return f"{opened}{''.join(inside)}</RegressionTable>"


def floats(pairs: Sequence[Any]) -> list[tuple[str, float]]:
    """With numbers that print plainly."""
    return [(name, float(weight)) for name, weight in pairs]


def _written(directory: Path, text: str, rows: list[Any], expected: dict[str, list[Any]]) -> WrittenModel:
    """A document on disk."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "model.pmml").write_text(text)
    return WrittenModel(
        directory=directory, format="pmml", serialization="pmml", entry="model.pmml", framework_version="",
        rows=rows, expected=expected,
    )  # fmt: skip


EVERY: dict[str, Callable[[Path], WrittenModel]] = {
    "pmml-classifier": pmml_classifier,
    "pmml-mixed": pmml_mixed,
}
"""A document of every kind, by name."""
