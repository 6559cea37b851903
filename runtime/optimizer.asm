; optimizer.asm: the hyper block: the numbers of a step that the update kernels read. Computed in float64, stored in the
; model's type:  [0] lr   [1] lr / (1 - beta1^t)   [2] 1 / sqrt(1 - beta2^t),  t = 1, 2, ... over all epochs.

%include "common.inc"
%include "model.inc"

extern arena, opt_lr

global optimizer_open, optimizer_step, optimizer_decay, learning_rate

section .rodata
align 8
one:                dq 1.0

section .bss
learning_rate:      resq 1              ; of this epoch
beta1_power:        resq 1              ; beta1^t of the last step
beta2_power:        resq 1

section .text

optimizer_open:
    mov     rax, [opt_lr]
    mov     [learning_rate], rax
    mov     rax, [one]
    mov     [beta1_power], rax
    mov     [beta2_power], rax
    ret

; optimizer_decay: after every epoch
optimizer_decay:
    movsd   xmm0, [learning_rate]
    mulsd   xmm0, [model_lr_decay]
    movsd   [learning_rate], xmm0
    ret

; optimizer_step: before every update
optimizer_step:
    movsd   xmm0, [learning_rate]
    movsd   xmm3, [one]
    movsd   xmm1, [beta1_power]
    mulsd   xmm1, [model_beta1]
    movsd   [beta1_power], xmm1
    movsd   xmm4, xmm3
    subsd   xmm4, xmm1
    movsd   xmm1, xmm0
    divsd   xmm1, xmm4
    movsd   xmm2, [beta2_power]
    mulsd   xmm2, [model_beta2]
    movsd   [beta2_power], xmm2
    movsd   xmm4, xmm3
    subsd   xmm4, xmm2
    sqrtsd  xmm4, xmm4
    movsd   xmm2, xmm3
    divsd   xmm2, xmm4
    mov     rax, [arena]
    add     rax, [model_hyper]
    cmp     qword [model_element_bytes], 4
    je      .float32
    movsd   [rax], xmm0
    movsd   [rax + 8], xmm1
    movsd   [rax + 16], xmm2
    ret
.float32:
    cvtsd2ss xmm0, xmm0
    cvtsd2ss xmm1, xmm1
    cvtsd2ss xmm2, xmm2
    movss   [rax], xmm0
    movss   [rax + 4], xmm1
    movss   [rax + 8], xmm2
    ret
