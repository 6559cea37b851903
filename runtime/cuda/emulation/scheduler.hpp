// Runs the blocks of a grid in random order; within a block (or a cluster of blocks), every thread runs until it waits
// for others, and a random one goes on. What a kernel may not do ends the launch with a message.
#pragma once

#include "grid.hpp"

namespace emulation {

inline void list(Warp& warp)
{
    if (!warp.is_listed) grid.runnable.push_back(&warp);
    warp.is_listed = true;
}

inline void wake(Warp& warp)
{
    warp.ready = ~warp.done;
    list(warp);
}

inline void wait_in(const char* kind, const Place& place)
{
    Wait& wait = current->wait;  // member by member: a copy of the whole stalls on bytes just written
    wait.kind = kind;
    wait.place.file = place.file;
    wait.place.line = place.line;
    current->warp->ready &= ~current->bit();
}

inline void describe_wait(const Thread& thread, char* text, size_t size)
{
    if (thread.is_done())
        snprintf(text, size, "thread %d has left the kernel", thread.number);
    else
        snprintf(text, size, "thread %d waits in %s (%s:%d)", thread.number, thread.wait.kind,
                 base_name(thread.wait.place.file), thread.wait.place.line);
}

// Another thread must wait in the same place of the text as the current one, which arrived last.
inline void check_agreement(const Thread& other)
{
    if (other.wait == current->wait) return;
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
            if (thread.waits() && !first) first = &thread;
        }
        if (!first) continue;
        for (const Thread& other : block.threads) {
            if (!other.waits() || !(other.wait == first->wait)) {
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
    wake(warp);
    if (random_bits() % 16 == 0) {  // so that warps run ahead of each other, too
        grid.gives_way = true;
        leave_thread();
    }
}

inline void barrier_of_block(const Place& place)
{
    Block& block = *current->warp->block;
    wait_in("block_barrier", place);
    if (++block.waiting == static_cast<int>(block.threads.size())) {
        for (Thread& thread : block.threads) check_agreement(thread);
        for (Warp& warp : block.warps) wake(warp);
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
            for (Warp& warp : block.warps) wake(warp);
        }
        grid.waiting_in_cluster = 0;
        grid.all_started = true;
        grid.remote.thread = nullptr;
    }
    leave_thread();
}

// A GPU starts the blocks of a cluster one by one, and their shared memory goes as they leave: only between two of its
// barriers is another block's certain to be there, whatever the order.
inline void access_remote(int rank, const Place& place)
{
    if (rank == current->warp->block->rank) return;
    if (!grid.all_started) {
        fail("map_shared_rank (%s:%d) before the first cluster_barrier: block %d of the cluster may not have started",
             base_name(place.file), place.line, rank);
    }
    if (!grid.remote.thread) grid.remote = {current, rank, place};
}

// What is wrong with a cluster that all threads have left. Called on the scheduler's stack.
inline void check_last_remote()
{
    const RemoteAccess& last = grid.remote;
    if (!last.thread) return;
    const Index& at = last.thread->warp->block->index;
    snprintf(grid.message, sizeof grid.message,
             "block (%d, %d, %d), thread %d: map_shared_rank (%s:%d) after the last cluster_barrier: block %d of the "
             "cluster may have left",
             at.x, at.y, at.z, last.thread->number, base_name(last.place.file), last.place.line, last.rank);
    grid.failed = true;
}

// What every stack starts with: the kernel, once for every block that the stack serves.
inline void thread_main()
{
    for (;;) {
        grid.job(grid.job_data);
        Warp& warp = *current->warp;
        warp.ready &= ~current->bit();
        warp.done |= current->bit();
        ++grid.done;
        if (++warp.block->done == grid.launch->block && grid.launch->cluster > 1) warp.block->shared->open(false);
        leave_thread();
    }
}

// Lanes of a random warp run until all of them wait, or one gives way.
inline void run_some_warp()
{
    const uint32_t pick = random_below(static_cast<uint32_t>(grid.runnable.size()));
    Warp& warp = *grid.runnable[pick];
    if (warp.ready) {
        blockIdx = warp.block->index;
        grid.gives_way = false;
        const Thread& thread = choose_lane(warp);
        in_thread = true;
        fiber_switch(&scheduler_stack, *thread.stack_pointer);
        in_thread = false;
    }
    if (warp.ready == 0) {
        warp.is_listed = false;
        grid.runnable[pick] = grid.runnable.back();
        grid.runnable.pop_back();
    }
}

// The blocks first .. first + cluster - 1 of row (y, z), from poisoned shared memory to the last thread's end.
inline void run_cluster(int first, int y, int z)
{
    grid.runnable.clear();
    grid.waiting_in_cluster = grid.done = 0;
    grid.all_started = false;
    grid.remote.thread = nullptr;
    const int n_threads = static_cast<int>(grid.blocks.size()) * grid.launch->block;
    for (Block& block : grid.blocks) {
        block.index = {first + block.rank, y, z};
        block.waiting = block.done = 0;
        if (grid.launch->cluster > 1) block.shared->open(true);
        memset(block.shared->begin(), 0xFF, grid.launch->shared_bytes);  // NaN
        for (Thread& thread : block.threads) {
            thread.copies.clear();
            thread.groups.clear();
        }
        for (Warp& warp : block.warps) {
            warp.waiting = 0;
            warp.done = 0;
            warp.is_listed = false;
            wake(warp);
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
    if (!grid.failed) check_last_remote();
}

inline void prepare_blocks(const Launch& launch, bool after_failure)
{
    grid.stacks.prepare(static_cast<size_t>(launch.cluster) * launch.block, thread_main, after_failure);
    grid.blocks.clear();
    grid.blocks.resize(launch.cluster);
    for (int rank = 0; rank < launch.cluster; ++rank) {
        Block& block = grid.blocks[rank];
        block.rank = rank;
        block.shared = std::make_unique<GuardedMemory>(launch.shared_bytes);
        block.warps.resize(launch.block / 32);
        block.threads.resize(launch.block);
        for (int number = 0; number < launch.block; ++number) {
            Thread& thread = block.threads[number];
            Warp& warp = block.warps[number / 32];
            warp.block = &block;
            warp.threads = &block.threads[number / 32 * 32];
            thread.warp = &warp;
            thread.number = number;
            thread.stack_pointer = grid.stacks.saved(static_cast<size_t>(rank) * launch.block + number);
        }
    }
}

}  // namespace emulation
