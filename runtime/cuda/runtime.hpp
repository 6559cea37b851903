// The runtime in assembly as C++ sees it: what it knows, and how the trainer fails.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace runtime {

struct Split {  // split.inc
    const char* name;
    const uint8_t* images;
    const uint8_t* labels;
    uint64_t count;
};

extern "C" {
extern const char model_name[];
extern const uint64_t model_element_bytes, model_channels, model_height, model_width, model_batch;
extern const uint64_t model_arena_bytes, model_indices, model_labels, model_loss, model_losses, model_preds;
extern const uint64_t model_hyper;
extern uint8_t* arena;
extern Split train_split, test_split;
extern volatile int signal_number;

uint64_t clock_now();  // nanoseconds

// Prints "trainer: ..." and exits. The directives of the format are those of format.asm; each argument is a qword.
[[noreturn]] void fail(const char* format, const uint64_t* arguments, int exit_code);
}

}  // namespace runtime

namespace host {

constexpr int exit_failed = 1, exit_machine = 3;

inline uint64_t as_word(const void* pointer) { return reinterpret_cast<uint64_t>(pointer); }
inline uint64_t as_word(uint64_t number) { return number; }
inline uint64_t as_word(int number) { return static_cast<uint64_t>(number); }

template <class... Arguments>
[[noreturn]] void fail(int exit_code, const char* format, Arguments... arguments)
{
    const uint64_t words[] = {as_word(arguments)..., 0};
    runtime::fail(format, words, exit_code);
}

}  // namespace host
