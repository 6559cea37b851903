// The names of device.cuh on a GPU, sm_80 and later; docs/cuda.md says what each does.
#pragma once

namespace hardware {

__device__ __forceinline__ uint32_t shared_address(const void* pointer)
{
    return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

extern __shared__ __align__(128) unsigned char dynamic_memory[];

}  // namespace hardware

// The block's dynamic shared memory as a Shared.
template <class Shared>
__device__ __forceinline__ Shared& shared_memory()
{
    return *reinterpret_cast<Shared*>(hardware::dynamic_memory);
}

// The same value, as if it were new: what depends on it is computed from here, and not kept in registers from before.
__device__ __forceinline__ int renewed(int value)
{
    asm volatile("" : "+r"(value));
    return value;
}

// ---- barriers ------------------------------------------------------------------------------------------------------

__device__ __forceinline__ void block_barrier() { __syncthreads(); }

__device__ __forceinline__ void warp_barrier() { __syncwarp(); }

// ---- exchange within a warp: all 32 lanes call together ------------------------------------------------------------

template <class T>
__device__ __forceinline__ T shuffle(T value, int source_lane)
{
    return __shfl_sync(0xffffffffu, value, source_lane);
}

template <class T>
__device__ __forceinline__ T shuffle_xor(T value, int lane_mask)
{
    return __shfl_xor_sync(0xffffffffu, value, lane_mask);
}

__device__ __forceinline__ uint32_t warp_ballot(bool predicate) { return __ballot_sync(0xffffffffu, predicate); }

// ---- asynchronous copies from global to shared memory --------------------------------------------------------------

template <int bytes>
__device__ __forceinline__ void cp_async(void* shared, const void* global, bool valid = true)
{
    static_assert(bytes == 4 || bytes == 8 || bytes == 16, "cp.async copies 4, 8 or 16 bytes");
    const uint32_t target = hardware::shared_address(shared);
    const int from_global = valid ? bytes : 0;  // the rest is filled with zeros
    if constexpr (bytes == 16) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(target), "l"(global), "r"(from_global)
                     : "memory");
    } else {
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;\n" ::"r"(target), "l"(global), "n"(bytes),
                     "r"(from_global)
                     : "memory");
    }
}

// The same through L1, for data that other copies of the block bring in again soon.
template <int bytes>
__device__ __forceinline__ void cp_async_cached(void* shared, const void* global, bool valid = true)
{
    static_assert(bytes == 4 || bytes == 8 || bytes == 16, "cp.async copies 4, 8 or 16 bytes");
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;\n" ::"r"(hardware::shared_address(shared)), "l"(global),
                 "n"(bytes), "r"(valid ? bytes : 0)
                 : "memory");
}

__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }

template <int groups_left>
__device__ __forceinline__ void cp_async_wait()
{
    asm volatile("cp.async.wait_group %0;\n" ::"n"(groups_left) : "memory");
}

// ---- matrix products -----------------------------------------------------------------------------------------------

__device__ __forceinline__ uint32_t to_tf32(float value)
{
    uint32_t bits;
    asm("cvt.rna.tf32.f32 %0, %1;\n" : "=r"(bits) : "f"(value));
    return bits;
}

__device__ __forceinline__ void mma_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])
{
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ void mma_f64(double (&d)[2], double a, double b)
{
    asm volatile("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0,%1}, {%2}, {%3}, {%0,%1};\n"
                 : "+d"(d[0]), "+d"(d[1])
                 : "d"(a), "d"(b));
}

__device__ __forceinline__ void load_matrices(uint32_t (&words)[4], const void* row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(hardware::shared_address(row))
                 : "memory");
}

__device__ __forceinline__ void load_matrices(uint32_t (&words)[2], const void* row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];\n"
                 : "=r"(words[0]), "=r"(words[1])
                 : "r"(hardware::shared_address(row))
                 : "memory");
}

// ---- clusters: blocks that run together and see each other's shared memory (sm_90) ---------------------------------

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

__device__ __forceinline__ int cluster_rank()
{
    uint32_t rank;
    asm("mov.u32 %0, %%cluster_ctarank;\n" : "=r"(rank));
    return static_cast<int>(rank);
}

__device__ __forceinline__ void cluster_barrier()
{
    asm volatile("barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;\n" ::: "memory");
}

// The same place in the shared memory of block `rank` of the cluster.
template <class T>
__device__ __forceinline__ T* map_shared_rank(T* shared, int rank)
{
    T* mapped;
    asm("mapa.u64 %0, %1, %2;\n" : "=l"(mapped) : "l"(shared), "r"(rank));
    return mapped;
}

#endif
