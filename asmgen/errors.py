"""The errors a user can cause or meet, each with the exit code of the command line."""

from __future__ import annotations


class AsmgenError(Exception):
    """One clear line: what, where, which value, which limit, what to do. Exit code 1."""

    exit_code = 1


class UsageError(AsmgenError):
    """The command line or a model file asks for something that does not exist. Exit code 2."""

    exit_code = 2


class ModelError(AsmgenError):
    """The model does not fit together. `where` is `file:line` of the layer or of the model."""

    def __init__(self, where: str, message: str) -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.where = where


class UnsupportedError(ModelError):
    """A layer, loss or shape that the chosen target cannot do."""


class ReachError(AsmgenError):
    """A kernel needs an offset or an index that its instructions cannot hold. Who knows the layer: UnsupportedError."""


class ToolError(AsmgenError):
    """A program asmgen needs is missing or failed (nasm, ld, nvcc)."""


class DataError(AsmgenError):
    """A data set, image, label or checkpoint file is not what it must be."""


class IsaError(AsmgenError):
    """This CPU lacks the instruction set asked for. Exit code 3."""

    exit_code = 3
