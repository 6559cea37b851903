; evaluate.asm: the accuracy of the parameters as they are, on consecutive samples, by the device.

%include "common.inc"
%include "print.inc"
%include "model.inc"
%include "split.inc"
%include "score.inc"

extern score_clear, phase_begin, phase_wait, clock_now, evaluation_nanoseconds

global evaluate, evaluation

section .bss
evaluation:         resb score_size     ; of the last call

section .text

; evaluate: rdi -> split, rsi = first sample, rdx = end. Fills `evaluation`; stops early where a signal came.
evaluate:
    push    rbx
    push    rbp
    push    r12
    push    r13
    push    r14
    mov     rbx, rdi
    mov     rbp, rsi
    mov     r12, rdx
    lea     rdi, [evaluation]
    call    score_clear
    call    clock_now
    neg     rax
    mov     [evaluation_nanoseconds], rax
    mov     rax, r12
    sub     rax, rbp
    add     rax, [model_batch]
    dec     rax
    xor     edx, edx
    div     qword [model_batch]
    mov     r13, rax                    ; steps
    xor     r14d, r14d                  ; of them scored
    mov     rdi, rbx
    xor     esi, esi
    mov     rdx, rbp
    mov     rcx, r12
    mov     r8, r13
    xor     r9d, r9d
    call    phase_begin
.wait:
    lea     rdi, [evaluation]
    call    phase_wait
    jc      .not_finite
    cmp     rax, r13
    jae     .done
    cmp     rax, r14
    mov     r14, rax
    jne     .wait                       ; as many as before: a signal came
.done:
    call    clock_now
    add     [evaluation_nanoseconds], rax
    pop     r14
    pop     r13
    pop     r12
    pop     rbp
    pop     rbx
    ret
.not_finite:
    imul    rax, [model_batch]
    add     rbp, rax                    ; the end of the batch, were it full
    mov     r13, rbp
    sub     r13, [model_batch]
    cmp     rbp, r12
    cmova   rbp, r12
    dec     rbp
    FAIL    EXIT_FAILED, \
            "the loss is %g among %s samples %u to %u: the weights are too large or not numbers; use a smaller --lr", \
            [evaluation + score.loss], [rbx + split.name], r13, rbp
