// How the generated trainer.cu launches its kernels: LAUNCH, CAN_RUN, and the names its arguments have.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef ASMGEN_EMULATION
#include "emulation_api.hpp"
#else
#include <cuda_runtime.h>
#endif

#include "device.cuh"
#include "runtime.hpp"

namespace host {

// An address on the device; a kernel's parameter makes a typed pointer of it.
struct Address {
    uint8_t* byte;

    template <class T>
    operator T*() const
    {
        return reinterpret_cast<T*>(byte);
    }
};

// What every launch needs, set by machine_open.
struct Device {
    cudaStream_t stream;
    Address arena, workspace, images;
    int capability;  // 90 for sm_90
    bool prepares;  // launches load their kernel and check what it needs, and run nothing
};

inline Device device;

inline Address at(size_t offset) { return {device.arena.byte + offset}; }

constexpr int cluster_capability = 90;
constexpr int portable_cluster = 8;  // blocks; more has to be asked for

// Ends the trainer where a call failed; `doing` is what for.
inline void check(cudaError_t error, const char* doing)
{
    if (error == cudaSuccess) return;
    fail(exit_failed, "CUDA: %s: %s (%s)", doing, cudaGetErrorString(error), cudaGetErrorName(error));
}

// Bytes of shared memory that a block of this device can have.
inline int most_shared_bytes(const char* doing)
{
    int limit = 0;
    check(cudaDeviceGetAttribute(&limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0), doing);
    return limit;
}

// Loads a kernel that the trainer cannot do without.
inline void prepare(const char* name, const void* kernel, int block, int shared_bytes)
{
    cudaFuncAttributes needs;
    const cudaError_t loaded = cudaFuncGetAttributes(&needs, kernel);
    for (const cudaError_t unfit :
         {cudaErrorNoKernelImageForDevice, cudaErrorInvalidDeviceFunction, cudaErrorUnsupportedPtxVersion}) {
        if (loaded != unfit) continue;
        fail(exit_machine, "kernel %s was not compiled for this device; build it with --arch sm_%u", name,
             device.capability);
    }
    check(loaded, name);
    const int limit = most_shared_bytes(name);
    if (static_cast<int>(needs.sharedSizeBytes) + shared_bytes > limit) {
        fail(exit_machine, "kernel %s needs %u bytes of shared memory; a block of this device has %u", name,
             needs.sharedSizeBytes + shared_bytes, limit);
    }
    if (block > needs.maxThreadsPerBlock) {
        fail(exit_machine, "kernel %s has %u threads a block; this device runs it with %u", name, block,
             needs.maxThreadsPerBlock);
    }
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes), name);
}

// Blocks of a launch; `cluster` of them along x see each other's shared memory.
struct Grid {
    dim3 size;
    int cluster;
};

// `cluster` is part of it, and the caller's.
inline cudaLaunchConfig_t configuration(Grid grid, int block, int shared_bytes, cudaLaunchAttribute& cluster)
{
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim = {static_cast<unsigned>(grid.cluster), 1, 1};
    cudaLaunchConfig_t config = {};
    config.gridDim = grid.size;
    config.blockDim = dim3(block, 1, 1);
    config.dynamicSmemBytes = shared_bytes;
    config.stream = device.stream;
    config.attrs = &cluster;
    config.numAttrs = grid.cluster > 1;
    return config;
}

// Loads a kernel in whose place others can run; whether this device can run it.
inline bool can_run(const char* name, const void* kernel, Grid grid, int block, int shared_bytes)
{
    if (grid.cluster > 1 && device.capability < cluster_capability) return false;
    cudaFuncAttributes needs;
    check(cudaFuncGetAttributes(&needs, kernel), name);
    if (static_cast<int>(needs.sharedSizeBytes) + shared_bytes > most_shared_bytes(name)) return false;
    if (block > needs.maxThreadsPerBlock) return false;
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes), name);
    if (grid.cluster == 1) return true;
    if (grid.cluster > portable_cluster)
        check(cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1), name);
    cudaLaunchAttribute cluster;
    const cudaLaunchConfig_t config = configuration(grid, block, shared_bytes, cluster);
    int fit = 0;  // of such clusters at a time; an error says that this device has none so large
    return cudaOccupancyMaxActiveClusters(&fit, kernel, &config) == cudaSuccess && fit > 0;
}

template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), Grid grid, int block, int shared_bytes,
            Arguments... arguments)
{
    if (device.prepares) return prepare(name, reinterpret_cast<const void*>(kernel), block, shared_bytes);
#ifdef ASMGEN_EMULATION
    check(emulation::launch(name, kernel, grid.size, grid.cluster, block, shared_bytes,
                            static_cast<Parameters>(arguments)...),
          name);
#else
    cudaLaunchAttribute cluster;
    const cudaLaunchConfig_t config = configuration(grid, block, shared_bytes, cluster);
    check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), name);
#endif
}

}  // namespace host

// LAUNCH(kernel, GRID(x, y, z), threads a block, bytes of dynamic shared memory, arguments...); CAN_RUN: without
// arguments
#define LAUNCH(kernel, ...) host::launch(#kernel, kernel, __VA_ARGS__)
#define CAN_RUN(kernel, ...) host::can_run(#kernel, reinterpret_cast<const void*>(kernel), __VA_ARGS__)
#define GRID(x, y, z) host::Grid{dim3(x, y, z), 1}
#define CLUSTERS(x, y, z, blocks) host::Grid{dim3(x, y, z), blocks}
#define AT(tensor) host::at(arena::tensor)
#define IMAGES host::device.images
#define WORKSPACE host::device.workspace
