; philox.asm: the counter-based random numbers, Philox4x32-10 (Salmon et al., SC11).
;
; key = the seed; counter = (index low, index high, stream, 0). Word i of a stream is word i % 4 of block i / 4.
; asmgen/reference/random.py draws the same numbers.

%include "common.inc"

extern opt_seed

global philox_start, philox_word

BLOCKS              equ 4               ; computed together, one in every lane
WORDS               equ 4 * BLOCKS
ROUNDS              equ 10

section .rodata
align 16
multiplier_0:       times 4 dd 0xd2511f53
multiplier_1:       times 4 dd 0xcd9e8d57
weyl_0:             times 4 dd 0x9e3779b9
weyl_1:             times 4 dd 0xbb67ae85
lanes:              dd 0, 1, 2, 3

section .bss
alignb 16
words:              resd WORDS
first:              resq 1              ; index of the first of `words`, over WORDS; -1: there are none
stream:             resd 1

section .text

; philox_start: edi = stream
philox_start:
    mov     [stream], edi
    mov     qword [first], -1
    ret

; philox_word: rdi = index  ->  eax = that word of the stream. Keeps all but rax rcx rdx xmm0-9.
philox_word:
    mov     rax, rdi
    shr     rax, 4
    cmp     rax, [first]
    jne     .compute
.have:
    mov     ecx, edi
    and     ecx, WORDS - 1
    lea     rdx, [words]
    mov     eax, [rdx + rcx * 4]
    ret

; xmm0-3 = the counters' words, xmm4 xmm5 = the key
.compute:
    mov     [first], rax
    shl     rax, 2                      ; the first block
    movd    xmm0, eax
    pshufd  xmm0, xmm0, 0
    paddd   xmm0, [lanes]               ; no carry: a multiple of four
    shr     rax, 32
    movd    xmm1, eax
    pshufd  xmm1, xmm1, 0
    movd    xmm2, [stream]
    pshufd  xmm2, xmm2, 0
    pxor    xmm3, xmm3
    movd    xmm4, [opt_seed]
    pshufd  xmm4, xmm4, 0
    movd    xmm5, [opt_seed + 4]
    pshufd  xmm5, xmm5, 0
    mov     ecx, ROUNDS
.round:
    pxor    xmm1, xmm4
    pxor    xmm3, xmm5
    pshufd  xmm6, xmm0, 0xf5            ; lanes 1 and 3, where pmuludq reads 0 and 2
    pshufd  xmm7, xmm2, 0xf5
    pmuludq xmm0, [multiplier_0]
    pmuludq xmm6, [multiplier_0]
    pmuludq xmm2, [multiplier_1]
    pmuludq xmm7, [multiplier_1]
    pshufd  xmm8, xmm0, 0xf5            ; high halves of lanes 0 and 2
    pshufd  xmm9, xmm2, 0xf5
    pblendw xmm8, xmm6, 0xcc            ; with those of 1 and 3
    pblendw xmm9, xmm7, 0xcc
    psllq   xmm6, 32
    psllq   xmm7, 32
    pblendw xmm0, xmm6, 0xcc            ; low halves
    pblendw xmm2, xmm7, 0xcc
    pxor    xmm8, xmm3                  ; word 2 = hi0 ^ word 3 ^ k1
    pxor    xmm9, xmm1                  ; word 0 = hi1 ^ word 1 ^ k0
    movdqa  xmm3, xmm0                  ; word 3 = lo0
    movdqa  xmm1, xmm2                  ; word 1 = lo1
    movdqa  xmm2, xmm8
    movdqa  xmm0, xmm9
    paddd   xmm4, [weyl_0]
    paddd   xmm5, [weyl_1]
    dec     ecx
    jnz     .round

    ; a block's words side by side
    movdqa  xmm6, xmm0
    punpckldq xmm6, xmm1
    punpckhdq xmm0, xmm1
    movdqa  xmm7, xmm2
    punpckldq xmm7, xmm3
    punpckhdq xmm2, xmm3
    movdqa  xmm8, xmm6
    punpcklqdq xmm8, xmm7
    punpckhqdq xmm6, xmm7
    movdqa  xmm9, xmm0
    punpcklqdq xmm9, xmm2
    punpckhqdq xmm0, xmm2
    movdqa  [words], xmm8
    movdqa  [words + 16], xmm6
    movdqa  [words + 32], xmm9
    movdqa  [words + 48], xmm0
    jmp     .have
