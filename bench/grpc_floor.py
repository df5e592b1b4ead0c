"""What a grpc.aio server of the same method costs: `python -m bench.grpc_floor PORT` gives inputs back."""

from __future__ import annotations

import asyncio
import sys

import grpc
import uvloop

from modelyard.oip.grpc import inference_pb2 as pb

SERVICE = "inference.GRPCInferenceService"


async def infer(request: pb.ModelInferRequest, context: grpc.aio.ServicerContext) -> pb.ModelInferResponse:
    """The first input as the output."""
    del context
    given = request.inputs[0]
    response = pb.ModelInferResponse(model_name=request.model_name, id=request.id)
    response.outputs.add(name="output", datatype=given.datatype, shape=given.shape)
    response.raw_output_contents.append(request.raw_input_contents[0])
    return response


async def serve(port: int) -> None:
    """Until told to stop."""
    server = grpc.aio.server(options=[("grpc.max_concurrent_streams", 1000)])
    method = grpc.unary_unary_rpc_method_handler(
        infer,
        request_deserializer=pb.ModelInferRequest.FromString,
        response_serializer=pb.ModelInferResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"ModelInfer": method}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    (uvloop.run if "--uvloop" in sys.argv else asyncio.run)(serve(int(sys.argv[1])))
