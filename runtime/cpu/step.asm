; step.asm: the parts of a step, each a list of kernel calls in the model's code, which all threads run together.

%include "common.inc"
%include "model.inc"
%include "split.inc"

extern threads_run, thread_barrier, prefetch_images

global step_forward, step_learn, step_derive, step_evaluate, parameters_fetch

L2_BYTES            equ 2 << 20         ; a step that moves more leaves nothing of the next one's images in L2

section .rodata
align 8
forward_lists:      dq model_forward, 0
learn_lists:        dq prefetch_images, model_backward, model_update, model_derive, 0
; prefetch_images may run behind the last barrier
learn_lists_large:  dq model_backward, model_update, model_derive, prefetch_images, 0
evaluate_lists:     dq model_evaluate, 0
derive_lists:       dq model_derive, thread_barrier, 0      ; the list may be empty, and a job needs a barrier

section .text

; step_forward: rdi -> split. The batch in the arena becomes losses and predictions.
step_forward:
    mov     rsi, [rdi + split.images]
    lea     rdi, [forward_lists]
    jmp     threads_run

; step_evaluate: rdi -> split. The same, of parameters that stay as they are: nothing is left for gradients.
step_evaluate:
    mov     rsi, [rdi + split.images]
    lea     rdi, [evaluate_lists]
    jmp     threads_run

; step_learn: rdi -> split. Losses become gradients, gradients become new parameters, and those what is derived from
; them.
step_learn:
    mov     rsi, [rdi + split.images]
    lea     rdi, [learn_lists]
    lea     rax, [learn_lists_large]
    cmp     qword [model_arena_bytes], L2_BYTES
    cmova   rdi, rax
    jmp     threads_run

; step_derive: the copies of the parameters that some kernels read instead
step_derive:
    lea     rdi, [derive_lists]
    jmp     threads_run

; parameters_fetch: before they are saved: they are in the arena
parameters_fetch:
    ret
