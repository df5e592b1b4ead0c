"""Predictions for tables: records, rows or columns in, the same orientation out."""

from __future__ import annotations

from collections.abc import Mapping

from modelyard.serving.application import Application
from modelyard.serving.faces.v2 import model_bases
from modelyard.serving.inference import Dialect, parse_table
from modelyard.serving.routing import Route

ROWS = Dialect("rows", parse_table)


def routes(application: Application) -> Mapping[str, Route]:
    """`/predict` of the first model and of each."""
    found = {"/predict": Route({"POST": application.infer(application.catalog.default, ROWS)})}
    for base, _, hosted in model_bases(application):
        found[f"{base}/predict"] = Route({"POST": application.infer(hosted, ROWS)})
    return found
