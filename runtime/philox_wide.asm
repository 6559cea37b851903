; philox_wide.asm: philox.asm's philox_fill in registers of 32 and 64 bytes: a group is one ymm, two groups are one zmm,
; for each word of a block. A wider register holds more blocks and changes nothing else.
;
; The blocks lie in such an order that vpunpckqdq, which works in 16-byte parts, leaves them in theirs.

%include "common.inc"
%include "philox.inc"

global philox_fill_avx2, philox_fill_avx512

section .rodata
align 64
order_zmm:          dq 0, 4, 1, 5, 2, 6, 3, 7
order_ymm:          dq 0, 2, 1, 3
multipliers:        dq 0xd2511f53, 0xcd9e8d57

section .text

; ROUND ymm | zmm, number: as in philox.asm; before round r word w is in register (w + r) % 4.
%macro ROUND 2.nolist
    %assign %%x0 (%2 + 0) % 4
    %assign %%x1 (%2 + 1) % 4
    %assign %%x2 (%2 + 2) % 4
    %assign %%x3 (%2 + 3) % 4
    vpmuludq %1%[%%x0], %1%[%%x0], %1 %+ 6
    vpmuludq %1%[%%x2], %1%[%%x2], %1 %+ 7
    vpshufd %1 %+ 4, %1%[%%x2], 0xf5    ; the high halves
    vpshufd %1 %+ 5, %1%[%%x0], 0xf5
    %ifidn %1, zmm                      ; with the xor of all three
    vpternlogq zmm%[%%x1], zmm4, [rdi + philox.keys + %2 * 32]{1to8}, 0x96
    vpternlogq zmm%[%%x3], zmm5, [rdi + philox.keys + %2 * 32 + 16]{1to8}, 0x96
    %else
    vpbroadcastq ymm8, [rdi + philox.keys + %2 * 32]
    vpbroadcastq ymm9, [rdi + philox.keys + %2 * 32 + 16]
    vpxor   ymm%[%%x1], ymm%[%%x1], ymm4
    vpxor   ymm%[%%x3], ymm%[%%x3], ymm5
    vpxor   ymm%[%%x1], ymm%[%%x1], ymm8
    vpxor   ymm%[%%x3], ymm%[%%x3], ymm9
    %endif
%endmacro

; FILL name, ymm | zmm, bytes of it: the function, with philox_fill's contract; changes xmm0-9 and k1
%macro FILL 3.nolist
%1:
    shl     rdx, 2                      ; the first block
    vpbroadcastq %2 %+ 6, [multipliers]
    vpbroadcastq %2 %+ 7, [multipliers + 8]
    %ifidn %2, zmm
    mov     eax, 0xaaaa                 ; the high halves
    kmovw   k1, eax
    %endif
.fill:
    vmovq   xmm0, rdx
    vpbroadcastq %2 %+ 0, xmm0
    vpaddq  %2 %+ 0, %2 %+ 0, [order_ %+ %2]
    vpsrlq  %2 %+ 1, %2 %+ 0, 32
    vpbroadcastq %2 %+ 2, [rdi + philox.stream]
    vpxor   xmm3, xmm3, xmm3
    %assign round 0
    %rep PHILOX_ROUNDS
    ROUND   %2, round
    %assign round round + 1
    %endrep
    %ifidn %2, zmm                      ; words 0 and 1, words 2 and 3 side by side
    vpshufd zmm2{k1}, zmm3, 0xa0
    vpshufd zmm0{k1}, zmm1, 0xa0
    %else
    vpsllq  ymm3, ymm3, 32
    vpsllq  ymm1, ymm1, 32
    vpblendd ymm2, ymm2, ymm3, 0xaa
    vpblendd ymm0, ymm0, ymm1, 0xaa
    %endif
    vpunpcklqdq %2 %+ 4, %2 %+ 2, %2 %+ 0
    vpunpckhqdq %2 %+ 5, %2 %+ 2, %2 %+ 0
    vmovups [rsi], %2 %+ 4
    vmovups [rsi + %3], %2 %+ 5
    add     rsi, 2 * %3
    add     rdx, %3 / 8
    sub     rcx, %3 / 32
    jnz     .fill
    vzeroupper
    ret
%endmacro

    FILL    philox_fill_avx2, ymm, 32
    FILL    philox_fill_avx512, zmm, 64
