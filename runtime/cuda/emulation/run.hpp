// How Python calls a kernel: emulation::run, with signals turned into messages. Included after the kernels.
#pragma once

#include <algorithm>
#include <signal.h>
#include <sys/time.h>
#include <ucontext.h>
#include <utility>

extern "C" const char __ehdr_start[] __attribute__((visibility("hidden")));  // where the library is loaded

namespace emulation {

inline const char* signal_text(int number)
{
    switch (number) {
        case SIGALRM: return "does not return";
        case SIGILL:
            return "does what C++ leaves undefined: a misaligned vector, an index outside its array, an overflow";
        case SIGFPE: return "divides by zero";
        default: return "touches memory it does not own";
    }
}

// Notes what happened and lets the scheduler go on as if the thread had called fail.
inline void on_signal(int number, siginfo_t* info, void* context)
{
    ucontext_t& stopped = *static_cast<ucontext_t*>(context);
    if (!in_thread && number != SIGALRM) {
        signal(number, SIG_DFL);  // no fault of the kernel
        return;
    }
    const uint64_t instruction = stopped.uc_mcontext.gregs[REG_RIP];
    grid.launch->fault_offset = instruction - reinterpret_cast<uint64_t>(__ehdr_start);
    const bool has_address = number == SIGSEGV || number == SIGBUS;
    grid.launch->fault_address = has_address ? reinterpret_cast<uint64_t>(info->si_addr) : 0;
    const char* text = signal_text(number);
    if (has_address && grid.stacks.surround(info->si_addr)) text = "needs more stack than the emulation has";
    for (const Block& block : grid.blocks) {
        if (!has_address || !block.shared->surrounds(info->si_addr)) continue;
        const bool has_left = block.done == grid.launch->block;
        text = has_left ? "touches shared memory of a block that has left"
                        : "touches shared memory outside the launch's bytes";
    }
    const Index& at = blockIdx;
    snprintf(grid.message, sizeof grid.message, "block (%d, %d, %d), thread %d: %s", at.x, at.y, at.z, threadIdx.x,
             text);
    grid.failed = true;
    if (!in_thread) return;
    stopped.uc_mcontext.gregs[REG_RSP] = reinterpret_cast<greg_t>(scheduler_stack);
    stopped.uc_mcontext.gregs[REG_RIP] = reinterpret_cast<greg_t>(&fiber_resume);
}

// Handlers on a stack of their own for the length of a launch.
class Signals {
public:
    explicit Signals(int seconds) : stack_(1 << 16)
    {
        stack_t own = {};
        own.ss_sp = stack_.begin();
        own.ss_size = 1 << 16;
        sigaltstack(&own, &old_stack_);
        struct sigaction action = {};
        action.sa_sigaction = on_signal;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        for (int i = 0; i < n_signals; ++i) sigaction(numbers[i], &action, &old_[i]);
        itimerval limit = {{0, 0}, {seconds, 0}};
        setitimer(ITIMER_REAL, &limit, nullptr);
    }
    ~Signals()
    {
        itimerval none = {};
        setitimer(ITIMER_REAL, &none, nullptr);
        for (int i = 0; i < n_signals; ++i) sigaction(numbers[i], &old_[i], nullptr);
        sigaltstack(&old_stack_, nullptr);
    }

private:
    static constexpr int n_signals = 5;
    static constexpr int numbers[n_signals] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGALRM};
    struct sigaction old_[n_signals];
    stack_t old_stack_;
    GuardedMemory stack_;
};

inline const char* run_grid(Launch& launch)
{
    if (launch.block < 32 || launch.block > 1024 || launch.block % 32)
        return "a block must have 32, 64, ... 1024 threads";
    if (launch.cluster < 1 || launch.grid[0] % launch.cluster) return "the grid is no multiple of the cluster";
    grid.launch = &launch;
    const bool after_failure = grid.failed;
    grid.failed = false;
    grid.random_state = 0x9E3779B97F4A7C15ull * (launch.seed + 1);
    blockDim = {launch.block, 1, 1};
    gridDim = {launch.grid[0], launch.grid[1], launch.grid[2]};
    prepare_blocks(launch, after_failure);
    const int columns = launch.grid[0] / launch.cluster;
    std::vector<int> order(static_cast<size_t>(columns) * launch.grid[1] * launch.grid[2]);
    for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(i);
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random_below(static_cast<uint32_t>(i))]);
    const Signals signals(launch.seconds);
    for (const int number : order) {
        const int row = number / columns;
        run_cluster(number % columns * launch.cluster, row % launch.grid[1], row / launch.grid[1]);
        if (grid.failed) break;
    }
    return grid.failed ? grid.message : nullptr;
}

template <class... Parameters, size_t... at>
const char* run_with(Launch& launch, void (*kernel)(Parameters...), void* const* arguments, std::index_sequence<at...>)
{
    auto job = [=] { kernel(static_cast<Parameters>(arguments[at])...); };
    grid.job = [](void* data) { (*static_cast<decltype(job)*>(data))(); };
    grid.job_data = &job;
    return run_grid(launch);
}

// Runs a kernel, all of whose parameters are pointers. Returns what went wrong, or null.
template <class... Parameters>
const char* run(Launch& launch, void (*kernel)(Parameters...), void* const* arguments)
{
    return run_with(launch, kernel, arguments, std::index_sequence_for<Parameters...>());
}

}  // namespace emulation
