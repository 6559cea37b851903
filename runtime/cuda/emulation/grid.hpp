// What a launch in progress consists of, and how a thread leaves the processor.
#pragma once

#include <memory>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <vector>

#include "fiber.hpp"

namespace emulation {

struct Index {
    int x, y, z;
};

// What a launch is, and what the caller wants to know of a failure; mirrored in asmgen/harness/cuda/run.py.
struct Launch {
    int32_t grid[3];
    int32_t block;
    int32_t shared_bytes;
    int32_t cluster;  // blocks that run together, along x
    uint32_t seed;
    int32_t seconds;  // time limit
    uint64_t fault_address, fault_offset;  // of a signal: the address touched, the instruction in the library
};

// A place in the text, taken by default arguments.
struct Place {
    const char* file;
    int line;
    static Place here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }
    bool operator==(const Place& other) const
    {
        return line == other.line && (file == other.file || !strcmp(file, other.file));
    }
};

// What a thread waits for; kinds are the functions that wait.
struct Wait {
    const char* kind;
    Place place;
    bool operator==(const Wait& other) const { return kind == other.kind && place == other.place; }
};

struct Copy {
    char* target;
    const char* source;
    int bytes, bytes_from_source;
};

struct Block;
struct Warp;

struct Thread {
    void** stack_pointer;  // saved while another thread runs
    Warp* warp;
    int number;  // threadIdx.x
    Wait wait;
    void* operand;  // of the collective it waits in, on its stack
    std::vector<Copy> copies;
    std::vector<size_t> groups;  // ends of committed groups in `copies`

    uint32_t bit() const { return 1u << number % 32; }
    bool waits() const;
    bool is_done() const;
};

struct Warp {
    Block* block;
    Thread* threads;
    uint32_t ready, done;  // lanes that can run, that have left the kernel; the others wait
    int waiting;           // lanes in a collective of the warp
    bool is_listed;        // in grid.runnable
};

struct Block {
    Index index;
    int rank;  // in the cluster
    int waiting, done;
    std::unique_ptr<GuardedMemory> shared;
    std::vector<Warp> warps;
    std::vector<Thread> threads;
};

// That a thread took an address in another block's shared memory.
struct RemoteAccess {
    const Thread* thread;  // null: none
    int rank;              // of the other block
    Place place;
};

struct Grid {
    Launch* launch;
    void (*job)(void*);  // runs the kernel in the current thread
    void* job_data;
    std::vector<Block> blocks;  // of one cluster
    std::vector<Warp*> runnable;
    Stacks stacks;
    int waiting_in_cluster, done;
    bool all_started;     // a barrier of the cluster says so
    RemoteAccess remote;  // the first one since the cluster's last barrier
    uint64_t random_state;
    bool gives_way;  // the current thread lets another warp run
    bool failed;
    char message[1024];
};

inline Grid grid;
inline Thread* current;
inline volatile bool in_thread;  // whether a stack of a thread is the one in use
inline void* scheduler_stack;
inline Index threadIdx, blockIdx, blockDim, gridDim;

inline bool Thread::is_done() const { return warp->done & bit(); }
inline bool Thread::waits() const { return !((warp->done | warp->ready) & bit()); }

inline uint32_t random_bits()
{
    grid.random_state ^= grid.random_state << 13;
    grid.random_state ^= grid.random_state >> 7;
    grid.random_state ^= grid.random_state << 17;
    return static_cast<uint32_t>(grid.random_state >> 32);
}

inline uint32_t random_below(uint32_t limit) { return static_cast<uint64_t>(random_bits()) * limit >> 32; }

// A random one of a warp's lanes that can run becomes the current thread.
inline Thread& choose_lane(Warp& warp)
{
    const int turn = random_bits() % 32;
    const uint32_t turned = warp.ready >> turn | warp.ready << (32 - turn) % 32;
    current = &warp.threads[(__builtin_ctz(turned) + turn) % 32];
    threadIdx.x = current->number;
    return *current;
}

// Another lane of the warp goes on, or the scheduler; returns when the thread is chosen again.
inline void leave_thread()
{
    Thread& own = *current;
    if (own.warp->ready && !grid.gives_way && !grid.failed) {
        const Thread& next = choose_lane(*own.warp);
        if (&next != &own) fiber_switch(own.stack_pointer, *next.stack_pointer);
    } else {
        fiber_switch(own.stack_pointer, scheduler_stack);
    }
}

inline const char* base_name(const char* path)
{
    const char* slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

// Ends the launch with a message.
[[noreturn]] __attribute__((format(printf, 1, 2))) inline void fail(const char* format, ...)
{
    if (!grid.failed) {
        const Index& at = current->warp->block->index;
        const int n = snprintf(grid.message, sizeof grid.message, "block (%d, %d, %d), thread %d: ", at.x, at.y, at.z,
                               current->number);
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(grid.message + n, sizeof grid.message - n, format, arguments);
        va_end(arguments);
        grid.failed = true;
    }
    for (;;) leave_thread();
}

}  // namespace emulation
