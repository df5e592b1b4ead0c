"""What a model file is: detect it, read its facts, judge its safety; model code is never executed here."""

from modelyard.formats.detection import detect
from modelyard.formats.found import Detected
from modelyard.formats.pipeline import document as pipeline
from modelyard.formats.requirements import requirements
from modelyard.formats.scanning import scan
from modelyard.formats.variants import variant_objection

__all__ = ["Detected", "detect", "pipeline", "requirements", "scan", "variant_objection"]
