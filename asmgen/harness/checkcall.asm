; Calls one kernel under supervision and records what it left behind.
;
;   void checked_call_<isa>(frame *rdi)
;
; Before the call: sentinels in the callee-saved registers, canaries above the return address, every vector and mask
; register full of ones (a NaN in both precisions), arithmetic flags set, the trainer's MXCSR (frame.mxcsr).
; After it, frame holds the registers, the stack pointer's shift, the damaged canaries, RFLAGS, MXCSR and XINUSE.
; Harness code: not part of any trainer. One call at a time (saved_rsp is global).

default rel

CANARY      equ 0x5ca1ab1e0ddba11
N_CANARIES  equ 16
JUNK_FLAGS  equ 0x8d5                   ; CF PF AF ZF SF OF set, DF clear

struc frame
    .fn:            resq 1
    .args:          resq 6
    .mxcsr:         resd 1              ; in: to run under; out: what the kernel left
    .poison:        resd 1              ; 1: poison the vector registers; 0: enter with clean upper halves
    .read_xinuse:   resd 1              ; 1: XGETBV with ecx = 1 works on this CPU
    .caller_mxcsr:  resd 1
    .registers:     resq 6              ; out: rbx rbp r12 r13 r14 r15
    .rsp_shift:     resq 1              ; out: expected minus actual rsp
    .rflags:        resq 1
    .xinuse:        resq 1
    .canaries:      resq 1              ; out: how many were overwritten
endstruc

section .bss
saved_rsp: resq 1

section .text

%macro POISON_SSE41 0
%assign i 0
%rep 16
    pcmpeqd xmm%+i, xmm%+i
%assign i i + 1
%endrep
%endmacro

%macro POISON_AVX2 0
%assign i 0
%rep 16
    vpcmpeqd ymm%+i, ymm%+i, ymm%+i
%assign i i + 1
%endrep
%endmacro

%macro POISON_AVX512 0
%assign i 0
%rep 32
    vpternlogd zmm%+i, zmm%+i, zmm%+i, 0xff
%assign i i + 1
%endrep
%assign i 0
%rep 8
    kxnorq k%+i, k%+i, k%+i
%assign i i + 1
%endrep
%endmacro

%macro CHECKED_CALL 3                   ; name, poison macro, clear upper halves
global %1:function
%1:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    push rdi                            ; rsp is now a multiple of 16
    mov [saved_rsp], rsp
    stmxcsr [rdi + frame.caller_mxcsr]
    ldmxcsr [rdi + frame.mxcsr]
    sub rsp, 8 * N_CANARIES
    mov rax, CANARY
%assign i 0
%rep N_CANARIES
    mov [rsp + 8 * i], rax
%assign i i + 1
%endrep
    %3
    cmp dword [rdi + frame.poison], 0
    je %%enter
    %2
%%enter:
    mov rax, [rdi + frame.fn]
    mov rsi, [rdi + frame.args + 8]
    mov rdx, [rdi + frame.args + 16]
    mov rcx, [rdi + frame.args + 24]
    mov r8, [rdi + frame.args + 32]
    mov r9, [rdi + frame.args + 40]
    mov rdi, [rdi + frame.args]
    mov rbx, 0xb0b0b0b0b0b0b0b1
    mov rbp, 0xb0b0b0b0b0b0b0b2
    mov r12, 0xb0b0b0b0b0b0b0b3
    mov r13, 0xb0b0b0b0b0b0b0b4
    mov r14, 0xb0b0b0b0b0b0b0b5
    mov r15, 0xb0b0b0b0b0b0b0b6
    mov r10, 0xdeadbeefdeadbeef
    mov r11, r10
    push JUNK_FLAGS
    popfq
    call rax

    mov rax, [saved_rsp]
    lea rcx, [rax - 8 * N_CANARIES]
    mov rdx, rcx
    sub rdx, rsp
    mov rsp, rcx                        ; from here on the stack is ours again
    mov rdi, [rax]
    mov [rdi + frame.rsp_shift], rdx
    mov [rdi + frame.registers], rbx
    mov [rdi + frame.registers + 8], rbp
    mov [rdi + frame.registers + 16], r12
    mov [rdi + frame.registers + 24], r13
    mov [rdi + frame.registers + 32], r14
    mov [rdi + frame.registers + 40], r15
    stmxcsr [rdi + frame.mxcsr]
    ldmxcsr [rdi + frame.caller_mxcsr]
    xor esi, esi
    mov rax, CANARY
%assign i 0
%rep N_CANARIES
    xor edx, edx
    cmp [rsp + 8 * i], rax
    setne dl
    add esi, edx
%assign i i + 1
%endrep
    mov [rdi + frame.canaries], rsi
    pushfq
    pop qword [rdi + frame.rflags]
    cld
    cmp dword [rdi + frame.read_xinuse], 0
    je %%leave
    mov ecx, 1
    xgetbv
    mov [rdi + frame.xinuse], rax
%%leave:
    %3
    add rsp, 8 * N_CANARIES
    pop rdi
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret
%endmacro

CHECKED_CALL checked_call_sse41, POISON_SSE41, nop
CHECKED_CALL checked_call_avx2, POISON_AVX2, vzeroupper
CHECKED_CALL checked_call_avx512, POISON_AVX512, vzeroupper

section .note.GNU-stack noalloc noexec nowrite progbits
