"""A handle on one running service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from modelyard.client import payload
from modelyard.client._sync.deployments import Deployments
from modelyard.client._sync.transport import Transport
from modelyard.domain.views import DeploymentView

_JSON = {"content-type": "application/json"}


class Service:
    """A deployment that answers: its URL, its token, and `predict`."""

    def __init__(
        self, transport: Transport, deployments: Deployments, view: DeploymentView, token: str
    ) -> None:
        self._transport = transport
        self._deployments = deployments
        self._inputs: list[dict[str, Any]] | None = None
        self.view = view
        self.token = token

    @property
    def name(self) -> str:
        """The service's name within its project."""
        return self.view.service

    @property
    def url(self) -> str:
        """Its address by path."""
        return self.view.url

    def predict(self, rows: Any) -> Any:
        """Answer rows in the shape they came in.

        A DataFrame gives a DataFrame, a list of records gives records; an array, a list of lists or a dict of
        arrays (input name to array) gives a dict of output name to array.
        """
        if payload.is_table(rows):
            return payload.table(self._post("/predict", payload.rows_request(rows)))
        if payload.is_rows(rows):
            return (self._post("/predict", payload.rows_request(rows)))["rows"]
        request = payload.tensors_request(rows, self.inputs())
        return payload.arrays(self._post(f"/v2/models/{self.view.name}/infer", request))

    def predict_json(self, document: Any) -> Any:
        """Answer JSON with JSON: records, a split table, an inference request, or inputs by name."""
        if isinstance(document, dict) and isinstance(document.get("inputs"), list):
            return self._post(f"/v2/models/{self.view.name}/infer", document)
        if payload.is_rows(document):
            return (self._post("/predict", payload.rows_request(document)))["rows"]
        if isinstance(document, dict) and "data" in document:
            return self._post("/predict", document)
        answer = self.predict(document)
        return {name: values.tolist() for name, values in answer.items()}

    def predict_form(self, fields: Mapping[str, Any]) -> Any:
        """Send files and values to the model's code, and answer as it does: rows, or outputs by name.

        A `Path` or bytes travel as a file, text as it is, anything else as JSON; a list of files or texts is
        a batch. Raises Invalid for a file that cannot be read.
        """
        parts = payload.form(fields)
        response = self._transport.send("POST", f"{self.url}/predict", files=parts, token=self.token)
        document = orjson.loads(response.content)
        return document.get("rows", document.get("outputs"))

    def inputs(self) -> list[dict[str, Any]]:
        """The model's declared inputs: name, datatype, shape."""
        if self._inputs is None:
            response = self._transport.send("GET", f"{self.url}/v2/models/{self.view.name}", token=self.token)
            self._inputs = orjson.loads(response.content)["inputs"]
        return self._inputs or []

    def refresh(self) -> DeploymentView:
        """Read the deployment's state again."""
        self.view = self._deployments.get(self.name)
        return self.view

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        content = payload.encoded(body)
        response = self._transport.send(
            "POST", f"{self.url}{path}", content=content, headers=_JSON, token=self.token
        )
        return orjson.loads(response.content)
