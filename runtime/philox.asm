; philox.asm: the counter-based random numbers, Philox4x32-10 (Salmon et al., SC11).
;
; key = the seed; counter = (index low, index high, stream, 0). Word i of a stream is word i % 4 of block i / 4.
; asmgen/reference/random.py draws the same numbers.
;
; A register holds one word of two blocks, in the low halves of its quadwords, where pmuludq reads it and leaves the low
; half of the product; what is in the high halves never counts.

%include "common.inc"
%include "philox.inc"
%include "cpu.inc"

extern opt_seed, cpu_has, philox_fill_avx2, philox_fill_avx512

global philox_open, philox_start, philox_fill, philox_fill_sse41, philox_word

section .rodata
align 16
multiplier_0:       times 2 dq 0xd2511f53
multiplier_1:       times 2 dq 0xcd9e8d57
weyl:               dq 0x9e3779b9, 0xbb67ae85   ; what a round adds to the key's words
first_pair:         dq 0, 1
second_pair:        dq 2, 3

section .bss
fill:               resq 1              ; -> the widest philox_fill that this CPU has

section .text

; philox_open: before any other; cpu_check has run
philox_open:
    lea     rdx, [philox_fill_avx512]
    mov     eax, CPU_avx512f
    call    cpu_has
    jnc     .chosen
    lea     rdx, [philox_fill_avx2]
    mov     eax, CPU_avx2
    call    cpu_has
    jnc     .chosen
    lea     rdx, [philox_fill_sse41]
.chosen:
    mov     [fill], rdx
    ret

; philox_start: rdi -> philox, esi = stream. Keeps all but rax rcx rsi xmm0-2.
philox_start:
    mov     [rdi + philox.stream], rsi
    mov     qword [rdi + philox.group], -1
    movd    xmm0, [opt_seed]
    movd    xmm1, [opt_seed + 4]
    punpcklqdq xmm0, xmm1               ; word 0, word 1
    xor     ecx, ecx
.round:
    pshufd  xmm1, xmm0, 0x44
    pshufd  xmm2, xmm0, 0xee
    movdqa  [rdi + philox.keys + rcx], xmm1
    movdqa  [rdi + philox.keys + rcx + 16], xmm2
    paddd   xmm0, [weyl]
    add     ecx, 32
    cmp     ecx, PHILOX_ROUNDS * 32
    jb      .round
    ret

; ROUND number, register of word 0: x0 x1 x2 x3 become  hi(m1 x2) ^ x1 ^ k0,  lo(m1 x2),  hi(m0 x0) ^ x3 ^ k1,  lo(m0
; x0).
; Nothing moves: before round r word w is in register first + (w + r) % 4.
%macro ROUND 2.nolist
    %assign %%x0 %2 + (%1 + 0) % 4
    %assign %%x1 %2 + (%1 + 1) % 4
    %assign %%x2 %2 + (%1 + 2) % 4
    %assign %%x3 %2 + (%1 + 3) % 4
    pmuludq xmm%[%%x0], xmm10
    pmuludq xmm%[%%x2], xmm11
    pxor    xmm%[%%x1], [rdi + philox.keys + %1 * 32]
    pxor    xmm%[%%x3], [rdi + philox.keys + %1 * 32 + 16]
    pshufd  xmm8, xmm%[%%x2], 0xf5      ; the high halves
    pshufd  xmm9, xmm%[%%x0], 0xf5
    pxor    xmm%[%%x1], xmm8
    pxor    xmm%[%%x3], xmm9
%endmacro

; STORE_PAIR registers of words 0 to 3, bytes from rsi: two blocks, their words side by side
%macro STORE_PAIR 5.nolist
    psllq   %2, 32
    psllq   %4, 32
    pblendw %1, %2, 0xcc                ; words 0 and 1 of one block, then of the other
    pblendw %3, %4, 0xcc
    movdqa  %2, %1
    punpcklqdq %1, %3
    punpckhqdq %2, %3
    movdqa  [rsi + %5], %1
    movdqa  [rsi + %5 + 16], %2
%endmacro

; philox_fill: rdi -> philox, rsi -> words, aligned to 16 bytes, rdx = the first group, rcx = how many groups: an even
; number.
; Returns with rsi behind the words. Keeps all but rax rcx rdx rsi, vector and mask registers.
philox_fill:
    jmp     [fill]

philox_fill_sse41:
    shl     rdx, 2                      ; the first block
    movdqa  xmm10, [multiplier_0]
    movdqa  xmm11, [multiplier_1]
.group:
    movq    xmm0, rdx
    punpcklqdq xmm0, xmm0
    movdqa  xmm4, xmm0
    paddq   xmm0, [first_pair]
    paddq   xmm4, [second_pair]
    movdqa  xmm1, xmm0
    movdqa  xmm5, xmm4
    psrlq   xmm1, 32
    psrlq   xmm5, 32
    movddup xmm2, [rdi + philox.stream]
    movdqa  xmm6, xmm2
    pxor    xmm3, xmm3
    pxor    xmm7, xmm7
%assign round 0
%rep PHILOX_ROUNDS
    ROUND   round, 0
    ROUND   round, 4
    %assign round round + 1
%endrep
    STORE_PAIR xmm2, xmm3, xmm0, xmm1, 0        ; where ten rounds have left them
    STORE_PAIR xmm6, xmm7, xmm4, xmm5, 32
    add     rsi, PHILOX_WORDS * 4
    add     rdx, 4
    dec     rcx
    jnz     .group
    ret

; philox_word: rdi -> philox, rsi = index  ->  eax = that word of the stream. Keeps all but rcx rdx rsi xmm0-11.
philox_word:
    mov     eax, esi
    and     eax, PHILOX_WORDS - 1
    shr     rsi, 4
    cmp     rsi, [rdi + philox.group]
    jne     .compute
.have:
    mov     eax, [rdi + philox.words + rax * 4]
    ret
.compute:
    mov     [rdi + philox.group], rsi
    mov     rdx, rsi
    lea     rsi, [rdi + philox.words]
    mov     ecx, 1
    call    philox_fill_sse41           ; of a single group
    jmp     .have
