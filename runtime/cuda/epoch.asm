; epoch.asm: the steps of an epoch, on the device.

%include "common.inc"
%include "print.inc"
%include "model.inc"
%include "split.inc"
%include "score.inc"

extern clock_now, train_split, train_count, order, order_shuffle, score_clear, phase_begin, phase_wait
extern report_progress, report_progress_start, training, epoch, steps, epoch_steps, epoch_nanoseconds

global epoch_run

section .text

epoch_run:
    push    rbx
    push    rbp
    lea     rdi, [training]
    call    score_clear
    mov     qword [steps], 0
    mov     rdi, [epoch]
    call    order_shuffle
    call    report_progress_start
    call    clock_now
    mov     rbx, rax
    lea     rdi, [train_split]
    mov     rsi, [order]
    xor     edx, edx
    mov     rcx, [train_count]
    mov     r8, [epoch_steps]
    mov     r9d, 1
    call    phase_begin
.wait:
    mov     rbp, [steps]
    lea     rdi, [training]
    call    phase_wait
    mov     [steps], rax
    jc      .not_finite
    cmp     rax, [epoch_steps]
    jae     .done
    cmp     rax, rbp
    je      .done                       ; a signal came
    call    report_progress
    jmp     .wait
.done:
    call    clock_now
    sub     rax, rbx
    mov     [epoch_nanoseconds], rax
    pop     rbp
    pop     rbx
    ret
.not_finite:
    mov     rax, [epoch]
    inc     rax
    FAIL    EXIT_FAILED, "the loss is %g in epoch %u, step %u: training diverged; use a smaller --lr", \
            [training + score.loss], rax, [steps]
