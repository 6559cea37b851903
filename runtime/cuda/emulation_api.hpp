// The part of the CUDA runtime's interface that the trainer uses, for a CPU: memory of the device is the host's, a
// stream does everything at once, a graph is a list of launches. It can be told to fail, so that tests see the
// trainer's answer:
//   ASMGEN_EMULATION_FAULT   no_driver, old_driver, no_device, old_device, sm_80, no_sm_90, no_clusters, busy_device,
//                            no_kernel, old_ptx, no_memory, full_memory, refused_launch or broken_kernel; the last two
//                            @N: from launch N on
//   ASMGEN_EMULATION_MEMORY  bytes of device memory
//   ASMGEN_EMULATION_SEED    another order of blocks and threads
#pragma once

#include <functional>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <vector>

#include "device.cuh"
#include "emulation/run.hpp"

#define CUDART_VERSION 13000

enum cudaError_t {
    cudaSuccess,
    cudaErrorMemoryAllocation,
    cudaErrorInsufficientDriver,
    cudaErrorNoDevice,
    cudaErrorNoKernelImageForDevice,
    cudaErrorInvalidDeviceFunction,
    cudaErrorUnsupportedPtxVersion,
    cudaErrorDevicesUnavailable,
    cudaErrorInvalidClusterSize,
    cudaErrorLaunchFailure,
    cudaErrorStreamCaptureInvalidated
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };
enum cudaDeviceAttr { cudaDevAttrMaxSharedMemoryPerBlockOptin };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize, cudaFuncAttributeNonPortableClusterSizeAllowed };
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal };
constexpr unsigned cudaStreamNonBlocking = 1;

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem;
    int major, minor;
};

struct cudaFuncAttributes {
    size_t sharedSizeBytes;
    int maxThreadsPerBlock;
};

enum cudaLaunchAttributeID { cudaLaunchAttributeClusterDimension };

struct cudaLaunchAttribute {
    cudaLaunchAttributeID id;
    struct {
        struct {
            unsigned x, y, z;
        } clusterDim;
    } val;
};

struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    int stream;
    cudaLaunchAttribute* attrs;
    unsigned numAttrs;
};

namespace emulation {

using Work = std::function<void()>;
using Graph = std::vector<Work>;

inline Graph* recording;  // between cudaStreamBeginCapture and cudaStreamEndCapture
inline size_t allocated;
inline cudaError_t last_error = cudaSuccess;
inline uint64_t n_launches;
inline char launch_message[1200];

// Whether the wanted fault is this one, and its time has come.
inline bool fails(const char* fault)
{
    const char* wanted = getenv("ASMGEN_EMULATION_FAULT");
    const size_t length = strlen(fault);
    if (!wanted || strncmp(wanted, fault, length)) return false;
    return !wanted[length] || (wanted[length] == '@' && n_launches >= strtoull(wanted + length + 1, nullptr, 10));
}

inline size_t memory_bytes()
{
    const char* wanted = getenv("ASMGEN_EMULATION_MEMORY");
    return wanted ? strtoull(wanted, nullptr, 10) : size_t{1} << 34;
}

inline uint32_t first_seed()
{
    const char* wanted = getenv("ASMGEN_EMULATION_SEED");
    return wanted ? static_cast<uint32_t>(strtoul(wanted, nullptr, 10)) : 0;
}

inline uint32_t next_seed = first_seed();

inline void enqueue(Work work)
{
    if (recording)
        recording->push_back(std::move(work));
    else
        work();
}

// Runs or records a kernel. What goes wrong in it is the stream's error from then on, as on a device.
template <class... Parameters>
cudaError_t launch(const char* name, void (*kernel)(Parameters...), dim3 grid_size, int cluster, int block,
                   int shared_bytes, Parameters... arguments)
{
    if (fails("refused_launch")) return cudaErrorInvalidClusterSize;
    enqueue([=] {
        if (last_error != cudaSuccess) return;
        ++n_launches;
        Launch launch = {};
        launch.grid[0] = static_cast<int>(grid_size.x);
        launch.grid[1] = static_cast<int>(grid_size.y);
        launch.grid[2] = static_cast<int>(grid_size.z);
        launch.block = block;
        launch.shared_bytes = shared_bytes;
        launch.cluster = cluster;
        launch.seed = next_seed++;
        launch.seconds = 600;
        auto job = [=] { kernel(arguments...); };
        grid.job = [](void* data) { (*static_cast<decltype(job)*>(data))(); };
        grid.job_data = &job;
        const char* wrong = fails("broken_kernel") ? "asked to fail" : run_grid(launch);
        if (!wrong) return;
        snprintf(launch_message, sizeof launch_message, "kernel %s, %s", name, wrong);
        last_error = cudaErrorLaunchFailure;
    });
    return last_error;
}

}  // namespace emulation

using cudaStream_t = int;
using cudaEvent_t = timespec*;  // when it came
using cudaGraph_t = emulation::Graph*;
using cudaGraphExec_t = emulation::Graph*;

inline const char* cudaGetErrorName(cudaError_t error)
{
    switch (error) {
    case cudaSuccess: return "cudaSuccess";
    case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
    case cudaErrorInsufficientDriver: return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice: return "cudaErrorNoDevice";
    case cudaErrorNoKernelImageForDevice: return "cudaErrorNoKernelImageForDevice";
    case cudaErrorInvalidDeviceFunction: return "cudaErrorInvalidDeviceFunction";
    case cudaErrorUnsupportedPtxVersion: return "cudaErrorUnsupportedPtxVersion";
    case cudaErrorDevicesUnavailable: return "cudaErrorDevicesUnavailable";
    case cudaErrorInvalidClusterSize: return "cudaErrorInvalidClusterSize";
    case cudaErrorLaunchFailure: return "cudaErrorLaunchFailure";
    case cudaErrorStreamCaptureInvalidated: return "cudaErrorStreamCaptureInvalidated";
    }
    return "unknown error";
}

inline const char* cudaGetErrorString(cudaError_t error)
{
    return error == cudaErrorLaunchFailure ? emulation::launch_message : "emulated failure";
}

inline cudaError_t cudaDriverGetVersion(int* version)
{
    *version = emulation::fails("no_driver") ? 0 : emulation::fails("old_driver") ? 12040 : CUDART_VERSION;
    return cudaSuccess;
}

inline cudaError_t cudaGetDeviceCount(int* count)
{
    *count = 1;
    if (emulation::fails("old_driver")) return cudaErrorInsufficientDriver;
    return emulation::fails("no_device") ? cudaErrorNoDevice : cudaSuccess;
}

inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int)
{
    *properties = {"emulated GPU", emulation::memory_bytes(), 9, 0};
    if (emulation::fails("old_device")) properties->major = 7;
    if (emulation::fails("sm_80")) properties->major = 8;
    if (emulation::fails("no_sm_90")) properties->major = 8, properties->minor = 9;
    return cudaSuccess;
}

inline cudaError_t cudaSetDevice(int)
{
    return emulation::fails("busy_device") ? cudaErrorDevicesUnavailable : cudaSuccess;
}

inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int)
{
    *value = 227 * 1024;
    return cudaSuccess;
}

inline cudaError_t cudaMemGetInfo(size_t* available, size_t* whole)
{
    *whole = emulation::memory_bytes();
    *available = *whole - emulation::allocated;
    return cudaSuccess;
}

// Device memory starts as NaN.
inline cudaError_t cudaMalloc(void** memory, size_t bytes)
{
    if (emulation::fails("full_memory")) return cudaErrorMemoryAllocation;
    if (emulation::allocated + bytes > emulation::memory_bytes()) return cudaErrorMemoryAllocation;
    emulation::allocated += bytes;
    *memory = (new emulation::GuardedMemory(bytes))->begin();
    memset(*memory, 0xFF, bytes);
    return cudaSuccess;
}

inline cudaError_t cudaMallocHost(void** memory, size_t bytes)
{
    *memory = malloc(bytes);
    return *memory ? cudaSuccess : cudaErrorMemoryAllocation;
}

inline cudaError_t cudaMemcpyAsync(void* target, const void* source, size_t bytes, cudaMemcpyKind, cudaStream_t)
{
    emulation::enqueue([=] { memcpy(target, source, bytes); });
    return emulation::last_error;
}

inline cudaError_t cudaMemsetAsync(void* target, int value, size_t bytes, cudaStream_t)
{
    emulation::enqueue([=] { memset(target, value, bytes); });
    return emulation::last_error;
}

inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned)
{
    *stream = 0;
    return emulation::fails("no_memory") ? cudaErrorMemoryAllocation : cudaSuccess;
}

inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return emulation::last_error; }

inline cudaError_t cudaEventCreate(cudaEvent_t* event)
{
    *event = new timespec();
    return cudaSuccess;
}

inline cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t)
{
    clock_gettime(CLOCK_MONOTONIC, event);
    return emulation::last_error;
}

inline cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end)
{
    const double seconds = static_cast<double>(end->tv_sec - begin->tv_sec);
    *milliseconds = static_cast<float>(seconds * 1e3 + static_cast<double>(end->tv_nsec - begin->tv_nsec) / 1e6);
    return emulation::last_error;
}

inline cudaError_t cudaEventSynchronize(cudaEvent_t) { return emulation::last_error; }

inline cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void*)
{
    *attributes = {0, 1024};
    if (emulation::fails("old_ptx")) return cudaErrorUnsupportedPtxVersion;
    return emulation::fails("no_kernel") ? cudaErrorNoKernelImageForDevice : cudaSuccess;
}

inline cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return cudaSuccess; }

inline cudaError_t cudaOccupancyMaxActiveClusters(int* n, const void*, const cudaLaunchConfig_t*)
{
    *n = emulation::fails("no_clusters") ? 0 : 1;
    return cudaSuccess;
}

inline cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode)
{
    emulation::recording = new emulation::Graph;
    return cudaSuccess;
}

inline cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t* graph)
{
    *graph = emulation::recording;
    emulation::recording = nullptr;
    return cudaSuccess;
}

inline cudaError_t cudaGraphGetNodes(cudaGraph_t graph, void*, size_t* n_nodes)
{
    *n_nodes = graph->size();
    return cudaSuccess;
}

inline cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long)
{
    *exec = new emulation::Graph(*graph);
    return cudaSuccess;
}

inline cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}

inline cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) { return cudaSuccess; }

inline cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t)
{
    for (const emulation::Work& work : *exec) work();
    return cudaSuccess;
}
