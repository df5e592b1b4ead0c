"""Triton's extensions over gRPC: configuration, statistics, classification, shared memory."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from multiprocessing import shared_memory
from typing import Any

import grpc
import pytest

from tests.serving.calls import Calls, calls, request, values
from tests.serving.replicas import Replica

Code = grpc.StatusCode


@pytest.fixture(scope="module")
def client(echo: Replica) -> Iterator[Calls]:
    with calls(echo) as made:
        yield made


def code_of(call: Any) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    return error.code()


def test_the_configuration_leaves_the_batch_out(client: Calls) -> None:
    config = client.ask("ModelConfig", name="echo").config
    assert (config.name, config.platform, config.backend) == ("echo", "python", "modelyard")
    assert config.max_batch_size > 0
    assert [(i.name, i.data_type, list(i.dims)) for i in config.input] == [("input", 12, [-1])]
    assert code_of(lambda: client.ask("ModelConfig", name="nope")) == Code.NOT_FOUND
    assert code_of(lambda: client.ask("ModelConfig")) == Code.INVALID_ARGUMENT


def test_statistics_count_calls(client: Calls) -> None:
    def counted() -> Any:
        (found,) = client.ask("ModelStatistics", name="echo").model_stats
        return found

    before = counted()
    for _ in range(3):
        client.infer(request(1))
    after = counted()
    assert after.inference_count == before.inference_count + 3
    assert after.inference_stats.success.count == before.inference_stats.success.count + 3
    assert after.inference_stats.compute_infer.ns > before.inference_stats.compute_infer.ns
    assert len(client.ask("ModelStatistics").model_stats) == 1


def test_classes_are_the_highest_values(client: Calls) -> None:
    wanted = request(0.1, 0.7, 0.2)
    wanted.outputs.add(name="output").parameters["classification"].int64_param = 2
    answer = client.infer(wanted)
    assert (answer.outputs[0].datatype, list(answer.outputs[0].shape)) == ("BYTES", [1, 2])
    raw = answer.raw_output_contents[0]
    first = struct.unpack_from("<I", raw)[0]
    assert raw[4 : 4 + first].startswith(b"0.700000:1")
    wanted.outputs[0].parameters["classification"].int64_param = -1
    assert code_of(lambda: client.infer(wanted)) == Code.INVALID_ARGUMENT


def test_tensors_lie_in_shared_memory(client: Calls) -> None:
    memory = shared_memory.SharedMemory(create=True, size=mmap.PAGESIZE)
    try:
        struct.pack_into("<2d", memory.buf, 0, 1.5, 2.5)
        client.ask("SystemSharedMemoryRegister", name="r", key=memory.name, byte_size=mmap.PAGESIZE)
        (known,) = client.ask("SystemSharedMemoryStatus").regions.values()
        assert (known.name, known.byte_size) == ("r", mmap.PAGESIZE)
        wanted = request(1, 2)
        del wanted.raw_input_contents[:]
        _in_region(wanted.inputs[0], "r", 16, 0)
        _in_region(wanted.outputs.add(name="output"), "r", 16, 64)
        answer = client.infer(wanted)
        assert list(answer.raw_output_contents) == [b""]
        assert answer.outputs[0].parameters["shared_memory_byte_size"].int64_param == 16
        assert struct.unpack_from("<2d", memory.buf, 64) == (1.5, 2.5)
        _in_region(wanted.inputs[0], "nope", 16, 0)
        assert code_of(lambda: client.infer(wanted)) == Code.INVALID_ARGUMENT
        _in_region(wanted.inputs[0], "r", 1 << 20, 0)
        assert code_of(lambda: client.infer(wanted)) == Code.INVALID_ARGUMENT
    finally:
        client.ask("SystemSharedMemoryUnregister", name="r")
        memory.close()
        memory.unlink()
    assert not client.ask("SystemSharedMemoryStatus").regions
    for call in (
        lambda: client.ask("SystemSharedMemoryRegister", name="x", key="/nope", byte_size=1),
        lambda: client.ask("SystemSharedMemoryRegister", key="/nope", byte_size=1),
        lambda: client.ask("SystemSharedMemoryStatus", name="x"),
    ):
        assert code_of(call) in (Code.INVALID_ARGUMENT, Code.NOT_FOUND)
    assert values(client.infer(request(1))) == (1,)


def _in_region(tensor: Any, region: str, size: int, offset: int) -> None:
    tensor.parameters["shared_memory_region"].string_param = region
    tensor.parameters["shared_memory_byte_size"].int64_param = size
    tensor.parameters["shared_memory_offset"].int64_param = offset
