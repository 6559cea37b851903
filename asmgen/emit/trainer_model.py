"""What the generated `trainer.asm` says about a model: pure data between the plan and the runtime."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PackedDim:
    """One canonical dimension and where its index goes in the packed tensor.

    Index i of this dimension adds `(i // block) * outer_stride + (i % block) * inner_stride` elements.
    """

    extent: int
    block: int
    outer_stride: int
    inner_stride: int


@dataclass(frozen=True)
class Init:
    """How a tensor starts: kind "zeros", "constant" (scale: the value), "uniform" (the bound), "normal" (the deviation)
    or "data" (file `data`)."""

    kind: str
    scale: float = 0.0
    data: str = ""


@dataclass(frozen=True)
class ParamTensor:
    """One tensor of the checkpoint: canonical (PyTorch) name and shape, its place in the arena and its packing.

    `dims` walks the canonical tensor in row-major order (a canonical dimension may be split: dense inputs behind a
    Flatten are c, h, w), so the product of the extents is the number of elements. A count, which is a whole number of
    64 bits in every model, is so many elements as fill these.
    """

    name: str
    shape: tuple[int, ...]
    offset_bytes: int
    dims: tuple[PackedDim, ...]
    init: Init
    is_trained: bool = True
    is_count: bool = False


@dataclass(frozen=True)
class Call:
    """One kernel call of the step.

    `args` are arena tensor names (up to four; None = not used), or "images" for the data set's first byte.
    `units` is the extent of the slice; `comment` is the readable plan line.
    `at_a_time`: of a chain's units; neighbouring calls with the same number are one chain, which a thread runs for that
    many of its units before the next ones (0: not in a chain). `reversed_shares`: the last thread has the first share.
    `barrier`: the threads wait for each other behind the call.
    """

    symbol: str
    args: tuple[str | None, ...]
    units: int
    comment: str
    at_a_time: int = 0
    reversed_shares: bool = False
    barrier: bool = True


@dataclass(frozen=True)
class Split:
    """Which samples a phase uses: `source` is "train" or "test", samples [begin, end); end = -1 means to the end."""

    source: str
    begin: int
    end: int


@dataclass(frozen=True)
class TrainerModel:
    """Everything the runtime and the `trainer.asm` template need to know."""

    name: str
    isa: str
    cpu_features: tuple[str, ...]  # e.g. ("avx512f", "avx512bw", ...), checked by the runtime at start
    useful_threads: int  # no more by default
    dtype: str  # "float32" | "float64"
    channels: int
    height: int
    width: int
    outputs: int  # width of the network's last layer
    classes: int  # labels must be < classes (2 where outputs == 1)
    dataset: str  # directory under $ASMGEN_DATA
    batch: int
    least_present: int  # samples of a batch that is trained on
    epochs: int
    lr: float
    lr_decay: float  # lr of epoch e (from 0) is lr * lr_decay ** e
    beta1: float  # 0 where the optimizer has none
    beta2: float
    seed: int
    validation: Split | None
    arena_bytes: int
    offsets: dict[str, int]  # arena tensor name -> offset in bytes; always has emit.trainer.REQUIRED_TENSORS
    params: tuple[ParamTensor, ...]
    derive: tuple[Call, ...]  # after init, load and every update
    forward: tuple[Call, ...]  # load_input .. loss (loss and predictions; dz too)
    backward: tuple[Call, ...]  # gradients; dense layers: the optimizer, too
    update: tuple[Call, ...]  # optimizer of the convolutions, then derive runs
    evaluate: tuple[Call, ...]  # images to losses and predictions, nothing else
