// How Python calls a kernel on a GPU, as emulation/run.hpp does on a CPU. Included after the kernels.
#pragma once

#include <cuda_runtime.h>
#include <stdint.h>
#include <utility>

namespace call {

// Mirrored in asmgen/harness/cuda/run.py; what does not concern a GPU is not read.
struct Launch {
    int32_t grid[3];
    int32_t block;
    int32_t shared_bytes;
    int32_t cluster;
    uint32_t seed;
    int32_t seconds;
    uint64_t fault_address, fault_offset;
};

inline const char* text_of(cudaError_t error) { return error == cudaSuccess ? nullptr : cudaGetErrorString(error); }

template <class... Parameters, size_t... at>
const char* run_with(const Launch& launch, void (*kernel)(Parameters...), void* const* arguments,
                     std::index_sequence<at...>)
{
    cudaError_t error = cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                             cudaFuncAttributeMaxDynamicSharedMemorySize, launch.shared_bytes);
    if (error != cudaSuccess) return text_of(error);
    cudaLaunchAttribute cluster;
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim = {static_cast<unsigned>(launch.cluster), 1, 1};
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(launch.grid[0], launch.grid[1], launch.grid[2]);
    config.blockDim = dim3(launch.block, 1, 1);
    config.dynamicSmemBytes = launch.shared_bytes;
    config.attrs = &cluster;
    config.numAttrs = launch.cluster > 1;
    error = cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments[at])...);
    return text_of(error != cudaSuccess ? error : cudaDeviceSynchronize());
}

// Runs a kernel, all of whose parameters are pointers to device memory. Returns what went wrong, or null.
template <class... Parameters>
const char* run(const Launch& launch, void (*kernel)(Parameters...), void* const* arguments)
{
    return run_with(launch, kernel, arguments, std::index_sequence_for<Parameters...>());
}

}  // namespace call

extern "C" {

const char* device_take(void** memory, size_t bytes) { return call::text_of(cudaMalloc(memory, bytes)); }

const char* device_give(void* memory) { return call::text_of(cudaFree(memory)); }

const char* device_put(void* target, const void* source, size_t bytes)
{
    return call::text_of(cudaMemcpy(target, source, bytes, cudaMemcpyHostToDevice));
}

const char* device_get(void* target, const void* source, size_t bytes)
{
    return call::text_of(cudaMemcpy(target, source, bytes, cudaMemcpyDeviceToHost));
}
}
