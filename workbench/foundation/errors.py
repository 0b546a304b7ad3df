"""Errors a person can act on: one sentence with what was wrong, the value, and the cure."""

from __future__ import annotations


class WorkbenchError(Exception):
    """Base of every error that is the caller's to mend; doors print it without a traceback."""


class ModelError(WorkbenchError):
    """The model file or module cannot be used as it is."""


class OperatorError(ModelError):
    """An operator, or one of its options, that the graph floor does not know."""


class DataError(WorkbenchError):
    """Calibration or evaluation data that does not fit the model."""


class RecipeError(WorkbenchError):
    """A recipe that asks for something impossible."""


class TargetError(RecipeError):
    """A grid or granularity that the chosen target cannot run."""


class RunError(WorkbenchError):
    """A run directory or job that is missing, broken or in the wrong state."""


class ExportError(WorkbenchError):
    """A quantizer or graph that cannot be written to ONNX."""
