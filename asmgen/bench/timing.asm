; timing.asm: clocks for asmgen/bench/clock.py, which assembles this file with LEVEL set to sse41, avx2 or avx512.

default rel

MXCSR_TRAINER equ 0x9fc0                ; FTZ and DAZ, as in the trainer

section .text

%macro READ_CLOCK 0                     ; rax = time stamp, after everything before; changes rdx
    lfence
    rdtsc
    shl     rdx, 32
    or      rax, rdx
%endmacro

; uint64_t read_clock(void)
global read_clock:function
read_clock:
    READ_CLOCK
    ret

; void time_calls(const struct { void *fn; uint64_t args[6]; } *calls, n_calls, n_passes, uint64_t *ticks)
; Calls the whole list, in order, once a pass; ticks[pass] = time stamps that the pass took.
global time_calls:function
time_calls:
    push    rbx
    push    rbp
    push    r12
    push    r13
    push    r14
    push    r15
    sub     rsp, 8
    stmxcsr [rsp]
    mov     dword [rsp + 4], MXCSR_TRAINER
    ldmxcsr [rsp + 4]
    mov     rbx, rdi
    imul    rbp, rsi, 56
    add     rbp, rdi                    ; the end of the list
    mov     r12, rdx
    mov     r13, rcx
.pass:
    test    r12, r12
    jz      .done
    mov     r15, rbx
    READ_CLOCK
    mov     r14, rax
.call:
    mov     rdi, [r15 + 8]
    mov     rsi, [r15 + 16]
    mov     rdx, [r15 + 24]
    mov     rcx, [r15 + 32]
    mov     r8, [r15 + 40]
    mov     r9, [r15 + 48]
    call    [r15]
    add     r15, 56
    cmp     r15, rbp
    jb      .call
    READ_CLOCK
    sub     rax, r14
    mov     [r13], rax
    add     r13, 8
    dec     r12
    jmp     .pass
.done:
    ldmxcsr [rsp]
    add     rsp, 8
    pop     r15
    pop     r14
    pop     r13
    pop     r12
    pop     rbp
    pop     rbx
    ret

; void core_cycles(rounds): 192 cycles of the core a round. A chain of multiplications takes 3 cycles each on every core
; since 2010 or so; the vector work beside it fills less than half of its time, and keeps the clock that such work gets.
global core_cycles:function
core_cycles:
    mov     eax, 3
%assign r 0
%rep 16                                 ; what a caller left there may be denormal, and slow
    %ifidn LEVEL, sse41
    xorps   xmm %+ r, xmm %+ r
    %else
    vxorps  xmm %+ r, xmm %+ r, xmm %+ r
    %endif
    %assign r r + 1
%endrep
.round:
%assign i 0
%rep 64
    imul    rax, rax
    %assign r i % 12
    %ifidn LEVEL, avx512
    vfmadd231ps zmm %+ r, zmm14, zmm15
    %elifidn LEVEL, avx2
    vfmadd231ps ymm %+ r, ymm14, ymm15
    %else
    mulps   xmm %+ r, xmm15
    %endif
    %assign i i + 1
%endrep
    dec     rdi
    jnz     .round
    %ifnidn LEVEL, sse41
    vzeroupper
    %endif
    ret

section .note.GNU-stack noalloc noexec nowrite progbits
