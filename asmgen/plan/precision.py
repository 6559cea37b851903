"""In which formats a plan stores values, multiplies them and sums them up."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Precision:
    """Formats of a plan. storage: of tensors in memory; product: of factors; sum: of accumulators and parameters.

    All three are one format: Precision.of("float32"). Products of another one than their sums are
    Precision("bfloat16", "bfloat16", "float32").
    """

    storage: str
    product: str
    sum: str

    @staticmethod
    def of(dtype: str) -> Precision:
        """The precision of a model that is of one dtype."""
        return Precision(dtype, dtype, dtype)

    def __str__(self) -> str:
        return self.storage if len({self.storage, self.product, self.sum}) == 1 else f"{self.product} in {self.sum}"
