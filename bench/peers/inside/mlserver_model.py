"""MLServer: the identity model; the others run on its own runtimes."""

from __future__ import annotations

from mlserver import MLModel, types


class Identity(MLModel):
    """Answers what it is asked."""

    async def predict(self, payload: types.InferenceRequest) -> types.InferenceResponse:
        """One output for the input."""
        given = payload.inputs[0]
        output = types.ResponseOutput(
            name="output", datatype=given.datatype, shape=given.shape, data=given.data
        )
        return types.InferenceResponse(model_name=self.name, outputs=[output])
