; epoch.asm: the steps of an epoch.

%include "common.inc"
%include "print.inc"
%include "model.inc"
%include "split.inc"
%include "score.inc"

extern arena, opt_seed, signal_number, clock_now, train_split, train_count
extern order, order_shuffle, batch_fill, batch_score, score_clear
extern step_forward, step_learn, optimizer_step, report_progress, report_progress_start
extern prefetch_order, prefetch_count
extern training, epoch, steps, epoch_steps, epoch_nanoseconds

global epoch_run

section .text

; epoch_run: rbx = the first sample of the batch, rbp = samples present.
epoch_run:
    push    rbx
    push    rbp
    push    r12
    lea     rdi, [training]
    call    score_clear
    mov     qword [steps], 0
    mov     rdi, [epoch]
    call    order_shuffle
    call    report_progress_start
    call    clock_now
    mov     r12, rax
    xor     ebx, ebx
.step:
    mov     rbp, [train_count]
    sub     rbp, rbx
    cmp     rbp, [model_batch]
    cmova   rbp, [model_batch]
    lea     rdi, [train_split]
    mov     rsi, [order]
    mov     rdx, rbx
    mov     rcx, rbp
    call    batch_fill
    mov     rdi, [arena]
    add     rdi, [model_loss]
    mov     rax, [opt_seed]
    mov     [rdi + LOSS_SEED], rax
    mov     rax, [epoch]
    imul    rax, [epoch_steps]
    add     rax, [steps]
    mov     [rdi + LOSS_STEP], rax
    lea     rdi, [train_split]
    call    step_forward
    inc     qword [steps]
    lea     rdi, [training]
    mov     rsi, rbp
    call    batch_score
    jc      .not_finite
    call    optimizer_step
    add     rbx, rbp
    call    prefetch_next
    lea     rdi, [train_split]
    call    step_learn
    cmp     dword [signal_number], 0
    jne     .done
    mov     rax, [steps]
    cmp     rax, [epoch_steps]
    jae     .done
    call    report_progress
    jmp     .step
.done:
    call    clock_now
    sub     rax, r12
    mov     [epoch_nanoseconds], rax
    pop     r12
    pop     rbp
    pop     rbx
    ret
.not_finite:
    mov     rax, [epoch]
    inc     rax
    FAIL    EXIT_FAILED, "the loss is %g in epoch %u, step %u: training diverged; use a smaller --lr", \
            [training + score.loss], rax, [steps]

; prefetch_next: rbx = the first sample of the next batch. Says which they are.
prefetch_next:
    mov     rax, [order]
    lea     rax, [rax + rbx * 4]
    mov     [prefetch_order], rax
    mov     rax, [train_count]
    sub     rax, rbx
    cmp     rax, [model_batch]
    cmova   rax, [model_batch]
    mov     [prefetch_count], rax
    ret
