; Calls one kernel under supervision and records what it left behind.
;
;   void checked_call_<isa>(frame *rdi)
;
; Before the call: sentinels in the callee-saved registers, canaries above the return address, every vector and mask
; register full of ones (a NaN in both precisions), arithmetic flags set, the trainer's MXCSR (frame.mxcsr).
; After it, frame holds the registers, the stack pointer's shift, the damaged canaries, RFLAGS, MXCSR and XINUSE.
; A fault inside the kernel (guard page, illegal instruction) or a call that takes too long ends the call: the signal
; handler notes it and resumes behind the call. Harness code, not part of any trainer; one call at a time (globals).

default rel

CANARY      equ 0x5ca1ab1e0ddba11
N_CANARIES  equ 16
JUNK_FLAGS  equ 0x8d5                   ; CF PF AF ZF SF OF set, DF clear

SYS_RT_SIGACTION equ 13
SYS_RT_SIGRETURN equ 15
SYS_ALARM        equ 37
SYS_GETPID       equ 39
SYS_SIGALTSTACK  equ 131
SYS_GETTID       equ 186
SYS_TGKILL       equ 234
SIGALRM          equ 14
SA_FLAGS         equ 0x0c000004         ; SA_SIGINFO | SA_RESTORER | SA_ONSTACK
UCONTEXT_RSP     equ 160                ; offsets in ucontext_t and siginfo_t
UCONTEXT_RIP     equ 168
SIGINFO_ADDRESS  equ 16
SIGNAL_STACK     equ 65536              ; room for the AVX-512 state that the system saves
%define SIGNALS  4, 7, 8, 11, 14        ; ILL BUS FPE SEGV ALRM
N_SIGNALS        equ 5

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
    .time_limit:    resq 1              ; in: seconds until SIGALRM ends the call
    .signal:        resq 1              ; out: the signal that ended the call, or 0
    .fault_address: resq 1
    .fault_rip:     resq 1
endstruc

section .bss
saved_rsp:      resq 1
resume_rip:     resq 1
caller_thread:  resq 1
default_action: resq 4
old_actions:    resq 4 * N_SIGNALS
old_stack:      resq 3
new_action:     resq 4
new_stack:      resq 3
signal_stack:   resb SIGNAL_STACK

section .rodata
signals: dd SIGNALS

section .text

; handler(edi signal, rsi siginfo, rdx ucontext): note the fault in the frame, resume behind the call.
; rt_sigreturn restores every register, so all are free here.
on_signal:
    mov r12d, edi
    mov r13, rsi
    mov r14, rdx
    mov eax, SYS_GETTID
    syscall
    cmp rax, [caller_thread]
    jne .elsewhere
    mov rax, [saved_rsp]
    mov rcx, [rax]                      ; the frame
    mov [rcx + frame.signal], r12
    mov r8, [r13 + SIGINFO_ADDRESS]
    mov [rcx + frame.fault_address], r8
    mov r8, [r14 + UCONTEXT_RIP]
    mov [rcx + frame.fault_rip], r8
    mov r8, [resume_rip]
    mov [r14 + UCONTEXT_RIP], r8
    sub rax, 8 * N_CANARIES
    mov [r14 + UCONTEXT_RSP], rax
    ret
.elsewhere:
    cmp r12d, SIGALRM
    jne .own_fault
    mov eax, SYS_GETPID                 ; the alarm reached another thread: pass it on
    syscall
    mov edi, eax
    mov rsi, [caller_thread]
    mov edx, SIGALRM
    mov eax, SYS_TGKILL
    syscall
    ret
.own_fault:                             ; not the kernel's: the default action, when the instruction runs again
    mov edi, r12d
    lea rsi, [default_action]
    xor edx, edx
    mov r10d, 8
    mov eax, SYS_RT_SIGACTION
    syscall
    ret

restorer:
    mov eax, SYS_RT_SIGRETURN
    syscall

; catch(rdi frame): own handlers and signal stack, alarm set. Keeps rdi; clobbers rax rcx rdx rsi r8-r11 rbx
catch:
    push rdi
    mov rbx, [rdi + frame.time_limit]
    mov eax, SYS_GETTID
    syscall
    mov [caller_thread], rax
    lea rax, [signal_stack]
    mov [new_stack], rax
    mov qword [new_stack + 8], 0
    mov qword [new_stack + 16], SIGNAL_STACK
    lea rdi, [new_stack]
    lea rsi, [old_stack]
    mov eax, SYS_SIGALTSTACK
    syscall
    lea rax, [on_signal]
    mov [new_action], rax
    mov qword [new_action + 8], SA_FLAGS
    lea rax, [restorer]
    mov [new_action + 16], rax
    lea rsi, [new_action]
    lea rdx, [old_actions]
    call set_actions
    mov rdi, rbx
    mov eax, SYS_ALARM
    syscall
    pop rdi
    ret

; release: alarm off, the old handlers and signal stack. Clobbers rax rcx rdx rsi rdi r8-r11
release:
    xor edi, edi
    mov eax, SYS_ALARM
    syscall
    lea rsi, [old_actions]
    xor edx, edx
    call set_actions
    lea rdi, [old_stack]
    xor esi, esi
    mov eax, SYS_SIGALTSTACK
    syscall
    ret

; set_actions(rsi new, rdx old or 0): installs new for every signal; the same action for all where it is new_action,
; else an array. old is an array
set_actions:
    xor r9d, r9d
    lea r8, [new_action]
.next:
    lea rax, [signals]
    mov edi, [rax + 4 * r9]
    mov r10d, 8                         ; size of the signal mask
    mov eax, SYS_RT_SIGACTION
    syscall                             ; keeps all but rax rcx r11
    cmp rsi, r8
    je .same
    add rsi, 32
.same:
    test rdx, rdx
    jz .no_old
    add rdx, 32
.no_old:
    inc r9d
    cmp r9d, N_SIGNALS
    jb .next
    ret

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
    lea rax, [%%returned]
    mov [resume_rip], rax
    call catch
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
%%returned:
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
    call release
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
