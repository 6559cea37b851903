"""Tiles of the matrix products (runtime/cuda/gemm.cuh): what a lane, a warp and a block sum, and how K is split."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

from asmgen.cuda.common.cost import Work, expanding_instructions, grid_cycles, resident, streaming_cycles
from asmgen.plan.layout import round_up

BLOCK_SHARED_BYTES = 96 * 1024  # of a block's stages: what every GPU since sm_80 has room for
_OTHER_REGISTERS = 56  # addresses and counters of a thread
_LAUNCH_CYCLES = 3000  # of the second launch, which adds the parts of a split sum
_FMA_K = 32  # up to here three TF32 products are neither faster nor as exact

#: Multiply-adds a cycle of one multiprocessor, as far as such kernels get.
_RATES = {"fma": 90, "tf32x3": 180, "tf32": 600, "dmma": 110}

#: Values held for each element of a fragment: fma the next chunk, TF32 what it converts, three products the rest.
_COPIES = {"fma": 2, "tf32x3": 2, "tf32": 1, "dmma": 1}


@dataclass(frozen=True)
class Product:
    """Rows x columns sums over k.

    windows: sets of `window` rows that one lane must hold together (pool windows; plain rows: window 1). columns:
    elements, whole blocks. k_blocks: of 64 bytes; k: true length of the longest sum. row_units: whether rows lie side
    by side in memory (ColumnTile). split_bytes: of one part of a split sum, 0 where K cannot be split.
    """

    windows: int
    window: int
    columns: int
    k: int
    k_blocks: int
    element_bytes: int
    precision: str
    row_units: bool = False
    split_bytes: int = 0
    is_gathered: bool = False  # an operand is copied element by element
    a_misses: float = 1.0  # share of the copies of rows (columns where k are rows) that L1 does not have: taps overlap
    expanded: int = 0  # positions of a pool window: the rows' operand is made of one value and its code for all of them

    @property
    def block(self) -> int:
        return 64 // self.element_bytes


@dataclass(frozen=True)
class Tile:
    """See gemm.cuh: a lane sums slots x (octets x 2 units of `unit` columns); a_unit: rows side by side in memory."""

    arithmetic: str
    element_bytes: int
    warps_m: int
    warps_n: int
    slots: int
    a_unit: int
    octets: int
    unit: int
    stages: int
    stage_k_blocks: int
    window_slots: int = 1
    split: int = 1
    expanded: int = 0  # as the product's

    @property
    def threads(self) -> int:
        return 32 * self.warps_m * self.warps_n

    @property
    def rows(self) -> int:
        return self.warps_m * 8 * self.slots

    @property
    def columns(self) -> int:
        return self.warps_n * self.octets * 8 * self.unit

    @property
    def lane_windows(self) -> int:
        return self.slots // self.window_slots

    @property
    def windows(self) -> int:
        """Windows (of plain rows: rows) of a block."""
        return self.warps_m * 8 * self.lane_windows

    @property
    def stage_bytes(self) -> int:
        return self.stage_k_blocks * (self.rows + self.columns) * 64 + self.codes_bytes

    @property
    def codes_bytes(self) -> int:
        """Of a stage: 4 bytes for each chunk of dy, every thread its own."""
        if not self.expanded:
            return 0
        windows = 64 // self.element_bytes // self.expanded
        pieces = self.stage_k_blocks * self.rows * self.element_bytes // 64 * windows * 4
        return 4 * round_up(pieces, self.threads)

    @property
    def shared_bytes(self) -> int:
        return self.stages * self.stage_bytes

    @property
    def registers(self) -> int:
        """Estimated registers of a thread."""
        words = self.element_bytes // 4
        chunk = 16 // self.element_bytes
        sums = self.slots * self.octets * 2 * self.unit
        fragments = (self.slots + self.unit) * chunk * _COPIES[self.arithmetic]
        return (sums + fragments) * words + _OTHER_REGISTERS

    @property
    def resident(self) -> int:
        """Blocks that a multiprocessor has room for; at least 1."""
        return resident(self.shared_bytes, self.registers, self.threads)

    def __str__(self) -> str:
        lane = f"a lane sums {self.slots} rows x {2 * self.octets * self.unit} columns by {self.arithmetic}"
        block = f"block {self.rows} x {self.columns} of {self.warps_m} x {self.warps_n} warps"
        split = f"; K in {self.split} parts" if self.split > 1 else ""
        return f"{block}; {lane}; {self.stages} stages of {64 * self.stage_k_blocks} bytes of k{split}"


def arithmetic_of(product: Product) -> str:
    """float64: DMMA. tf32: one product. float32: three TF32 products, or FMA where sums are short."""
    if product.element_bytes == 8:
        return "dmma"
    if product.precision == "tf32":
        return "tf32"
    return "fma" if product.k <= _FMA_K else "tf32x3"


def choose_tile(product: Product) -> Tile:
    """The tile with the fewest estimated cycles."""
    return min(candidates(product), key=lambda tile: (cycles(product, tile), tile.threads, tile.shared_bytes))


def candidates(product: Product) -> Iterator[Tile]:
    """All tiles that are worth a look."""
    chunk = 16 // product.element_bytes
    arithmetic = arithmetic_of(product)
    units = [chunk] if product.columns >= 2 * product.block else [chunk // 2]
    # Where both operands have k as rows, a thread copies one row of k.
    fewest_threads = 4 * product.block if product.row_units else 32
    most_sums = {"tf32": 128, "dmma": 64}.get(arithmetic, 64)
    for (warps_m, warps_n), octets, unit in itertools.product(_WARPS, (1, 2), units):
        n_threads = 32 * warps_m * warps_n
        if n_threads % fewest_threads:
            continue
        for slots, a_unit, window_slots in _row_shapes(product):
            if slots * octets * 2 * unit > most_sums:
                continue
            is_idle = (warps_m > 1 and (warps_m - 1) * 8 * (slots // window_slots) >= product.windows) or (
                warps_n * octets > 1 and (warps_n * octets - 1) * 8 * unit >= product.columns
            )
            if is_idle and n_threads > fewest_threads:
                continue
            for stages, stage_k_blocks in ((3, 2), (4, 1), (2, 4), (3, 4)):
                tile = Tile(
                    arithmetic, product.element_bytes, warps_m, warps_n, slots, a_unit, octets, unit, stages,
                    min(stage_k_blocks, product.k_blocks), window_slots, expanded=product.expanded,
                )  # fmt: skip
                if tile.shared_bytes > BLOCK_SHARED_BYTES or tile.registers > 250:
                    continue
                yield from _splits(product, tile)


_WARPS = ((1, 1), (4, 1), (2, 2), (1, 4), (2, 1), (1, 2), (4, 2), (2, 4), (8, 1))


def _row_shapes(product: Product) -> Iterator[tuple[int, int, int]]:
    """(slots, rows side by side, slots of one window); slots come in pairs for m16n8k8."""
    step = 2 if product.element_bytes == 4 else 1
    if product.row_units:
        chunk = 16 // product.element_bytes
        for a_unit in (chunk, chunk // 2):
            yield from ((slots, a_unit, 1) for slots in (a_unit, 2 * a_unit, 4 * a_unit) if slots % step == 0)
        return
    for slots in (2, 4, 6, 8, 10, 12, 16):
        yield slots, slots, min(slots, product.window)


def _splits(product: Product, tile: Tile) -> Iterator[Tile]:
    yield tile
    if not product.split_bytes:
        return
    n_steps = -(-product.k_blocks // tile.stage_k_blocks)
    for wanted in (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 264):
        if wanted * 2 > n_steps:
            return
        yield replace_split(product, tile, wanted)


def replace_split(product: Product, tile: Tile, wanted: int) -> Tile:
    """The tile with K in at most `wanted` parts of whole steps, none of them empty."""
    n_steps = -(-product.k_blocks // tile.stage_k_blocks)
    part = -(-n_steps // wanted)
    return replace(tile, split=-(-n_steps // part))


def part_k_blocks(product: Product, tile: Tile) -> int:
    """K blocks of one part of a split sum, whole steps."""
    n_steps = -(-product.k_blocks // tile.stage_k_blocks)
    return -(-n_steps // tile.split) * tile.stage_k_blocks


def multiply_cycles(tile: Tile) -> float:
    """Of a k block."""
    return tile.rows * tile.columns * (64 // tile.element_bytes) / _RATES[tile.arithmetic]


def fragment_bytes(tile: Tile) -> int:
    """What the warps read of a k block in shared memory."""
    return tile.threads // 32 * (8 * tile.slots + tile.octets * 8 * tile.unit) * 64


def product_instructions(tile: Tile) -> int:
    """Of all warps for a k block: products, fragments read, and what makes TF32 of them."""
    chunk, lane_columns = 16 // tile.element_bytes, tile.octets * tile.unit
    elements = (tile.slots + lane_columns) * chunk
    reads = tile.slots + tile.octets * chunk
    products = tile.slots * lane_columns * chunk
    match tile.arithmetic:
        case "fma":
            of_warp = 8 * products + 4 * (tile.slots + 2 * tile.octets * chunk)
        case "dmma":
            of_warp = products + reads
        case "tf32":
            of_warp = products // 4 + elements + reads
        case _:
            of_warp = 3 * (products // 4 + elements) + reads
    return tile.threads // 32 * of_warp


def cycles(product: Product, tile: Tile) -> float:
    """Estimated cycles: arithmetic, shared and global memory of the fullest multiprocessor, or waves of latency."""
    passes = -(-product.window // tile.window_slots)
    blocks = -(-product.windows // tile.windows) * -(-product.columns // tile.columns) * tile.split
    steps = -(-part_k_blocks(product, tile) // tile.stage_k_blocks) * passes
    rows, columns = tile.rows * 64, tile.columns * 64  # bytes of a k block
    filled = float(rows + columns) * (2 if product.is_gathered else 1)
    instructions = float(product_instructions(tile))
    missed_rows, missed_columns = (1.0, product.a_misses) if product.row_units else (product.a_misses, 1.0)
    if product.expanded:
        share = 1 / product.expanded  # of values; their codes are read with them
        missed_rows *= share * (1 + 1 / product.element_bytes)
        filled += 2 * rows * share * (1 + 1 / product.element_bytes)
        instructions += expanding_instructions(rows / 16 * share, rows / 16)
    work = Work(
        multiply_cycles(tile),
        filled + fragment_bytes(tile),
        instructions,
        rows * missed_rows + columns * missed_columns,
    )
    step = tile.stage_k_blocks * work.cycles
    second = 0.0
    if tile.split > 1:
        second = _LAUNCH_CYCLES + streaming_cycles(2 * tile.split * product.split_bytes)
    return grid_cycles(step, steps, blocks, tile.threads, tile.resident, tile.stages - 1, passes) + second
