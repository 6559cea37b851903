"""The emulation itself: what it must refuse, and what the collective operations compute."""

from __future__ import annotations

import numpy as np
import pytest

from asmgen.cuda.listing import CudaListing, Facts, Launch
from asmgen.harness.cases.case import Array, Case, Operand
from asmgen.harness.cuda.library import load_library
from asmgen.harness.cuda.run import CudaFault, CudaKernel, Variant

_FACTS = Facts("test", "test", (), (), 0, 0, 0, "", ())
_X = np.arange(256, dtype=np.float32)

_COPY = "cp_async<4>(&shared.tile[t], in + t); "
WRONG = {
    "write_read": "shared.tile[t] = in[t]; out[t] = shared.tile[63 - t];",
    "read_write": "shared.tile[t] = in[t]; block_barrier(); out[t] = shared.tile[63 - t]; shared.tile[t] = 0;",
    "no_wait": _COPY + "cp_async_commit(); out[t] = shared.tile[t];",
    "no_commit": _COPY + "cp_async_wait<0>(); out[t] = shared.tile[t];",
    "short_wait": _COPY + "cp_async_commit(); cp_async_wait<1>(); out[t] = shared.tile[t];",
    "others": _COPY + "cp_async_commit(); cp_async_wait<0>(); out[t] = shared.tile[63 - t];",
    "never_written": "out[t] = shared.tile[t];",
}
REFUSED = {
    "leaves": ("if (t < 32) { block_barrier(); } out[t] = 0;", r"thread \d+ has left the kernel"),
    "returns": ("if (t < 32) { return; } block_barrier();", r"waits in block_barrier \(.*\), but thread \d+ has left"),
    "two_barriers": ("if (t < 5) { block_barrier(); }\n else { block_barrier(); }", "block_barrier .* but thread"),
    "half_a_warp": ("if (lane < 16) { out[t] = shuffle(1.0f, 0); }", "has left the kernel"),
    "other_shuffle": ("if (lane < 16) { out[t] = shuffle(in[t], 0); } else { out[t] = shuffle_xor(in[t], 1); }", "but"),
    "other_wait": ("if (lane < 16) { out[t] = shuffle(1.0f, 0); } else { block_barrier(); }", "but thread"),
    "behind": ("out[t + 1] = 0;", "touches memory it does not own: out, 0 B behind its end"),
    "reads_behind": ("out[t] = in[256 + t];", r"in, \d+ B behind its end"),
    "endless": ("for (;;) block_barrier();", "does not return"),
    "index": ("shared.tile[int(in[t]) + 64] = 0;", "undefined: .*an index outside its array"),
    "misaligned": ("store_vec(out, load_vec(in + 1));", "undefined: a misaligned vector"),
    "shared": ("*(&shared.tile[0] + 200 + t) = in[0];", "touches shared memory outside the launch's bytes"),
    "copy_misaligned": ("cp_async<16>(&shared.tile[1], in);", "cp_async: address is no multiple of 16"),
    "copy_behind": ("cp_async<16>(&shared.tile[0] + 64, in);", "are not in the block's 256 bytes of shared memory"),
    "large": ("struct Large { float tile[65]; }; shared_memory<Large>().tile[0] = 0;", "wants 260 bytes of shared"),
    "stack": ("volatile char large[100000]; large[t] = 0; out[t] = large[t];", "stack"),
}  # fmt: skip
_OTHER = "*map_shared_rank(&shared.tile[t], 1 - cluster_rank())"
REFUSED_OF_CLUSTERS = {
    "writes_early": (
        f"{_OTHER} = in[t]; cluster_barrier(); out[blockIdx.x * 64 + t] = shared.tile[t];",
        r"map_shared_rank \(.*\) before the first cluster_barrier: block \d of the cluster may not have started",
    ),
    "writes_after_own_barrier": (
        f"block_barrier(); {_OTHER} = in[t]; cluster_barrier(); out[blockIdx.x * 64 + t] = shared.tile[t];",
        "before the first cluster_barrier",
    ),
    "reads_late": (
        f"shared.tile[t] = in[t]; cluster_barrier(); out[blockIdx.x * 64 + t] = {_OTHER};",
        r"map_shared_rank \(.*\) after the last cluster_barrier: block \d of the cluster may have left|that has left",
    ),
    "one_reads_late": (
        "shared.tile[t] = in[t]; cluster_barrier();"
        f"if (cluster_rank() == 1 && t == 63) out[t] = {_OTHER}; else out[t] = 0;",
        "thread 63: .* (after the last cluster_barrier: block 0 of|that has left)",
    ),
    "keeps_a_pointer": (
        f"cluster_barrier(); float* other = &{_OTHER}; *other = in[t]; cluster_barrier(); out[t] = *other;",
        "touches shared memory of a block that has left",
    ),
}  # fmt: skip
RIGHT = {
    "copy": "out[t] = in[t];",
    "turned": "shared.tile[t] = in[t]; block_barrier(); out[t] = shared.tile[63 - t];",
    "shuffle": "out[t] = shuffle(in[t], (lane + 1) % 32);",
    "shuffle_xor": "out[t] = shuffle_xor(in[t], 3);",
    "ballot": "out[t] = warp_ballot(lane < 3);",
    "reductions": "out[t] = warp_sum(in[t]) + warp_max(in[t]) - warp_min(in[t]);",
    "cluster": """
    shared.tile[t] = in[t] + 100 * cluster_rank();
    cluster_barrier();
    out[blockIdx.x * 64 + t] = *map_shared_rank(&shared.tile[t], 1 - cluster_rank());
    cluster_barrier();  // this block's memory has been read
    """,
    "own_rank": "shared.tile[t] = in[t]; out[blockIdx.x * 64 + t] = *map_shared_rank(&shared.tile[t], cluster_rank());",
    "mma_tf32": """
    const int group = lane / 4, member = lane % 4;
    const float* b_in = in + 128;
    uint32_t a[4], b[2];
    for (int i = 0; i < 4; ++i) a[i] = math::bits_as<uint32_t>(in[(group + 8 * (i & 1)) * 8 + member + 4 * (i >> 1)]);
    for (int i = 0; i < 2; ++i) b[i] = math::bits_as<uint32_t>(b_in[(member + 4 * i) * 8 + group]);
    float d[4] = {1, 1, 1, 1};
    mma_tf32(d, a, b);
    for (int i = 0; i < 4; ++i) out[(group + 8 * (i >> 1)) * 8 + 2 * member + (i & 1)] = d[i];
    """,
    "load_matrices": """
    for (int i = 0; i < 2; ++i) shared.tile[2 * lane + i] = in[2 * lane + i];
    warp_barrier();
    uint32_t a[2];
    load_matrices(a, &shared.tile[lane % 8 * 8 + lane / 8 % 2 * 4]);
    for (int i = 0; i < 2; ++i) out[lane / 4 * 8 + lane % 4 + 4 * i] = math::bits_as<float>(a[i]);
    """,
    "mma_f64": """
    double d[2] = {0, 1};
    mma_f64(d, in[lane], in[32 + lane]);  // a[row = lane / 4][k = lane % 4], b[k = lane % 4][column = lane / 4]
    for (int i = 0; i < 2; ++i) out[lane / 4 * 8 + lane % 4 * 2 + i] = d[i];
    """,
    "to_tf32": "out[t] = math::bits_as<float>(to_tf32(in[t]));",
}
KERNELS = WRONG | {name: body for name, (body, _) in (REFUSED | REFUSED_OF_CLUSTERS).items()} | RIGHT


def _listing(name: str, block: int = 64, grid: int = 1, cluster: int = 1) -> CudaListing:
    text = f"""
    #include "device.cuh"
    extern "C" __global__ void test_{name}([[maybe_unused]] float* out, [[maybe_unused]] const float* in)
    {{
        struct Shared {{ float tile[64]; }};
        [[maybe_unused]] const int t = threadIdx.x, lane = t % 32;
        [[maybe_unused]] Shared& shared = shared_memory<Shared>();
        {KERNELS[name]}
    }}
    """
    launch = Launch(f"test_{name}", (grid, 1, 1), block, 256, ("a0", "a1"), cluster)
    return CudaListing(name, "float32", text, (launch,), _FACTS)


def _run(name: str, n: int = 64, x: Array = _X, seed: int = 1, **launch: int) -> Array:
    """out[n] of one of KERNELS."""
    case = Case("", (Operand("out", np.full(n, np.nan, np.float32), is_output=True), Operand("in", x)), ())
    kernel = CudaKernel(_listing(name, **launch), *load_library([_listing(each) for each in KERNELS]))
    memory, problems = kernel.run(case, Variant("", seed))
    assert not problems
    return memory[0]


def test_threads_wait_for_each_other_at_a_barrier() -> None:
    for seed in range(5):
        np.testing.assert_array_equal(_run("turned", seed=seed), _X[63::-1])


@pytest.mark.parametrize("name", WRONG)
def test_missing_synchronisation_gives_wrong_numbers(name: str) -> None:
    results = [_run(name, seed=seed) for seed in range(3)]
    assert any(not np.array_equal(out, _X[63::-1]) for out in results)
    assert any(not np.array_equal(out, _X[:64]) for out in results)


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asmgen.harness.cuda.run._SECONDS", 1)
    with pytest.raises(CudaFault, match=REFUSED[name][1]):
        _run(name)
    assert _run("copy")[5] == 5  # the next launch works


@pytest.mark.parametrize("name", REFUSED_OF_CLUSTERS)
def test_refuses_in_a_cluster(name: str) -> None:
    """In every order of the threads."""
    for seed in range(5):
        with pytest.raises(CudaFault, match=REFUSED_OF_CLUSTERS[name][1]):
            _run(name, n=256, grid=4, cluster=2, seed=seed)
    assert _run("own_rank", n=256, grid=4, cluster=2)[133] == 5  # the next launch works


def test_exchange_within_a_warp() -> None:
    np.testing.assert_array_equal(_run("shuffle")[:3], [1, 2, 3])
    np.testing.assert_array_equal(_run("shuffle_xor")[:4], [3, 2, 1, 0])
    np.testing.assert_array_equal(_run("ballot"), [7] * 64)
    np.testing.assert_array_equal(_run("reductions")[[0, 40]], [496 + 31, 1520 + 31])


def test_blocks_of_a_cluster_read_each_others_memory() -> None:
    out = _run("cluster", n=256, grid=4, cluster=2)
    np.testing.assert_array_equal(out.reshape(4, 64) - _X[:64], np.repeat([[100], [0], [100], [0]], 64, 1))


def _tf32(x: Array) -> Array:
    return (x.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32).astype(np.float64)


def test_tf32_product_of_fragments() -> None:
    """Fragments as the PTX ISA document draws them: row and column of every element of every lane."""
    x = np.random.default_rng(1).uniform(-1, 1, 192).astype(np.float32)
    expected = 1 + _tf32(x[:128]).reshape(16, 8) @ _tf32(x[128:]).reshape(8, 8)
    np.testing.assert_allclose(_run("mma_tf32", n=128, x=x, block=32).reshape(16, 8), expected, rtol=2e-7, atol=2e-7)


def test_matrices_load_as_tf32_fragments() -> None:
    """Rows of 16 bytes whose addresses the lanes hand in: 8 x 8 floats, the first half of a fragment a."""
    np.testing.assert_array_equal(_run("load_matrices", block=32), _X[:64])


def test_float64_product_of_fragments() -> None:
    a, b = _X[:32].reshape(8, 4), _X[32:64].reshape(8, 4)
    np.testing.assert_array_equal(_run("mma_f64", block=32).reshape(8, 8), a @ b.T + np.arange(8) % 2)


def test_tf32_rounds_to_nearest() -> None:
    x = np.float32(1) + np.arange(64, dtype=np.float32) * np.float32(2**-13)
    np.testing.assert_array_equal(_run("to_tf32", x=x), np.floor(x * 2**10 + 0.5) / 2**10)
