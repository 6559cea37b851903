"""Reads one tensor from a `.npy` or `.safetensors` file."""

from __future__ import annotations

import json
import math
import os
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asmgen.errors import DataError

# safetensors: u64 little-endian length of a JSON header, the header, then the tensors, little-endian and row-major.
_NPY_MAGIC = b"\x93NUMPY"
_SAFETENSORS_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}


def read_tensor(path: str, key: str) -> NDArray[np.float64]:
    """The tensor as float64; `key` names it in a safetensors file. Raises DataError."""
    try:
        values = _read_npy(path) if path.endswith(".npy") else _read_safetensors(path, key)
    except OSError as error:
        raise DataError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    return values.astype(np.float64)


def _read_npy(path: str) -> NDArray[Any]:
    with open(path, "rb") as file:
        if file.read(len(_NPY_MAGIC)) != _NPY_MAGIC:
            raise DataError(f"{path}: not a .npy file; write it with numpy.save")
    try:
        values: NDArray[Any] = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, MemoryError):
        raise DataError(f"{path}: cut off, damaged or without numbers; save it again as float32 or float64") from None
    if values.dtype.kind != "f":
        raise DataError(f"{path}: holds {values.dtype}; save it as float32 or float64")
    return values


def _read_safetensors(path: str, key: str) -> NDArray[Any]:
    with open(path, "rb") as file:
        file_bytes = os.fstat(file.fileno()).st_size
        header_bytes = int.from_bytes(file.read(8), "little")
        if file_bytes < 8 or header_bytes > file_bytes - 8:
            raise DataError(f"{path}: not a complete safetensors file ({file_bytes} bytes)")
        try:
            header = json.loads(file.read(header_bytes))
            names = sorted(name for name in header if name != "__metadata__")
            if key not in names:
                raise DataError(f"{path}: has no tensor {key!r}; it has {', '.join(names) or 'none'}")
            dtype, shape = header[key]["dtype"], tuple(header[key]["shape"])
            begin, end = map(index, header[key]["data_offsets"])
            count = math.prod(map(index, shape))
            data_bytes = max(index(header[name]["data_offsets"][1]) for name in names)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise DataError(f"{path}: its safetensors header cannot be read") from None
        if dtype not in _SAFETENSORS_DTYPES:
            raise DataError(f"{path}: {key} is {dtype}; save it as F32 or F64")
        if data_bytes > file_bytes - 8 - header_bytes:
            missing = data_bytes - (file_bytes - 8 - header_bytes)
            raise DataError(f"{path}: is cut off, {missing} bytes are missing; copy it again")
        if begin > end:
            raise DataError(f"{path}: {key} begins at byte {begin} of the data, but ends before that, at byte {end}")
        layout = np.dtype(_SAFETENSORS_DTYPES[dtype])
        if end - begin != count * layout.itemsize or not 0 <= begin <= end <= file_bytes - 8 - header_bytes:
            raise DataError(f"{path}: {key} lies at bytes {begin}..{end}, which does not fit its shape or the file")
        file.seek(8 + header_bytes + begin)
        return np.frombuffer(file.read(end - begin), layout).reshape(shape)
