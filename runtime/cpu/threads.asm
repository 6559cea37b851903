; threads.asm: what kernel calls of every thread pass: its slice of the work, and the barriers between. Each thread
; computes its own part of every output, so the results do not depend on how many there are.
;
; The barrier is one word: arrivals, and above them the generation. The last to arrive starts the next generation, for
; which the others wait: a short while by looking, then asleep in the kernel (futex), so that a thread whose core is
; taken away delays the others but stops none.

%include "common.inc"
%include "threads.inc"

global thread_slice, thread_slice_reversed, thread_barrier, barrier_wait, barrier_release, barrier_looks

FUTEX_WAIT_PRIVATE  equ 128
FUTEX_WAKE_PRIVATE  equ 129
ALL                 equ 0x7fffffff
GENERATION          equ 0x10000         ; the arrivals of one lie below
PATIENCE_SHIFT      equ 6               ; a cache line a thread

struc patience
    .looks          resd 1              ; before it sleeps
    .in_vain        resb 1              ; how often that was, modulo 256
endstruc

section .bss align=64
barrier:            resd 1              ; alone in its cache line: all threads write and watch it
                    resb 60
sleepers:           resd 1              ; threads that the one who releases must wake
barrier_looks:      resd 1              ; the most looks before a thread sleeps; 0 with more threads than CPUs
                    resb 56
patiences:          resb MAX_THREADS << PATIENCE_SHIFT

section .text

; thread_slice: r9d = units, r12d = this thread, r13d = threads  ->  [r8, r9) = [units * r12 / r13, units * (r12 + 1) /
; r13); the flags compare r8 with r9. Changes rax r10 r11 too.
thread_slice:
    mov     r11d, r12d
    jmp     share

; thread_slice_reversed: the same, with the threads numbered from the last
thread_slice_reversed:
    lea     r11d, [r13 - 1]
    sub     r11d, r12d

; share: thread_slice, r11d = this thread
share:
    xor     r8d, r8d
    cmp     r13d, 1
    je      .whole
    mov     r10, rdx
    mov     eax, r11d
    mul     r9d
    div     r13d                        ; at most units, so that 32 bits hold it
    mov     r8d, eax
    lea     eax, [r11 + 1]
    mul     r9d
    div     r13d
    mov     r9d, eax
    mov     rdx, r10
.whole:
    cmp     r8, r9
    ret

; thread_barrier: r12d = this thread, r13d = threads. Returns when every thread has arrived.
thread_barrier:
    cmp     r13d, 1
    je      .return
    mov     eax, 1
    lock xadd [barrier], eax
    mov     r8d, eax
    and     r8d, -GENERATION
    inc     eax
    cmp     ax, r13w
    je      barrier_release
    jmp     barrier_wait
.return:
    ret

; barrier_wait: r8d = a generation, r12d = this thread. Returns when it is over.
; Looking pays while the others run. Where it was in vain, something else has their cores (or this thread has), and
; looking keeps them away from the end: the next time it is shorter, down to nothing, but now and then it is tried
; again.
barrier_wait:
    mov     edi, r12d
    shl     edi, PATIENCE_SHIFT
    lea     rax, [patiences]
    add     rdi, rax
    mov     eax, [rdi + patience.looks]
.look:
    mov     ecx, [barrier]
    sub     ecx, r8d
    cmp     ecx, GENERATION
    jae     .seen
    sub     eax, 1
    jb      .in_vain
    pause
    jmp     .look
.seen:
    mov     eax, [rdi + patience.looks]
    lea     eax, [rax * 2 + 1]
    cmp     eax, [barrier_looks]
    cmova   eax, [barrier_looks]
    mov     [rdi + patience.looks], eax
    ret
.in_vain:
    shr     dword [rdi + patience.looks], 2
    inc     byte [rdi + patience.in_vain]
    jnz     .sleep
    mov     eax, [barrier_looks]        ; every 256th time
    mov     [rdi + patience.looks], eax

    ; Nobody is missed: the locked increment comes before the kernel's own look at the word, and the one who releases
    ; looks for sleepers after it has exchanged the word. One of the two sees the other.
.sleep:
    lock inc dword [sleepers]
.asleep:
    mov     edx, [barrier]
    mov     eax, edx
    sub     eax, r8d
    cmp     eax, GENERATION
    jae     .awake
    lea     rdi, [barrier]              ; returns at once where the word is no longer edx, if only by one more arrival
    mov     esi, FUTEX_WAIT_PRIVATE
    xor     r10d, r10d                  ; for as long as it takes
    SYSCALL SYS_futex
    jmp     .asleep
.awake:
    lock dec dword [sleepers]
    ret

; barrier_release: r8d = the generation that ends here
barrier_release:
    lea     eax, [r8 + GENERATION]
    xchg    [barrier], eax
    cmp     dword [sleepers], 0
    je      .return
    lea     rdi, [barrier]
    mov     esi, FUTEX_WAKE_PRIVATE
    mov     edx, ALL
    SYSCALL SYS_futex
.return:
    ret
