// The device: opened, given memory and the data set; parameters to it and from it. Included last by trainer.cu, whose
// names it uses.
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "steps.cuh"

void step_derive_list();

namespace host {

// Architectures in the executable, as nvcc states them: 800, 900 for sm_80, sm_90.
#ifdef __CUDA_ARCH_LIST__
constexpr int built_for[] = {__CUDA_ARCH_LIST__};
#else
constexpr int built_for[] = {860};  // of the emulation: more than the least, so that a GPU can lie between them
#endif
constexpr int least_capability = 80;  // of asmgen's kernels; asmgen/toolchain/nvcc.py refuses to compile for less

constexpr size_t alignment = 256;

inline size_t aligned(size_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }

inline void choose_device(cudaDeviceProp& properties)
{
    constexpr char cpu[] = "a CPU trains the same model with --isa native";
    int driver = 0, count = 0;
    if (cudaDriverGetVersion(&driver) != cudaSuccess) driver = 0;
    if (driver == 0) fail(exit_machine, "there is no NVIDIA driver, which this trainer (--isa cuda) needs; %s", cpu);
    const cudaError_t found = cudaGetDeviceCount(&count);
    if (found == cudaErrorInsufficientDriver) {
        fail(exit_machine,
             "the NVIDIA driver is made for CUDA %u.%u, this trainer for %u.%u; "
             "update the driver, or build with its CUDA",
             driver / 1000, driver % 1000 / 10, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    }
    if (found == cudaErrorNoDevice || (found == cudaSuccess && count == 0)) {
        fail(exit_machine, "the NVIDIA driver sees no GPU (does CUDA_VISIBLE_DEVICES hide it?); %s", cpu);
    }
    check(found, "looking for a GPU");
    check(cudaGetDeviceProperties(&properties, 0), "looking for a GPU");
    int least = built_for[0];
    for (const int built : built_for) least = built < least ? built : least;
    device.capability = properties.major * 10 + properties.minor;
    if (device.capability < least_capability) {
        fail(exit_machine, "%s has compute capability %u.%u, the kernels of --isa cuda need %u.%u or later; %s",
             properties.name, properties.major, properties.minor, least_capability / 10, least_capability % 10, cpu);
    }
    if (device.capability * 10 < least) {
        fail(exit_machine,
             "%s has compute capability %u.%u, this trainer was built for %u.%u and later; build it with --arch sm_%u",
             properties.name, properties.major, properties.minor, least / 100, least % 100 / 10, device.capability);
    }
}

// Blocks of device memory, counted before they are asked for, so that a failure can name the sum.
struct Wish {
    void** target;
    size_t bytes;
};

struct Memory {
    size_t needed, image_bytes, most_samples;  // in all; of both splits' images; of a phase
    uint8_t* labels;
    Wish wishes[8];
};

inline Memory memory;

inline void plan_memory()
{
    using namespace runtime;
    const size_t samples = train_split.count + test_split.count;
    const size_t most_samples = train_split.count > test_split.count ? train_split.count : test_split.count;
    memory.image_bytes = samples * model_channels * model_height * model_width;
    memory.most_samples = most_samples;
    steps.most_steps = (most_samples + model_batch - 1) / model_batch;
    result_bytes = result_words() * sizeof(uint32_t);
    const Wish wishes[] = {
        {reinterpret_cast<void**>(&device.arena.byte), model_arena_bytes},
        {reinterpret_cast<void**>(&device.workspace.byte), arena::workspace_bytes},
        {reinterpret_cast<void**>(&device.images.byte), memory.image_bytes},
        {reinterpret_cast<void**>(&memory.labels), samples},
        {reinterpret_cast<void**>(&steps.order), most_samples * sizeof *steps.order},
        {reinterpret_cast<void**>(&steps.rows), steps.most_steps * sizeof *steps.rows},
        {reinterpret_cast<void**>(&steps.step), sizeof *steps.step},
        {reinterpret_cast<void**>(&steps.feed.results), steps.most_steps * result_bytes},
    };
    static_assert(sizeof wishes == sizeof memory.wishes, "a place for each");
    memory.needed = 0;
    for (size_t i = 0; i < sizeof wishes / sizeof *wishes; ++i) {
        memory.wishes[i] = wishes[i];
        memory.needed += aligned(wishes[i].bytes);
    }
}

// CUDA's own context and a stream; where other programs have taken all memory, not even those fit.
inline void start_device(const cudaDeviceProp& properties)
{
    cudaError_t error = cudaSetDevice(0);
    if (error == cudaSuccess) error = cudaStreamCreateWithFlags(&device.stream, cudaStreamNonBlocking);
    if (error == cudaErrorMemoryAllocation) {
        fail(exit_failed,
             "%s needs %m MB of the device's memory, %m MB of them for the images, but %s, with %m MB in all, has not "
             "even enough free for CUDA to start",
             runtime::model_name, memory.needed, memory.image_bytes, properties.name, properties.totalGlobalMem);
    }
    check(error, "starting the GPU");
}

inline void allocate(const char* name)
{
    size_t available = 0, whole = 0;
    check(cudaMemGetInfo(&available, &whole), "asking for the device's free memory");
    bool fits = memory.needed <= available;
    for (const Wish& wish : memory.wishes) {
        if (!fits) break;
        const cudaError_t error = cudaMalloc(wish.target, aligned(wish.bytes));
        if (error == cudaErrorMemoryAllocation)
            fits = false;
        else
            check(error, "allocating memory");
    }
    if (!fits) {
        fail(exit_failed,
             "%s needs %m MB of the device's memory, %m MB of them for the images, but %s has %m MB free of %m MB",
             runtime::model_name, memory.needed, memory.image_bytes, name, available, whole);
    }
}

template <class T>
T* page_locked(size_t n)
{
    void* memory;
    check(cudaMallocHost(&memory, n * sizeof(T)), "allocating page-locked memory");
    return static_cast<T*>(memory);
}

// In the stream's order; the source may change after it.
inline void upload(void* target, const void* source, size_t bytes, const char* doing)
{
    check(cudaMemcpyAsync(target, source, bytes, cudaMemcpyHostToDevice, device.stream), doing);
    check(cudaStreamSynchronize(device.stream), doing);
}

inline void allocate_all(const char* name)
{
    using namespace runtime;
    allocate(name);
    steps.feed.rows = steps.rows;
    steps.feed.order = steps.order;
    steps.feed.labels = memory.labels;
    steps.feed.step = steps.step;
    step_rows = page_locked<StepRow>(steps.most_steps);
    step_results = page_locked<uint8_t>(steps.most_steps * result_bytes);
    steps.host_order = page_locked<uint32_t>(memory.most_samples);
    const size_t image_bytes = model_channels * model_height * model_width;
    for (const Split* split : {&train_split, &test_split}) {
        const size_t before = split == &test_split ? train_split.count : 0;
        upload(device.images.byte + before * image_bytes, split->images, split->count * image_bytes,
               "copying the images");
        upload(memory.labels + before, split->labels, split->count, "copying the labels");
    }
    check(cudaMemsetAsync(device.arena.byte, 0, model_arena_bytes, device.stream), "clearing the arena");
}

// ASMGEN_RESIDENT=0 keeps to launches where one kernel could train, to compare the two.
inline bool trains_resident()
{
    const char* wanted = getenv("ASMGEN_RESIDENT");
    return !(wanted && !strcmp(wanted, "0")) && resident_fits();
}

}  // namespace host

extern "C" {

char machine_name[288];

// Finds the device, takes memory there and copies the data set; loads all kernels. Ends the trainer where that fails.
void machine_open()
{
    using namespace host;
    cudaDeviceProp properties;
    choose_device(properties);
    plan_memory();
    start_device(properties);
    allocate_all(properties.name);
    for (cudaEvent_t* event : {&steps.began, &steps.chunks[0].finished, &steps.chunks[1].finished}) {
        check(cudaEventCreate(event), "starting the GPU");
    }
    steps.chunk_steps = 1;
    device.prepares = true;
    launch_step(true);
    launch_keep();
    step_derive_list();
    device.prepares = false;
    steps.is_resident = trains_resident();
    snprintf(machine_name, sizeof machine_name, "%s%s", properties.name,
             steps.is_resident ? ", resident training" : "");
    check(cudaStreamSynchronize(device.stream), "starting the GPU");
}

// The parameters of the host's arena become the device's, and what is derived from them follows.
void step_derive()
{
    using namespace host;
    for (const arena::Piece& piece : arena::parameters) {
        upload(at(piece.offset).byte, runtime::arena + piece.offset, piece.bytes, "copying the parameters");
    }
    step_derive_list();
    check(cudaStreamSynchronize(device.stream), "deriving from the parameters");
}

// The parameters of the device become the host's.
void parameters_fetch()
{
    using namespace host;
    for (const arena::Piece& piece : arena::parameters) {
        check(cudaMemcpyAsync(runtime::arena + piece.offset, at(piece.offset).byte, piece.bytes, cudaMemcpyDeviceToHost,
                              device.stream),
              "copying the parameters back");
    }
    check(cudaStreamSynchronize(device.stream), "copying the parameters back");
}

}  // extern "C"
