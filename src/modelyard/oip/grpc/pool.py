"""Message classes from compiled descriptions, in a pool of our own.

protobuf's default pool takes each message name once in a process, and every client library for this protocol
brings `inference.ModelInferRequest` along: beside one of them, generated code would fail at its import.
"""

from __future__ import annotations

import base64
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import FileDescriptor

_POOL = descriptor_pool.DescriptorPool()


def load(compiled: str) -> FileDescriptor:
    """The file that this base64 text is the serialized FileDescriptorProto of."""
    added = _POOL.AddSerializedFile(base64.b64decode(compiled))
    if isinstance(added, FileDescriptor):
        return added
    raise TypeError("protobuf did not take the description of a file")


def message_class(file: FileDescriptor, name: str) -> Any:
    """The class of a top-level message."""
    return message_factory.GetMessageClass(file.message_types_by_name[name])
