; step.asm: the parts of a step, each a list of kernel calls in the model's code, which all threads run together.

%include "common.inc"
%include "model.inc"
%include "split.inc"

extern threads_run

global step_forward, step_backward, step_update, step_derive

section .text

; step_forward: rdi -> split. The batch in the arena becomes losses and predictions.
step_forward:
    mov     rdi, [rdi + split.images]
    lea     rax, [model_forward]
    jmp     threads_run

; step_backward: losses become gradients
step_backward:
    lea     rax, [model_backward]
    jmp     threads_run

; step_update: gradients become new parameters, and what is derived from them
step_update:
    lea     rax, [model_update]
    call    threads_run

; step_derive: the copies of the parameters that some kernels read instead
step_derive:
    lea     rax, [model_derive]
    jmp     threads_run
