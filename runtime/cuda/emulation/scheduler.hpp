// Runs the blocks of a grid in random order; within a block (or a cluster of blocks), every thread runs until it waits
// for others, and a random one goes on. What a kernel may not do ends the launch with a message.
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

// What a launch is, what the caller wants to know of a failure; mirrored in asmgen/harness/cuda_run.py.
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
    bool operator==(const Place& other) const { return line == other.line && !strcmp(file, other.file); }
};

enum class State : uint8_t { ready, waits, done };

// What a thread waits for; kinds are the functions that wait.
struct Wait {
    const char* kind;
    Place place;
};

struct Block;
struct Warp;

struct Copy {
    char* target;
    const char* source;
    int bytes, bytes_from_source;
};

struct Thread {
    void* stack_pointer;
    Warp* warp;
    int number;  // threadIdx.x
    State state;
    Wait wait;
    void* operand;  // of the collective it waits in, on its stack
    std::vector<Copy> copies;
    std::vector<size_t> groups;  // ends of committed groups in `copies`
};

struct Warp {
    Block* block;
    Thread* threads;
    uint32_t ready;  // lanes that can run
    int waiting;     // lanes in a warp's collective
};

struct Block {
    Index index;
    int rank;  // in the cluster
    int waiting;
    std::unique_ptr<GuardedMemory> shared;
    std::vector<Warp> warps;
    std::vector<Thread> threads;
};

// The launch in progress.
struct Grid {
    Launch* launch;
    void (*job)(void*);  // runs the kernel in the current thread
    void* job_data;
    std::vector<Block> blocks;  // of one cluster
    std::vector<Warp*> runnable;
    std::unique_ptr<GuardedMemory> stacks;
    int waiting_in_cluster, done;
    uint64_t random_state;
    bool failed;
    char message[1024];
};

inline Grid grid;
inline Thread* current;
inline volatile bool in_thread;  // whether a stack of a thread is the one in use
inline void* scheduler_stack;
inline Index threadIdx, blockIdx, blockDim, gridDim;

inline uint32_t random_bits()
{
    grid.random_state ^= grid.random_state << 13;
    grid.random_state ^= grid.random_state >> 7;
    grid.random_state ^= grid.random_state << 17;
    return static_cast<uint32_t>(grid.random_state >> 32);
}

inline uint32_t random_below(uint32_t limit) { return static_cast<uint64_t>(random_bits()) * limit >> 32; }

inline const char* base_name(const char* path)
{
    const char* slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

// Back to the scheduler; returns when the thread is chosen again.
inline void leave_thread() { fiber_switch(&current->stack_pointer, scheduler_stack); }

// Ends the launch with a message.
[[noreturn]] __attribute__((format(printf, 1, 2))) inline void fail(const char* format, ...)
{
    if (!grid.failed) {
        const Index& at = current->warp->block->index;
        int n = snprintf(grid.message, sizeof grid.message, "block (%d, %d, %d), thread %d: ", at.x, at.y, at.z,
                         current->number);
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(grid.message + n, sizeof grid.message - n, format, arguments);
        va_end(arguments);
        grid.failed = true;
    }
    for (;;) leave_thread();
}

inline void make_ready(Thread& thread)
{
    Warp& warp = *thread.warp;
    if (warp.ready == 0) grid.runnable.push_back(&warp);
    thread.state = State::ready;
    warp.ready |= 1u << thread.number % 32;
}

inline void wait_in(const char* kind, const Place& place)
{
    current->state = State::waits;
    current->wait = {kind, place};
    current->warp->ready &= ~(1u << current->number % 32);
}

inline void describe_wait(const Thread& thread, char* text, size_t size)
{
    if (thread.state == State::done)
        snprintf(text, size, "thread %d has left the kernel", thread.number);
    else
        snprintf(text, size, "thread %d waits in %s (%s:%d)", thread.number, thread.wait.kind,
                 base_name(thread.wait.place.file), thread.wait.place.line);
}

// All `threads` must wait in the same place of the text as the current one, which arrived last.
inline void check_agreement(const Thread& other)
{
    if (other.wait.kind == current->wait.kind && other.wait.place == current->wait.place) return;
    char text[256];
    describe_wait(other, text, sizeof text);
    fail("waits in %s (%s:%d), but %s", current->wait.kind, base_name(current->wait.place.file),
         current->wait.place.line, text);
}

// Nothing can run, and not all are done: says who waits for whom. Called on the scheduler's stack.
inline void describe_deadlock()
{
    for (const Block& block : grid.blocks) {
        const Thread* first = nullptr;
        for (const Thread& thread : block.threads) {
            if (thread.state == State::waits && !first) first = &thread;
        }
        if (!first) continue;
        for (const Thread& other : block.threads) {
            if (other.state != State::waits || other.wait.kind != first->wait.kind ||
                !(other.wait.place == first->wait.place)) {
                char one[256], two[256];
                describe_wait(*first, one, sizeof one);
                describe_wait(other, two, sizeof two);
                snprintf(grid.message, sizeof grid.message, "block (%d, %d, %d): %s, but %s", block.index.x,
                         block.index.y, block.index.z, one, two);
                return;
            }
        }
    }
    snprintf(grid.message, sizeof grid.message, "the blocks of a cluster wait for each other");
}

// A warp's collective: every lane hands in its operand; the last one lets `act` work on all 32 and goes on.
template <class Operand, class Act>
void warp_collective(const char* kind, const Place& place, Operand& operand, Act act)
{
    Warp& warp = *current->warp;
    current->operand = &operand;
    wait_in(kind, place);
    if (++warp.waiting < 32) {
        leave_thread();
        return;
    }
    Operand* operands[32];
    for (int lane = 0; lane < 32; ++lane) {
        check_agreement(warp.threads[lane]);
        operands[lane] = static_cast<Operand*>(warp.threads[lane].operand);
    }
    act(operands);
    warp.waiting = 0;
    for (int lane = 0; lane < 32; ++lane) make_ready(warp.threads[lane]);
    if (random_bits() % 16 == 0) leave_thread();  // so that warps run ahead of each other, too
}

inline void barrier_of_block(const Place& place)
{
    Block& block = *current->warp->block;
    wait_in("block_barrier", place);
    if (++block.waiting == static_cast<int>(block.threads.size())) {
        for (Thread& thread : block.threads) check_agreement(thread);
        for (Thread& thread : block.threads) make_ready(thread);
        block.waiting = 0;
    }
    leave_thread();
}

inline void barrier_of_cluster(const Place& place)
{
    wait_in("cluster_barrier", place);
    if (++grid.waiting_in_cluster == static_cast<int>(grid.blocks.size()) * grid.launch->block) {
        for (Block& block : grid.blocks) {
            for (Thread& thread : block.threads) check_agreement(thread);
        }
        for (Block& block : grid.blocks) {
            for (Thread& thread : block.threads) make_ready(thread);
        }
        grid.waiting_in_cluster = 0;
    }
    leave_thread();
}

// What every stack starts with: the kernel, once for every block that the stack serves.
inline void thread_main()
{
    for (;;) {
        grid.job(grid.job_data);
        current->state = State::done;
        current->warp->ready &= ~(1u << current->number % 32);
        ++grid.done;
        leave_thread();
    }
}

inline void enter_thread(Thread& thread)
{
    current = &thread;
    threadIdx = {thread.number, 0, 0};
    blockIdx = thread.warp->block->index;
    in_thread = true;
    fiber_switch(&scheduler_stack, thread.stack_pointer);
    in_thread = false;
}

// Threads of a random warp run until all its lanes wait, or one is made to give way.
inline void run_some_warp()
{
    const uint32_t pick = random_below(static_cast<uint32_t>(grid.runnable.size()));
    Warp& warp = *grid.runnable[pick];
    bool gives_way = false;
    while (warp.ready && !gives_way && !grid.failed) {
        const int turn = random_bits() % 32;
        const uint32_t turned = warp.ready >> turn | warp.ready << (32 - turn) % 32;
        Thread& thread = warp.threads[(__builtin_ctz(turned) + turn) % 32];
        enter_thread(thread);
        gives_way = thread.state == State::ready;
    }
    if (warp.ready == 0) {
        grid.runnable[pick] = grid.runnable.back();
        grid.runnable.pop_back();
    }
}

// The blocks first .. first + cluster - 1 of row (y, z), from poisoned shared memory to the last thread's end.
inline void run_cluster(int first, int y, int z)
{
    grid.runnable.clear();
    grid.waiting_in_cluster = grid.done = 0;
    const int n_threads = static_cast<int>(grid.blocks.size()) * grid.launch->block;
    for (Block& block : grid.blocks) {
        block.index = {first + block.rank, y, z};
        block.waiting = 0;
        memset(block.shared->begin(), 0xFF, grid.launch->shared_bytes);  // NaN
        for (Warp& warp : block.warps) warp.ready = warp.waiting = 0;
        for (Thread& thread : block.threads) {
            thread.copies.clear();
            thread.groups.clear();
            make_ready(thread);
        }
    }
    while (grid.done < n_threads && !grid.failed) {
        if (grid.runnable.empty()) {
            describe_deadlock();
            grid.failed = true;
            return;
        }
        run_some_warp();
    }
}

inline void prepare_blocks(const Launch& launch)
{
    const int n_warps = launch.block / 32;
    const size_t n_threads = static_cast<size_t>(launch.cluster) * launch.block;
    grid.stacks = std::make_unique<GuardedMemory>(n_threads * stack_bytes, page_bytes);
    grid.blocks.clear();
    grid.blocks.resize(launch.cluster);
    char* stack = grid.stacks->begin();
    for (int rank = 0; rank < launch.cluster; ++rank) {
        Block& block = grid.blocks[rank];
        block.rank = rank;
        block.shared = std::make_unique<GuardedMemory>(launch.shared_bytes);
        block.warps.resize(n_warps);
        block.threads.resize(launch.block);
        for (int number = 0; number < launch.block; ++number, stack += stack_bytes) {
            Thread& thread = block.threads[number];
            Warp& warp = block.warps[number / 32];
            warp.block = &block;
            warp.threads = &block.threads[number / 32 * 32];
            thread.warp = &warp;
            thread.number = number;
            mprotect(stack, page_bytes, PROT_NONE);
            thread.stack_pointer = prepare_stack(stack, thread_main);
        }
    }
}

}  // namespace emulation
