; batch.asm: what a step reads and what it left: the samples, their labels and the loss block in the arena.

%include "common.inc"
%include "model.inc"
%include "split.inc"
%include "score.inc"

extern arena

global batch_fill, batch_head, batch_score, score_clear

section .rodata
align 8
one:                dq 1.0

section .text

; batch_fill: rdi -> split, rsi -> u32 indices to take (0: consecutive samples), rdx = first, rcx = samples present (1
; .. batch).
; Absent samples repeat the image of the first with label 0; the loss kernel lets them add nothing.
batch_fill:
    push    rbx
    mov     r8, [arena]
    mov     r9, r8
    add     r8, [model_indices]
    add     r9, [model_labels]
    mov     rbx, [rdi + split.labels]
    lea     r10, [rsi + rdx * 4]
    xor     r11d, r11d
.sample:
    mov     eax, edx
    test    rsi, rsi
    jz      .put
    mov     eax, [r10 + r11 * 4]
.put:
    mov     [r8 + r11 * 4], eax
    movzx   eax, byte [rbx + rax]
    mov     [r9 + r11 * 4], eax
    inc     edx
    inc     r11
    cmp     r11, rcx
    jb      .sample

    mov     eax, [r8]
    mov     rdx, [model_batch]
.absent:
    cmp     r11, rdx
    jae     .pixels
    mov     [r8 + r11 * 4], eax
    mov     dword [r9 + r11 * 4], 0
    inc     r11
    jmp     .absent

.pixels:                                ; the address of each sample's image
    mov     r9, [arena]
    add     r9, [model_pixels]
    mov     rax, [model_channels]
    imul    rax, [model_height]
    imul    rax, [model_width]
    mov     rdi, [rdi + split.images]
    xor     r11d, r11d
.image:
    mov     r10d, [r8 + r11 * 4]
    imul    r10, rax
    add     r10, rdi
    mov     [r9 + r11 * 8], r10
    inc     r11
    cmp     r11, rdx
    jb      .image
    pop     rbx

; batch_head: rcx = samples present  ->  the loss block's head, where the loss kernel reads it
batch_head:
    mov     rax, [arena]
    add     rax, [model_loss]
    mov     [rax + LOSS_PRESENT], ecx
    cvtsi2sd xmm1, rcx
    movsd   xmm0, [one]
    divsd   xmm0, xmm1
    cmp     qword [model_element_bytes], 4
    je      .float32
    movsd   [rax + LOSS_INV_COUNT], xmm0
    ret
.float32:
    cvtsd2ss xmm0, xmm0
    movss   [rax + LOSS_INV_COUNT], xmm0
    ret

; score_clear: rdi -> score
score_clear:
    xor     eax, eax
    mov     ecx, score_size / 8
    rep     stosq
    ret

; batch_score: rdi -> score, rsi = samples present. Adds the losses and predictions of the step.
;   ->  CF where the sum is no longer a number, or infinite
batch_score:
    mov     r8, [arena]
    mov     r9, r8
    mov     r10, r8
    add     r8, [model_losses]
    add     r9, [model_preds]
    add     r10, [model_labels]
    add     [rdi + score.seen], rsi
    movsd   xmm0, [rdi + score.loss]
    xor     ecx, ecx
.sample:
    cmp     qword [model_element_bytes], 4
    je      .float32
    addsd   xmm0, [r8 + rcx * 8]
    jmp     .prediction
.float32:
    cvtss2sd xmm1, [r8 + rcx * 4]
    addsd   xmm0, xmm1
.prediction:
    mov     eax, [r10 + rcx * 4]
    inc     qword [rdi + rax * 8 + score.class_seen]
    cmp     eax, [r9 + rcx * 4]
    jne     .next
    inc     qword [rdi + score.right]
    inc     qword [rdi + rax * 8 + score.class_right]
.next:
    inc     rcx
    cmp     rcx, rsi
    jb      .sample
    movsd   [rdi + score.loss], xmm0
    movq    rax, xmm0
    shl     rax, 1
    mov     rcx, 0x7ff << 53
    cmp     rcx, rax                    ; CF where the bits are above infinity
    je      .infinite
    ret
.infinite:
    stc
    ret
