; order.asm: the order in which an epoch visits the training samples: all that are not in the validation split, shuffled
; by
; Fisher-Yates with the words of stream 0x10000 + epoch.

%include "common.inc"
%include "model.inc"
%include "philox.inc"

extern memory_take, philox_start, philox_word
extern train_split, train_count, validation_split, validation_begin, validation_end

global order_open, order_shuffle, order

FIRST_STREAM        equ 0x10000

section .bss
order:              resq 1              ; -> u32 sample[train_count]
alignb 16
stream:             resb philox_size    ; of the epoch

section .text

order_open:
    mov     rdi, [train_count]
    shl     rdi, 2
    call    memory_take
    mov     [order], rax
    ret

; order_shuffle: rdi = epoch, from 0
order_shuffle:
    push    rbx
    push    rbp
    lea     esi, [rdi + FIRST_STREAM]
    lea     rdi, [stream]
    call    philox_start
    mov     rbx, [order]
    mov     rbp, [train_count]

    mov     r8, -1                      ; the samples to leave out: [r8, r9)
    xor     r9d, r9d
    lea     rax, [train_split]
    cmp     rax, [validation_split]
    jne     .fill
    mov     r8, [validation_begin]
    mov     r9, [validation_end]
.fill:
    xor     eax, eax                    ; the sample
    xor     ecx, ecx                    ; its place
.sample:
    cmp     rax, r8
    cmove   rax, r9
    mov     [rbx + rcx * 4], eax
    inc     rax
    inc     rcx
    cmp     rcx, rbp
    jb      .sample

.swap:                                  ; i = rbp - 1, down to 1; j = (word(i) * (i + 1)) >> 32
    lea     rsi, [rbp - 1]
    test    rsi, rsi
    jz      .done
    lea     rdi, [stream]
    call    philox_word
    imul    rax, rbp
    shr     rax, 32
    dec     rbp
    mov     ecx, [rbx + rax * 4]
    mov     edx, [rbx + rbp * 4]
    mov     [rbx + rax * 4], edx
    mov     [rbx + rbp * 4], ecx
    jmp     .swap
.done:
    pop     rbp
    pop     rbx
    ret
