// A stack of its own for every thread of a block, and the switch between two stacks.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <vector>

#ifndef __x86_64__
#error "the emulation switches stacks in x86-64 assembly"
#endif

// fiber_switch(save, resume): push the callee-saved registers, store rsp in *save, continue at the stack `resume`
// (by a jump: the processor would expect a `ret` to go back to where this was called).
asm(R"(
    .text
    .p2align 4
fiber_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
fiber_resume:
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    popq %rcx
    jmp *%rcx
)");

extern "C" __attribute__((visibility("hidden"))) void fiber_switch(void** save, void* resume);
extern "C" __attribute__((visibility("hidden"))) void fiber_resume();

namespace emulation {

constexpr size_t page_bytes = 4096;
constexpr size_t stack_bytes = 16 * page_bytes;  // the lowest page cannot be touched

// What the kernel of the machine refuses ends the process: a guard page that is none would find nothing.
inline void require_mapping(bool is_done)
{
    if (is_done) return;
    std::fputs("emulation: no memory, or no mapping, is left for a guarded buffer (vm.max_map_count)\n", stderr);
    std::abort();
}

inline void protect(void* from, size_t bytes, int access) { require_mapping(mprotect(from, bytes, access) == 0); }

inline size_t whole_pages(size_t bytes) { return (bytes + page_bytes - 1) / page_bytes * page_bytes; }

// Memory between two pages that cannot be touched; it ends, aligned, at the rear one.
class GuardedMemory {
public:
    explicit GuardedMemory(size_t bytes, size_t align = 128) : inner_(whole_pages(bytes ? bytes : 1))
    {
        base_ = static_cast<char*>(mmap(nullptr, inner_ + 2 * page_bytes, PROT_READ | PROT_WRITE,
                                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
        require_mapping(base_ != MAP_FAILED);
        protect(base_, page_bytes, PROT_NONE);
        protect(base_ + page_bytes + inner_, page_bytes, PROT_NONE);
        begin_ = base_ + page_bytes + inner_ - (bytes + align - 1) / align * align;
    }
    GuardedMemory(const GuardedMemory&) = delete;
    ~GuardedMemory() { munmap(base_, inner_ + 2 * page_bytes); }

    char* begin() const { return begin_; }
    void open(bool is_open) const
    {
        protect(base_ + page_bytes, inner_, is_open ? PROT_READ | PROT_WRITE : PROT_NONE);
    }
    bool surrounds(const void* address) const
    {
        return address >= base_ && address < base_ + inner_ + 2 * page_bytes;
    }

private:
    size_t inner_;
    char *base_, *begin_;
};

// A stack that starts in `entry` when it is switched to; entry never returns.
inline void* prepare_stack(char* lowest, void (*entry)())
{
    void** top = reinterpret_cast<void**>(lowest + stack_bytes);
    *--top = nullptr;  // where entry would return to; rsp is 8 below a multiple of 16 when it starts
    *--top = reinterpret_cast<void*>(entry);
    for (int saved = 0; saved < 6; ++saved) *--top = nullptr;
    return top;
}

// Stacks of threads that all run `entry`, kept from launch to launch.
class Stacks {
public:
    // n stacks; anew: those left in the middle of a kernel start over.
    void prepare(size_t n, void (*entry)(), bool anew)
    {
        if (n > saved_.size()) {
            memory_ = std::make_unique<GuardedMemory>(n * stack_bytes, page_bytes);
            saved_.resize(n);
            for (size_t i = 0; i < n; ++i) protect(lowest(i), page_bytes, PROT_NONE);
            anew = true;
        }
        for (size_t i = 0; anew && i < saved_.size(); ++i) saved_[i] = prepare_stack(lowest(i), entry);
    }
    void** saved(size_t i) { return &saved_[i]; }
    bool surround(const void* address) const { return memory_->surrounds(address); }

private:
    char* lowest(size_t i) const { return memory_->begin() + i * stack_bytes; }

    std::unique_ptr<GuardedMemory> memory_;
    std::vector<void*> saved_;
};

}  // namespace emulation
