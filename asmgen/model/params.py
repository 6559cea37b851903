"""The values of parameters that start from a file."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from asmgen.errors import DataError, ModelError
from asmgen.ops.base import Parameter, dims
from asmgen.ops.init import FromFile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def read_initial(parameter: Parameter) -> NDArray[np.float64] | None:
    """The values of a parameter that starts from a file, as float64; None for the others.

    Raises ModelError where the file cannot be read, or holds another shape or a value that is not finite.
    """
    init = parameter.init
    if not isinstance(init, FromFile):
        return None
    from asmgen.model.tensor_file import read_tensor  # with NumPy, which most models do not need

    try:
        values = read_tensor(init.resolved_path, init.key or parameter.name)
    except DataError as error:
        raise ModelError(init.where, f"{parameter.label}: {error}") from None
    if values.shape != parameter.shape:
        raise ModelError(
            init.where,
            f"{parameter.label}: {init.resolved_path} holds {dims(values.shape) or 'a single number'}, "
            f"but {parameter.name} is {dims(parameter.shape)}",
        )
    if not abs(values).max(initial=0.0) < math.inf:  # so that NaN fails
        raise ModelError(init.where, f"{parameter.label}: {init.resolved_path} holds values that are not finite")
    return values
