// Barriers, and what the lanes of a warp do together. Fragments of matrices lie as in the PTX ISA document ("Matrix
// Fragments for mma.m16n8k8", "... mma.m8n8k4"): with lane = 4 group + member, a[i] of tf32 is the element of row
// group + 8 (i % 2) and column member + 4 (i / 2); b[i] of row member + 4 i, column group; d[i] of row
// group + 8 (i / 2), column 2 member + i % 2.
#pragma once

inline void block_barrier(Place place = Place::here()) { emulation::barrier_of_block(place); }

inline void cluster_barrier(Place place = Place::here()) { emulation::barrier_of_cluster(place); }

inline void warp_barrier(Place place = Place::here())
{
    char nothing = 0;
    emulation::warp_collective("warp_barrier", place, nothing, [](char**) {});
}

namespace emulation {

template <class T>
struct Exchange {
    T value;
    int source;
};

template <class T>
T exchange(const char* kind, const Place& place, T value, int source)
{
    Exchange<T> mine{value, source};
    warp_collective(kind, place, mine, [](Exchange<T>** lanes) {
        T values[32];
        for (int lane = 0; lane < 32; ++lane) values[lane] = lanes[lane]->value;
        for (int lane = 0; lane < 32; ++lane) lanes[lane]->value = values[lanes[lane]->source & 31];
    });
    return mine.value;
}

inline float as_float(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

inline uint32_t as_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

struct Tf32Fragments {
    float* d;
    const uint32_t *a, *b;
};

// Four columns of a matrix at a time.
typedef double Doubles __attribute__((vector_size(32)));
typedef float Floats __attribute__((vector_size(16)));
typedef uint64_t Words __attribute__((vector_size(32)));

// Exact sums cut off, towards zero, to what a float holds, as matrix units do.
inline Floats truncated(Doubles sums)
{
    const Words kept = reinterpret_cast<Words&>(sums) & ~((uint64_t(1) << 29) - 1);
    return __builtin_convertvector(reinterpret_cast<const Doubles&>(kept), Floats);
}

inline void multiply_tf32(Tf32Fragments** lanes)
{
    constexpr uint32_t tf32_bits = 0xFFFFE000;  // the unit reads no more of its inputs
    __attribute__((uninitialized)) double a[16][8];
    __attribute__((uninitialized)) Doubles b[8][2];
    for (int lane = 0; lane < 32; ++lane) {
        const int group = lane / 4, member = lane % 4;
        const Tf32Fragments& own = *lanes[lane];
        for (int i = 0; i < 4; ++i) a[group + 8 * (i % 2)][member + 4 * (i / 2)] = as_float(own.a[i] & tf32_bits);
        for (int i = 0; i < 2; ++i) b[member + 4 * i][group / 4][group % 4] = as_float(own.b[i] & tf32_bits);
    }
    for (int row = 0; row < 16; ++row) {
        for (int half = 0; half < 2; ++half) {
            float* left = lanes[row % 8 * 4 + 2 * half]->d + row / 8 * 2;
            float* right = lanes[row % 8 * 4 + 2 * half + 1]->d + row / 8 * 2;
            Doubles sums = {left[0], left[1], right[0], right[1]};
            for (int k = 0; k < 8; ++k) sums += a[row][k] * b[k][half];
            const Floats result = truncated(sums);
            memcpy(left, &result, 8);
            memcpy(right, reinterpret_cast<const char*>(&result) + 8, 8);
        }
    }
}

struct F64Fragments {
    double* d;
    double a, b;
};

inline void multiply_f64(F64Fragments** lanes)
{
    for (int row = 0; row < 8; ++row) {
        for (int column = 0; column < 8; ++column) {
            double& sum = lanes[row * 4 + column / 2]->d[column % 2];
            for (int k = 0; k < 4; ++k) sum = fma(lanes[row * 4 + k]->a, lanes[column * 4 + k]->b, sum);
        }
    }
}

struct MatrixRows {
    uint32_t* words;
    const char* row;
};

template <int matrices>
void load_rows(uint32_t* words, const void* row, const Place& place)
{
    if (current->number % 32 < 8 * matrices) require_shared("load_matrices", row, 16);
    MatrixRows mine{words, static_cast<const char*>(row)};
    warp_collective("load_matrices", place, mine, [](MatrixRows** lanes) {
        for (int lane = 0; lane < 32; ++lane) {
            for (int matrix = 0; matrix < matrices; ++matrix) {
                memcpy(&lanes[lane]->words[matrix], lanes[8 * matrix + lane / 4]->row + 4 * (lane % 4), 4);
            }
        }
    });
}

}  // namespace emulation

template <class T>
T shuffle(T value, int source_lane, Place place = Place::here())
{
    return emulation::exchange("shuffle", place, value, source_lane);
}

template <class T>
T shuffle_xor(T value, int lane_mask, Place place = Place::here())
{
    return emulation::exchange("shuffle_xor", place, value, (emulation::current->number & 31) ^ lane_mask);
}

inline uint32_t warp_ballot(bool predicate, Place place = Place::here())
{
    uint32_t mine = predicate;
    emulation::warp_collective("warp_ballot", place, mine, [](uint32_t** lanes) {
        uint32_t votes = 0;
        for (int lane = 0; lane < 32; ++lane) votes |= *lanes[lane] << lane;
        for (int lane = 0; lane < 32; ++lane) *lanes[lane] = votes;
    });
    return mine;
}

// Rounds to 10 bits of fraction, ties away from zero.
inline uint32_t to_tf32(float value)
{
    const uint32_t bits = emulation::as_bits(value);
    return isfinite(value) ? (bits + 0x1000) & 0xFFFFE000 : bits & 0xFFFFE000;
}

inline void mma_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Place place = Place::here())
{
    emulation::Tf32Fragments mine{d, a, b};
    emulation::warp_collective("mma_tf32", place, mine, emulation::multiply_tf32);
}

inline void mma_f64(double (&d)[2], double a, double b, Place place = Place::here())
{
    emulation::F64Fragments mine{d, a, b};
    emulation::warp_collective("mma_f64", place, mine, emulation::multiply_f64);
}

inline void load_matrices(uint32_t (&words)[4], const void* row, Place place = Place::here())
{
    emulation::load_rows<4>(words, row, place);
}

inline void load_matrices(uint32_t (&words)[2], const void* row, Place place = Place::here())
{
    emulation::load_rows<2>(words, row, place);
}

inline int cluster_rank() { return emulation::current->warp->block->rank; }

template <class T>
T* map_shared_rank(T* shared, int rank, Place place = Place::here())
{
    emulation::require_shared("map_shared_rank", shared, 1);
    if (rank < 0 || rank >= emulation::grid.launch->cluster) {
        emulation::fail("map_shared_rank: rank %d of %d", rank, emulation::grid.launch->cluster);
    }
    emulation::access_remote(rank, place);
    const char* own = emulation::current->warp->block->shared->begin();
    char* other = emulation::grid.blocks[rank].shared->begin();
    return reinterpret_cast<T*>(other + (reinterpret_cast<const char*>(shared) - own));
}
