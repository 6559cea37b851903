// Products of matrices that all lie in shared memory, for kernels that train whole epochs (docs/cuda.md, Resident
// training).
// Shapes and what happens to the sums belong to the generated kernel.
#pragma once

#include "gemm.cuh"

namespace resident {

using gemm::Arithmetic;

// Element (line, k) of an operand lies at line * line_stride + k * k_stride. A line is a row of A, a column of B.
template <int line_stride, int k_stride>
struct Operand {
    __device__ static constexpr int at(int line, int k) { return line * line_stride + k * k_stride; }
};

// Tiles of 16 x 8 (float) or 8 x 8 (double) sums. A task is `across` tiles side by side; warps take tasks in turn.
template <Arithmetic arithmetic_, class A_, class B_, int row_tiles, int column_tiles, int depth_, int across_>
struct Product {
    static constexpr Arithmetic arithmetic = arithmetic_;
    using A = A_;
    using B = B_;
    static constexpr int depth = depth_, across = across_;
    static constexpr int tasks_in_row = (column_tiles + across - 1) / across, tasks = row_tiles * tasks_in_row;

    // Whether a task that begins at tile `first` of a row has a tile j: the last one of a row may have fewer.
    __device__ static bool has(int first, int j) { return column_tiles % across == 0 || first + j < column_tiles; }
};

// d[j] += A B for the tile that begins `8 j` columns behind b. Lane 4 g + t reads rows g (and g + 8), columns g, and
// the k of t (and t + 4) of an instruction.
template <class P>
__device__ __forceinline__ void multiply(float (&d)[P::across][4], const float* a, const float* b, int first, int g,
                                         int t)
{
    constexpr bool is_split = P::arithmetic == Arithmetic::tf32x3;
    #pragma unroll 2
    for (int k = 0; k < P::depth; k += 8) {
        uint32_t big[4], small[4];
        #pragma unroll
        for (int i = 0; i < 4; ++i) {
            const float value = a[P::A::at(g + i % 2 * 8, k + t + i / 2 * 4)];
            big[i] = to_tf32(value);
            if constexpr (is_split) small[i] = to_tf32(value - math::bits_as<float>(big[i]));
        }
        #pragma unroll
        for (int j = 0; j < P::across; ++j) {
            if (!P::has(first, j)) break;
            uint32_t b_big[2], b_small[2];
            #pragma unroll
            for (int i = 0; i < 2; ++i) {
                const float value = b[P::B::at(8 * j + g, k + t + i * 4)];
                b_big[i] = to_tf32(value);
                if constexpr (is_split) b_small[i] = to_tf32(value - math::bits_as<float>(b_big[i]));
            }
            if constexpr (is_split) {
                mma_tf32(d[j], small, b_big);
                mma_tf32(d[j], big, b_small);
            }
            mma_tf32(d[j], big, b_big);
        }
    }
}

template <class P>
__device__ __forceinline__ void multiply(double (&d)[P::across][2], const double* a, const double* b, int first, int g,
                                         int t)
{
    #pragma unroll 4
    for (int k = 0; k < P::depth; k += 4) {
        const double row = a[P::A::at(g, k + t)];
        #pragma unroll
        for (int j = 0; j < P::across; ++j) {
            if (P::has(first, j)) mma_f64(d[j], row, b[P::B::at(8 * j + g, k + t)]);
        }
    }
}

// For every pair of neighbouring columns of A B: use(row, column, Pack<T, 2> of sums, prepare(row, column)). What
// `prepare` reads comes while the warp multiplies.
template <class P, int warps, class T, class Prepare, class Use>
__device__ __forceinline__ void product(const T* a, const T* b, Prepare prepare, Use use)
{
    constexpr int pairs = sizeof(T) == 4 ? 2 : 1;  // of a lane and tile: rows g and g + 8
    const int thread = renewed(threadIdx.x);  // nothing of a product outlives it, in a loop of steps
    const int lane = thread % 32, g = lane / 4, t = lane % 4;
    for (int task = thread / 32; task < P::tasks; task += warps) {
        const int row = task / P::tasks_in_row * 8 * pairs;
        const int first = task % P::tasks_in_row * P::across, column = 8 * first;
        decltype(prepare(0, 0)) prepared[P::across][pairs];
        #pragma unroll
        for (int j = 0; j < P::across; ++j)
            #pragma unroll
            for (int i = 0; i < pairs; ++i) {
                if (P::has(first, j)) prepared[j][i] = prepare(row + g + 8 * i, column + 8 * j + 2 * t);
            }
        T d[P::across][2 * pairs] = {};
        multiply<P>(d, a + P::A::at(row, 0), b + P::B::at(column, 0), first, g, t);
        #pragma unroll
        for (int j = 0; j < P::across; ++j)
            #pragma unroll
            for (int i = 0; i < pairs; ++i) {
                if (!P::has(first, j)) break;
                use(row + g + 8 * i, column + 8 * j + 2 * t, Pack<T, 2>{{d[j][2 * i], d[j][2 * i + 1]}},
                    prepared[j][i]);
            }
    }
}

struct Nothing {};

template <class P, int warps, class T, class Use>
__device__ __forceinline__ void product(const T* a, const T* b, Use use)
{
    product<P, warps>(
        a, b, [](int, int) { return Nothing{}; },
        [&](int row, int column, const Pack<T, 2>& sums, Nothing) { use(row, column, sums); });
}

// A value at an address that is a multiple of 4.
template <class T>
__device__ __forceinline__ void store_words(uint32_t* target, T value)
{
    struct Words {
        uint32_t word[sizeof(T) / 4];
    };
    const Words words = math::bits_as<Words>(value);
    #pragma unroll
    for (int i = 0; i < int(sizeof(T) / 4); ++i) target[i] = words.word[i];
}

}  // namespace resident
