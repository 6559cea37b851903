; step.asm: from the runtime into the model's code, with the registers that it expects (kernel.inc).

%include "common.inc"
%include "model.inc"
%include "split.inc"

extern arena

global step_forward, step_backward, step_update, step_derive

section .text

; enter: rax -> model code, rdi -> split (its images). Keeps the callee-saved registers.
enter_model:
    push    rbx
    push    r12
    push    r13
    push    r14
    push    rbp
    mov     rbp, rsp
    and     rsp, -16
    mov     rbx, [arena]
    xor     r12d, r12d                  ; this thread
    mov     r13d, 1                     ; threads
    mov     r14, rdi
    call    rax
    mov     rsp, rbp
    pop     rbp
    pop     r14
    pop     r13
    pop     r12
    pop     rbx
    ret

; step_forward: rdi -> split. The batch in the arena becomes losses and predictions.
step_forward:
    mov     rdi, [rdi + split.images]
    lea     rax, [model_forward]
    jmp     enter_model

; step_backward: losses become gradients
step_backward:
    lea     rax, [model_backward]
    jmp     enter_model

; step_update: gradients become new parameters, and what is derived from them
step_update:
    lea     rax, [model_update]
    call    enter_model

; step_derive: the copies of the parameters that some kernels read instead
step_derive:
    lea     rax, [model_derive]
    jmp     enter_model
