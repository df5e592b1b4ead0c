"""An example for a model whose inputs only its own code knows."""

import pytest

from modelyard.control import samples


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"x": [[1.0, 2.0]]}, {"x": [[1.0, 2.0]]}),
        ({"x": 1.0, "city": "Delft"}, {"x": [1.0], "city": ["Delft"]}),
        ([{"x": 1.0}, {"x": 2.0}], {"x": [1.0]}),
        ({"columns": ["a", "b"], "data": [[1, "z"], [2, "y"]]}, {"a": [1], "b": ["z"]}),
        ([[1.0, 2.0], [3.0, 4.0]], {"input": [[1.0, 2.0]]}),
        (None, None),
        ([], None),
    ],
)
def test_an_example_in_any_form_names_the_inputs(given: object, expected: object) -> None:
    assert samples.by_name(given) == expected
