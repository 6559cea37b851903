; cpu.asm: does this CPU, and its operating system, have what the kernels were generated for?

%include "common.inc"
%include "print.inc"
%include "model.inc"
%include "cpu.inc"

global cpu_check, cpu_has

XCR0_AVX            equ 0x06            ; the system saves xmm and ymm
XCR0_AVX512         equ 0xe6            ; and masks and zmm
OSXSAVE             equ 27              ; leaf 1 ecx: xgetbv works
AVX512_FIRST_LEAF   equ 7

struc feature
    .name           resb 12
    .leaf           resd 1
    .register       resd 1              ; index into what cpuid returned: eax ebx ecx edx
    .bit            resd 1
    .xcr0           resd 1              ; states that the operating system must save
endstruc

REG_EBX             equ 1
REG_ECX             equ 2
%assign next_row 0

%macro FEATURE 5                        ; name, leaf, register, bit, xcr0; the row number is CPU_<name>
    %if next_row != CPU_%1
        %error row of feature %1 is out of order
    %endif
    %assign next_row next_row + 1
    %defstr feature_name %1
    %%row: db feature_name
    times 12 - ($ - %%row) db 0
    dd      %2, %3, %4, %5
%endmacro

%macro LEVEL 2-*                        ; --isa name, its features
    db      %1, 0
    %strlen level_chars %1
    times   16 - level_chars - 1 db 0
    %assign %%mask 0
    %rep %0 - 1
        %rotate 1
        %assign %%mask %%mask | (1 << CPU_%1)
    %endrep
    dq      %%mask
%endmacro

section .rodata
align 8
features:
    FEATURE sse4_1,   1, REG_ECX, 19, 0
    FEATURE sse4_2,   1, REG_ECX, 20, 0
    FEATURE popcnt,   1, REG_ECX, 23, 0
    FEATURE avx,      1, REG_ECX, 28, XCR0_AVX
    FEATURE f16c,     1, REG_ECX, 29, XCR0_AVX
    FEATURE fma,      1, REG_ECX, 12, XCR0_AVX
    FEATURE avx2,     7, REG_EBX, 5,  XCR0_AVX
    FEATURE bmi1,     7, REG_EBX, 3,  0
    FEATURE bmi2,     7, REG_EBX, 8,  0
    FEATURE avx512f,  7, REG_EBX, 16, XCR0_AVX512
    FEATURE avx512dq, 7, REG_EBX, 17, XCR0_AVX512
    FEATURE avx512cd, 7, REG_EBX, 28, XCR0_AVX512
    FEATURE avx512bw, 7, REG_EBX, 30, XCR0_AVX512
    FEATURE avx512vl, 7, REG_EBX, 31, XCR0_AVX512
    FEATURE sse3,     1, REG_ECX, 0,  0
    FEATURE ssse3,    1, REG_ECX, 9,  0

LEVEL_BYTES equ 24
levels:                                 ; best first
    LEVEL   "avx512", avx, avx2, fma, bmi1, avx512f, avx512dq, avx512bw, avx512vl
    LEVEL   "avx2", avx, avx2, fma, bmi1
    LEVEL   "sse41", sse4_1
    db      0
asmgen_missing:
    db      "no --isa of asmgen works here", 0
asmgen_other:
    db      "build it with --isa ", 0
os_reason:
    db      " (the operating system has not enabled it)", 0
no_reason:
    db      0

section .bss
leaves:             resd 4 * 8          ; what cpuid said: leaf * 16 bytes, eax ebx ecx edx
xcr0:               resd 1

section .text

; cpu_check: ends the program, naming what is missing and the level that works, unless every model_cpu_features is here.
cpu_check:
    push    rbx
    push    r12
    push    r13
    xor     eax, eax
    call    read_leaf
    mov     r12d, [leaves]              ; the highest leaf
    mov     eax, 1
    call    read_leaf
    cmp     r12d, AVX512_FIRST_LEAF
    jb      .system
    mov     eax, 7
    call    read_leaf
.system:
    bt      dword [leaves + 16 + 4 * REG_ECX], OSXSAVE
    jnc     .check
    xor     ecx, ecx
    xgetbv
    mov     [xcr0], eax

.check:
    lea     r12, [model_cpu_features]
    mov     r13, [model_cpu_feature_count]
.next:
    dec     r13
    js      .good
    mov     eax, [r12]
    add     r12, 4
    call    cpu_has
    jnc     .next

    mov     rbx, rdi                    ; the row of the missing feature
    mov     r12, rsi                    ; the reason
    lea     r13, [levels]
.level:
    cmp     byte [r13], 0
    je      .no_level
    mov     rdi, [r13 + 16]
    call    has_all
    jnc     .advise
    add     r13, LEVEL_BYTES
    jmp     .level
.advise:
    lea     rax, [asmgen_other]
    jmp     .fail
.no_level:
    lea     rax, [asmgen_missing]
.fail:
    FAIL    EXIT_CPU, "this CPU lacks %s%s, which this trainer (--isa %s) needs; %s%s", rbx, r12, model_isa, rax, r13
.good:
    pop     r13
    pop     r12
    pop     rbx
    ret

; read_leaf: eax = leaf 0 .. 7  ->  its row of `leaves`
read_leaf:
    mov     r8d, eax
    shl     r8d, 4
    lea     r9, [leaves]
    add     r8, r9
    xor     ecx, ecx
    mov     r10, rbx
    cpuid
    mov     [r8], eax
    mov     [r8 + 4 * REG_EBX], ebx
    mov     [r8 + 4 * REG_ECX], ecx
    mov     [r8 + 12], edx
    mov     rbx, r10
    ret

; cpu_has: eax = CPU_*  ->  CF where it is missing, rdi -> its row (its name), rsi -> a reason. Changes rax rcx too.
cpu_has:
    imul    eax, eax, feature_size
    lea     rdi, [features]
    add     rdi, rax
    lea     rsi, [no_reason]
    mov     eax, [rdi + feature.leaf]
    shl     eax, 2
    add     eax, [rdi + feature.register]
    lea     rcx, [leaves]
    mov     eax, [rcx + rax * 4]
    mov     ecx, [rdi + feature.bit]
    bt      eax, ecx
    jnc     .missing
    mov     eax, [xcr0]
    mov     ecx, [rdi + feature.xcr0]
    and     eax, ecx
    cmp     eax, ecx
    je      .here
    lea     rsi, [os_reason]
.missing:
    stc
    ret
.here:
    clc
    ret

; has_all: rdi = mask of features  ->  CF where one is missing
has_all:
    push    rbx
    mov     rbx, rdi
.next:
    bsf     rax, rbx
    jz      .all                        ; CF is clear
    btr     rbx, rax
    call    cpu_has
    jnc     .next
.all:
    pop     rbx
    ret
