// How the generated trainer.cu launches its kernels: LAUNCH, and the names its arguments have.
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
    bool prepares;  // launches load their kernel and check what it needs, and run nothing
};

inline Device device;

inline Address at(size_t offset) { return {device.arena.byte + offset}; }

// Ends the trainer where a call failed; `doing` is what for.
inline void check(cudaError_t error, const char* doing)
{
    if (error == cudaSuccess) return;
    fail(exit_failed, "CUDA: %s: %s (%s)", doing, cudaGetErrorString(error), cudaGetErrorName(error));
}

inline void prepare(const char* name, const void* kernel, int block, int shared_bytes)
{
    cudaFuncAttributes needs;
    const cudaError_t loaded = cudaFuncGetAttributes(&needs, kernel);
    for (const cudaError_t unfit : {cudaErrorNoKernelImageForDevice, cudaErrorInvalidDeviceFunction, cudaErrorUnsupportedPtxVersion}) {
        if (loaded != unfit) continue;
        fail(exit_machine, "kernel %s was not compiled for this device; build again, with its architecture in --arch", name);
    }
    check(loaded, name);
    int limit = 0;
    check(cudaDeviceGetAttribute(&limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0), name);
    if (static_cast<int>(needs.sharedSizeBytes) + shared_bytes > limit) {
        fail(exit_machine, "kernel %s needs %u bytes of shared memory; a block of this device has %u", name,
             needs.sharedSizeBytes + shared_bytes, limit);
    }
    if (block > needs.maxThreadsPerBlock) {
        fail(exit_machine, "kernel %s has %u threads a block; this device runs it with %u", name, block, needs.maxThreadsPerBlock);
    }
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes), name);
}

// Blocks of a launch; `cluster` of them along x see each other's shared memory.
struct Grid {
    dim3 size;
    int cluster;
};

template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), Grid grid, int block, int shared_bytes, Arguments... arguments)
{
    if (device.prepares) return prepare(name, reinterpret_cast<const void*>(kernel), block, shared_bytes);
#ifdef ASMGEN_EMULATION
    check(emulation::launch(name, kernel, grid.size, grid.cluster, block, shared_bytes, static_cast<Parameters>(arguments)...), name);
#else
    cudaLaunchAttribute cluster;
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim = {static_cast<unsigned>(grid.cluster), 1, 1};
    cudaLaunchConfig_t config = {};
    config.gridDim = grid.size;
    config.blockDim = dim3(block, 1, 1);
    config.dynamicSmemBytes = shared_bytes;
    config.stream = device.stream;
    config.attrs = &cluster;
    config.numAttrs = grid.cluster > 1;
    check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), name);
#endif
}

}  // namespace host

// LAUNCH(kernel, GRID(x, y, z), threads a block, bytes of dynamic shared memory, arguments...)
#define LAUNCH(kernel, ...) host::launch(#kernel, kernel, __VA_ARGS__)
#define GRID(x, y, z) host::Grid{dim3(x, y, z), 1}
#define CLUSTERS(x, y, z, blocks) host::Grid{dim3(x, y, z), blocks}
#define AT(tensor) host::at(arena::tensor)
#define IMAGES host::device.images
#define WORKSPACE host::device.workspace
