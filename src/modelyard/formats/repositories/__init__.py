"""Directories of models as other servers lay them out, and single models; nothing of them is executed."""

from modelyard.formats.repositories.candidate import Candidate
from modelyard.formats.repositories.find import find

__all__ = ["Candidate", "find"]
