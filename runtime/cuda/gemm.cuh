// The matrix product of every convolution and dense layer: tiles in shared memory, sums in registers. Shapes, tile
// sizes and where the operands come from belong to the generated kernels.
//
// A k block is 64 bytes of k: four chunks of 16 bytes, 16 floats or 8 doubles, a block of channels of the layouts. Lane
// 4 g + t of a warp holds the sums of rows g + 8 slot and of the units t and t + 4 (h = 0, 1) of every octet of
// columns:
//
//     octet     8 units of E neighbouring columns, E = a chunk (two blocks of channels) or half of one (one block)
//     mma       the k of a fragment are free to be permuted, so lane (g, t) multiplies the k of chunk t: one 16-byte
//     read
//               a row; fragment column n = 2 t + h stands for unit t + 4 h, so a lane's columns lie side by side
//     fma       all lanes walk the four chunks together; the sums are owned the same way
#pragma once

#include "device.cuh"

namespace gemm {

enum class Arithmetic {
    fma,     // float32
    tf32x3,  // float32 accuracy: (big + small) (big + small) without small small
    tf32,    // operands rounded to 11 bits
    dmma,    // float64
};

template <class T>
constexpr int chunk = 16 / sizeof(T);  // elements

template <class T>
constexpr int k_block = 4 * chunk<T>;  // elements

// The unit of an octet that fragment column n (0..7) stands for.
__device__ constexpr int unit_of(int n) { return n / 2 + n % 2 * 4; }

// A tile whose rows are contiguous in k: [row][4 chunks]. Fragment e of an octet are the rows (octet E + e) 8 + n.
// Chunk c of row r lies at c ^ (r / 2 % 4): the 8 lanes of a quarter warp read two rows (mma) or one chunk of eight
// rows (fma), each time from all 32 banks once.
template <class T, int E_>
struct RowTile {
    static constexpr int E = E_;

    // First element of a chunk in a k block's tile.
    __device__ static int chunk_at(int row, int k_chunk) { return (row * 4 + (k_chunk ^ (row / 2 % 4))) * chunk<T>; }

    // f[e][i]: k = chunk k_chunk, element i, of rows n of octet `octet`.
    __device__ static void load(T (&f)[E][chunk<T>], const T* tile, int octet, int n, int k_chunk)
    {
        #pragma unroll
        for (int e = 0; e < E; ++e) {
            const Vec<T> v = load_vec(tile + chunk_at((octet * E + e) * 8 + n, k_chunk));
            #pragma unroll
            for (int i = 0; i < chunk<T>; ++i) f[e][i] = v[i];
        }
    }
};

// A tile whose rows are the pixels of a rectangle `width` wide, a multiple of 8, inside a patch of pixels `pitch` wide:
// [pixel of the patch][4 chunks]; the pointer is moved to the patch's pixel that the first row means. Two neighbouring
// pixels are 128 bytes, so that the lanes of a quarter warp touch every bank once (mma).
template <class T, int E_, int width, int pitch>
struct PatchTile {
    static constexpr int E = E_;
    static_assert(width % 8 == 0, "eight rows of a fragment are neighbours");

    __device__ static void load(T (&f)[E][chunk<T>], const T* tile, int octet, int n, int k_chunk)
    {
        #pragma unroll
        for (int e = 0; e < E; ++e) {
            const int row = (octet * E + e) * 8 + n, pixel = row / width * pitch + row % width;
            const Vec<T> v = load_vec(tile + (pixel * 4 + k_chunk) * chunk<T>);
            #pragma unroll
            for (int i = 0; i < chunk<T>; ++i) f[e][i] = v[i];
        }
    }
};

// A tile whose columns are contiguous: [octet][k][8 units of E]. Fragment e of an octet: the elements e of its units.
// Full octets: a row of k is 128 bytes, its chunk c lies at c ^ t, t = k / chunk. Half octets: the rows of t and t + 2
// share 128 bytes, chunk c lies at c ^ (t % 2). The lanes that read together then touch every bank once.
template <class T, int E_>
struct ColumnTile {
    static constexpr int E = E_;
    static constexpr int row_chunks = 8 * E / chunk<T>;
    static constexpr bool is_full = row_chunks == 8;
    static_assert(is_full || row_chunks == 4, "an octet is one or two blocks of channels");

    // First element of chunk `column_chunk` of row k in a k block's tile; column chunks count over all octets.
    __device__ static int chunk_at(int k, int column_chunk)
    {
        const int octet = column_chunk / row_chunks, c = column_chunk % row_chunks, t = k / chunk<T>;
        const int at = is_full ? k * 8 + (c ^ t) : (t % 2 * chunk<T> + k % chunk<T>) * 8 + t / 2 * 4 + (c ^ (t % 2));
        return (octet * k_block<T> * row_chunks + at) * chunk<T>;
    }

    // f[e][i]: k = chunk k_chunk, element i, of element e of unit_of(n).
    __device__ static void load(T (&f)[E][chunk<T>], const T* tile, int octet, int n, int k_chunk)
    {
        const int column = unit_of(n) * E;
        #pragma unroll
        for (int i = 0; i < chunk<T>; ++i) {
            const int at = chunk_at(k_chunk * chunk<T> + i, octet * row_chunks + column / chunk<T>);
            const Pack<T, E> v = load_pack<E>(tile + at + column % chunk<T>);
            #pragma unroll
            for (int e = 0; e < E; ++e) f[e][i] = v[e];
        }
    }
};

// The sums of a lane, grouped as the mma instructions want them.
template <class T, int slots, int octets, int E>
struct Sums {
    static constexpr int rows = sizeof(T) == 4 ? 2 : 1;  // slots of one instruction
    static_assert(slots % rows == 0, "m16n8k8 takes slots in pairs");
    T d[slots / rows][octets][E][2 * rows];

    __device__ T& at(int slot, int octet, int h, int e) { return d[slot / rows][octet][e][slot % rows * 2 + h]; }

    __device__ void clear()
    {
        #pragma unroll
        for (int slot = 0; slot < slots; ++slot)
            #pragma unroll
            for (int octet = 0; octet < octets; ++octet)
                #pragma unroll
                for (int e = 0; e < E; ++e) at(slot, octet, 0, e) = at(slot, octet, 1, e) = T(0);
    }

    // Elements e = 0..E-1 side by side, of unit t + 4 h.
    __device__ Pack<T, E> pack(int slot, int octet, int h)
    {
        Pack<T, E> v;
        #pragma unroll
        for (int e = 0; e < E; ++e) v[e] = at(slot, octet, h, e);
        return v;
    }
};

// What the lane multiplies of A: f[slot][i].
template <class A, class T, int slots>
__device__ __forceinline__ void load_rows(T (&f)[slots][chunk<T>], const T* a_tile, int a_octet, int n, int k_chunk)
{
    static_assert(slots % A::E == 0, "slots are whole octets of the tile");
    #pragma unroll
    for (int octet = 0; octet < slots / A::E; ++octet) {
        T part[A::E][chunk<T>];
        A::load(part, a_tile, a_octet + octet, n, k_chunk);
        #pragma unroll
        for (int e = 0; e < A::E; ++e)
            #pragma unroll
            for (int i = 0; i < chunk<T>; ++i) f[octet * A::E + e][i] = part[e][i];
    }
}

template <class A, class B, class T, int slots, int octets, int E>
__device__ __forceinline__ void multiply_fma(Sums<T, slots, octets, E>& sums, const T* a_tile, int a_octet,
                                             const T* b_tile, int b_octet)
{
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    #pragma unroll
    for (int k_chunk = 0; k_chunk < 4; ++k_chunk) {
        T a[slots][chunk<T>];
        load_rows<A>(a, a_tile, a_octet, g, k_chunk);
        #pragma unroll
        for (int octet = 0; octet < octets; ++octet)
            #pragma unroll
            for (int h = 0; h < 2; ++h) {
                T b[E][chunk<T>];
                B::load(b, b_tile, b_octet + octet, 2 * t + h, k_chunk);
                #pragma unroll
                for (int i = 0; i < chunk<T>; ++i)
                    #pragma unroll
                    for (int slot = 0; slot < slots; ++slot)
                        #pragma unroll
                        for (int e = 0; e < E; ++e) {
                            T& sum = sums.at(slot, octet, h, e);
                            sum = fma(a[slot][i], b[e][i], sum);
                        }
            }
    }
}

template <class A, class B, int slots, int octets, int E>
__device__ __forceinline__ void multiply_dmma(Sums<double, slots, octets, E>& sums, const double* a_tile, int a_octet,
                                              const double* b_tile, int b_octet)
{
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    double a[slots][2];
    load_rows<A>(a, a_tile, a_octet, g, t);
    #pragma unroll
    for (int octet = 0; octet < octets; ++octet) {
        double b[E][2];
        B::load(b, b_tile, b_octet + octet, g, t);
        #pragma unroll
        for (int i = 0; i < 2; ++i)
            #pragma unroll
            for (int e = 0; e < E; ++e)
                #pragma unroll
                for (int slot = 0; slot < slots; ++slot) mma_f64(sums.d[slot][octet][e], a[slot][i], b[e][i]);
    }
}

// big[r][i] = values[r][i] rounded to TF32, small: the rest, rounded, where it is wanted.
template <bool has_rest, int rows>
struct Tf32 {
    uint32_t big[rows][4], small[has_rest ? rows : 1][4];

    __device__ explicit Tf32(const float (&values)[rows][4])
    {
        #pragma unroll
        for (int r = 0; r < rows; ++r)
            #pragma unroll
            for (int i = 0; i < 4; ++i) {
                big[r][i] = to_tf32(values[r][i]);
                if constexpr (has_rest) small[r][i] = to_tf32(values[r][i] - math::bits_as<float>(big[r][i]));
            }
    }
};

// One product over elements i and i + 1 of the chunks; neighbouring instructions add to different sums.
template <int rows_a, int rows_b, int pairs, int octets, int E>
__device__ __forceinline__ void multiply_pair(float (&d)[pairs][octets][E][4], int octet,
                                              const uint32_t (&a)[rows_a][4], const uint32_t (&b)[rows_b][4], int i)
{
    #pragma unroll
    for (int e = 0; e < E; ++e)
        #pragma unroll
        for (int pair = 0; pair < pairs; ++pair) {
            const uint32_t rows[4] = {a[2 * pair][i], a[2 * pair + 1][i], a[2 * pair][i + 1], a[2 * pair + 1][i + 1]};
            const uint32_t columns[2] = {b[e][i], b[e][i + 1]};
            mma_tf32(d[pair][octet][e], rows, columns);
        }
}

template <bool is_split, class A, class B, int slots, int octets, int E>
__device__ __forceinline__ void multiply_tf32(Sums<float, slots, octets, E>& sums, const float* a_tile, int a_octet,
                                              const float* b_tile, int b_octet)
{
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    float rows[slots][4];
    load_rows<A>(rows, a_tile, a_octet, g, t);
    const Tf32<is_split, slots> a(rows);
    #pragma unroll
    for (int octet = 0; octet < octets; ++octet) {
        float columns[E][4];
        B::load(columns, b_tile, b_octet + octet, g, t);
        const Tf32<is_split, E> b(columns);
        #pragma unroll
        for (int i = 0; i < 4; i += 2) {
            if constexpr (is_split) {
                multiply_pair(sums.d, octet, a.small, b.big, i);
                multiply_pair(sums.d, octet, a.big, b.small, i);
            }
            multiply_pair(sums.d, octet, a.big, b.big, i);
        }
    }
}

// sums += A B over one k block. The warp's rows start at octet a_octet of the block's tile of A, its columns at
// b_octet.
template <Arithmetic arithmetic, class A, class B, class T, int slots, int octets, int E>
__device__ __forceinline__ void multiply_add(Sums<T, slots, octets, E>& sums, const T* a_tile, int a_octet,
                                             const T* b_tile, int b_octet)
{
    if constexpr (arithmetic == Arithmetic::fma)
        multiply_fma<A, B>(sums, a_tile, a_octet, b_tile, b_octet);
    else if constexpr (arithmetic == Arithmetic::dmma)
        multiply_dmma<A, B>(sums, a_tile, a_octet, b_tile, b_octet);
    else
        multiply_tf32<arithmetic == Arithmetic::tf32x3, A, B>(sums, a_tile, a_octet, b_tile, b_octet);
}

// What dz has at a position of a pool window: of 16 bytes of the pooled gradient, those elements whose codes name the
// position. `codes` are four, of which those of the elements begin at `first`.
template <class T>
__device__ __forceinline__ Vec<T> at_position(Vec<T> dy, uint32_t codes, int first, int position)
{
    // A byte is zero where the code is the position.
    const uint32_t others = (codes ^ position * 0x01010101u) >> 8 * first;
    #pragma unroll
    for (int i = 0; i < chunk<T>; ++i) dy[i] = others >> 8 * i & 0xff ? T(0) : dy[i];
    return dy;
}

// copy(step, stage) starts the copies of a step, finish(step, stage) works on those of this thread when they are there,
// multiply(step, stage) uses all of them. `stages` - 1 steps are in flight; the barrier of a step says that its stage
// is finished by all threads, and that the stage filled next is no longer read.
template <int stages, class Copy, class Finish, class Multiply>
__device__ __forceinline__ void pipeline(int n_steps, Copy copy, Finish finish, Multiply multiply)
{
    #pragma unroll
    for (int step = 0; step < stages - 1; ++step) {
        if (step < n_steps) copy(step, step);
        cp_async_commit();
    }
    for (int step = 0; step < n_steps; ++step) {
        cp_async_wait<stages - 2>();
        finish(step, step % stages);
        block_barrier();
        const int next = step + stages - 1;
        if (next < n_steps) copy(next, next % stages);
        cp_async_commit();
        multiply(step, step % stages);
    }
}

// The same where copies are used as they are.
template <int stages, class Copy, class Multiply>
__device__ __forceinline__ void pipeline(int n_steps, Copy copy, Multiply multiply)
{
    pipeline<stages>(n_steps, copy, [](int, int) {}, multiply);
}

}  // namespace gemm
