; evaluate.asm: the accuracy of the parameters as they are, on consecutive samples.

%include "common.inc"
%include "print.inc"
%include "model.inc"
%include "split.inc"
%include "score.inc"

extern batch_fill, batch_score, score_clear, step_evaluate, signal_number, clock_now, evaluation_nanoseconds

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
    mov     rbx, rdi
    mov     rbp, rsi
    mov     r12, rdx
    lea     rdi, [evaluation]
    call    score_clear
    call    clock_now
    neg     rax
    mov     [evaluation_nanoseconds], rax
.batch:
    cmp     rbp, r12
    jae     .done
    cmp     dword [signal_number], 0
    jne     .done
    mov     r13, r12
    sub     r13, rbp
    cmp     r13, [model_batch]
    cmova   r13, [model_batch]          ; samples present
    mov     rdi, rbx
    xor     esi, esi
    mov     rdx, rbp
    mov     rcx, r13
    call    batch_fill
    mov     rdi, rbx
    call    step_evaluate
    lea     rdi, [evaluation]
    mov     rsi, r13
    call    batch_score
    jc      .not_finite
    add     rbp, r13
    jmp     .batch
.done:
    call    clock_now
    add     [evaluation_nanoseconds], rax
    pop     r13
    pop     r12
    pop     rbp
    pop     rbx
    ret
.not_finite:
    add     r13, rbp
    dec     r13
    FAIL    EXIT_FAILED, \
            "the loss is %g among %s samples %u to %u: the weights are too large or not numbers; use a smaller --lr", \
            [evaluation + score.loss], [rbx + split.name], rbp, r13
