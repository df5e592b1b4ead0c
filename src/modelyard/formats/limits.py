"""How much of a model file is looked at before it is refused: bounds of every reader in this room."""

from __future__ import annotations

MIB = 1024 * 1024

MAX_OPERATIONS = 20_000_000
"""Pickle instructions in one file; a vectorizer with a million words has three million."""
MAX_RETAINED = 512 * MIB
"""Bytes of names, texts and memory slots that the pickle reader keeps at once."""
MAX_LINE = MIB
"""Bytes of one line of an old, textual pickle."""
MAX_TEXT = 256 * MIB
"""Bytes of one text inside a pickle, such as a whole LightGBM model."""
KEPT_TEXT = 64 * 1024
"""Longer texts are read past; no name of a Python object is that long."""
KEPT_BYTES = 256 * 1024
"""Of longer byte strings only the beginning is kept."""
KEPT_ITEMS = 4096
"""Elements of one list that are remembered; the rest is read past."""
MAX_INFLATED = 32 * 1024 * MIB
"""Bytes that a compressed pickle may unfold to."""
MAX_INFLATION = 2000
"""How many times larger than the file, above the floor; deflate itself cannot reach more than 1032."""
INFLATION_FLOOR = 64 * MIB
LZMA_MEMORY = 256 * MIB
"""Memory that an lzma stream may ask for."""

MAX_JSON_DEPTH = 200
MAX_SCHEMA = 64 * MIB
"""Bytes of the schema inside a skops file."""
MAX_ZIP_ENTRIES = 100_000
MAX_GRAPH = 256 * MIB
"""Bytes of the description of an exported PyTorch graph or of a Keras model."""
MAX_NESTED = 512 * MIB
"""Bytes of one pickled archive inside a PyTorch archive."""
MAX_SOURCE = 4 * MIB
"""Bytes of one Python source file."""
MAX_ONNX_PIECE = 2 * 1024 * MIB
"""Bytes of one ONNX message; the format itself allows no more."""
MAX_ONNX_FIELDS = 5_000_000
"""Fields looked at in one ONNX file."""
MAX_XML_DEPTH = 2000
MAX_PMML_FIELDS = 100_000
"""Fields of one kind in a PMML document."""
MAX_FILES = 10_000
"""Files in one model directory."""
