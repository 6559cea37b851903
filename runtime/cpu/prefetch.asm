; prefetch.asm: the images of the next step, chosen at random from the whole data set, come from memory while this one's
; gradients are computed; or, where gradients and updates would push them out of L2 again, at the end, while the next
; batch is put together.

%include "common.inc"
%include "model.inc"

extern thread_slice

global prefetch_images, prefetch_order, prefetch_count

LINE_BYTES          equ 64
AHEAD_BYTES         equ 1024            ; of an image; hardware follows the rest of a large one

section .bss
align 8
prefetch_order:     resq 1              ; -> u32 indices of the next step's samples
prefetch_count:     resq 1              ; how many there are; 0: no next step

section .text

; prefetch_images: a list of a job (r12 = this thread, r13 = threads, r14 -> the first image). Each thread asks for
; those that it will convert; what is not there to be asked for is not an error.
prefetch_images:
    mov     r9d, [prefetch_count]
    call    thread_slice
    jae     .return
    mov     rsi, [prefetch_order]
    mov     rdi, [model_channels]
    imul    rdi, [model_height]
    imul    rdi, [model_width]
    mov     edx, AHEAD_BYTES
    cmp     rdx, rdi
    cmova   rdx, rdi
.image:
    mov     eax, [rsi + r8 * 4]
    imul    rax, rdi
    add     rax, r14
    lea     rcx, [rax + rdx]
    and     rax, -LINE_BYTES
.line:
    prefetcht1 [rax]
    add     rax, LINE_BYTES
    cmp     rax, rcx
    jb      .line
    inc     r8
    cmp     r8, r9
    jb      .image
.return:
    ret
