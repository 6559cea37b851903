; train.asm: the epochs. Each shuffles, steps through the batches, then is judged on the validation split, or on the test
; set where the model has none.

%include "common.inc"
%include "print.inc"
%include "model.inc"
%include "split.inc"
%include "score.inc"

extern opt_epochs, opt_batch_limit, signal_number, clock_now
extern train_split, test_split, train_count, validation_split, validation_begin, validation_end
extern order, order_open, order_shuffle, batch_fill, batch_score, score_clear
extern step_forward, step_learn, optimizer_open, optimizer_step, optimizer_decay
extern evaluate, evaluation, report_progress, report_progress_start, report_epoch, log_epoch

global train, training, epoch, steps, epoch_steps, epoch_nanoseconds, tested

section .bss
training:           resb score_size     ; of the epoch so far
epoch:              resq 1              ; from 0
steps:              resq 1              ; done in this epoch
epoch_steps:        resq 1              ; in every epoch
epoch_nanoseconds:  resq 1              ; that training took, without the evaluation
tested:             resq 1              ; 1: `evaluation` is that of the whole test set with the final parameters

section .text

; train: all epochs; returns early, after a whole step, where a signal came
train:
    push    rbx
    call    order_open
    call    optimizer_open
    mov     rax, [train_count]
    add     rax, [model_batch]
    dec     rax
    xor     edx, edx
    div     qword [model_batch]
    cmp     rax, [opt_batch_limit]
    cmova   rax, [opt_batch_limit]
    mov     [epoch_steps], rax
.epoch:
    mov     rax, [epoch]
    cmp     rax, [opt_epochs]
    jae     .done
    call    run_epoch
    cmp     dword [signal_number], 0
    jne     .done
    call    judge
    cmp     dword [signal_number], 0
    jne     .done
    call    report_epoch
    call    log_epoch
    call    optimizer_decay
    inc     qword [epoch]
    jmp     .epoch
.done:
    pop     rbx
    ret

; run_epoch: the steps of an epoch. rbx = the first sample of the batch, rbp = samples present.
run_epoch:
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
    lea     rdi, [train_split]
    call    step_forward
    inc     qword [steps]
    lea     rdi, [training]
    mov     rsi, rbp
    call    batch_score
    jc      .not_finite
    call    optimizer_step
    call    step_learn
    add     rbx, rbp
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

; judge: the accuracy after an epoch
judge:
    mov     rdi, [validation_split]
    mov     rsi, [validation_begin]
    mov     rdx, [validation_end]
    test    rdi, rdi
    jnz     evaluate
    lea     rdi, [test_split]
    xor     esi, esi
    mov     rdx, [test_split + split.count]
    mov     rax, [epoch]
    inc     rax
    cmp     rax, [opt_epochs]
    jne     evaluate
    mov     qword [tested], 1
    jmp     evaluate
