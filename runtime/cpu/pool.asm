; pool.asm: the threads. All run the same lists of kernel calls; between two lists the others wait for the main thread,
; which alone shuffles, scores, reads and writes. They end with the process.

%include "common.inc"
%include "print.inc"
%include "mxcsr.inc"
%include "threads.inc"
%include "model.inc"

extern opt_threads, arena, cpus_allowed
extern thread_barrier, barrier_wait, barrier_release, barrier_looks

global machine_open, machine_describe, machine_help, machine_log_columns, machine_log, machine_run, threads_run

CLONE_VM            equ 0x100
CLONE_FS            equ 0x200
CLONE_FILES         equ 0x400
CLONE_SIGHAND       equ 0x800
CLONE_THREAD        equ 0x10000
CLONE_SYSVSEM       equ 0x40000
CLONE_FLAGS         equ CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM
PROT_NONE           equ 0
PROT_READ           equ 1
PROT_WRITE          equ 2
MAP_PRIVATE         equ 2
MAP_FIXED           equ 0x10
MAP_ANONYMOUS       equ 0x20
MAP_NORESERVE       equ 0x4000
MAP_STACK           equ 0x20000
STACK_BYTES         equ 1 << 20         ; a kernel's frame takes a quarter at most
GUARD_BYTES         equ 4096            ; below the stack: a frame that grows too large faults there
SIG_SETMASK         equ 2
SIGBUS              equ 7
; With a pause between them they take 25 to 350 us, by the CPU; to sleep and wake costs 5 to 50.
LOOKS               equ 8192

section .rodata
align 8
function_lists:     dq call_function, thread_barrier, 0
; A fault belongs to the thread that made it; all else is the main thread's.
worker_mask:        dq ~(1 << (SIGBUS - 1))

section .bss
threads:            resq 1              ; how many there are, the main thread among them
job:                resq 1              ; -> the lists that all run next
job_images:         resq 1              ; -> the first image
function:           resq 1              ; of machine_run
old_mask:           resq 1

section .text

; machine_open: makes opt_threads threads (0: as the model has use for, but no more than CPUs are allowed). Where the
; system refuses one, says so on standard error and goes on with those it has.
machine_open:
    push    rbx
    push    rbp
    push    r12
    call    cpus_allowed
    mov     rbx, rax
    mov     rbp, [opt_threads]
    call    useful_threads
    test    rbp, rbp
    cmovz   rbp, rax
    mov     r12d, 1                     ; the number of the next thread
    cmp     rbp, 1
    je      .opened

    mov     edi, SIG_SETMASK            ; a thread inherits the mask
    lea     rsi, [worker_mask]
    lea     rdx, [old_mask]
    mov     r10d, 8
    SYSCALL SYS_rt_sigprocmask
.next:
    call    start_worker
    jc      .refused
    inc     r12
    cmp     r12, rbp
    jb      .next
    jmp     .started
.refused:
    lea     rcx, [r12 + 1]
    FORMAT  `trainer: cannot start thread %u of %u: %e; continuing with %u\n`, rcx, rbp, rax, r12
    mov     edi, STDERR
    call    print_flush
.started:
    mov     edi, SIG_SETMASK
    lea     rsi, [old_mask]
    xor     edx, edx
    mov     r10d, 8
    SYSCALL SYS_rt_sigprocmask
.opened:
    mov     [threads], r12
    cmp     r12, rbx
    ja      .crowded                    ; a thread that looks would only keep another from its core
    mov     dword [barrier_looks], LOOKS
.crowded:
    xor     r8d, r8d
    call    barrier_release             ; from here on the workers know how many they are
    pop     r12
    pop     rbp
    pop     rbx
    ret

; machine_describe: the end of the report's first line
machine_describe:
    FORMAT  "threads %u", [threads]
    ret

; machine_help: the help on --threads
machine_help:
    push    rbx
    call    cpus_allowed
    mov     rbx, rax
    call    useful_threads
    SAY     `  --threads N        1 to %u (default: %u; of %u CPUs, no more than %u shorten a step of this model)\n`, \
            MAX_THREADS, rax, rbx, [model_useful_threads]
    pop     rbx
    ret

; useful_threads: rax = CPUs  ->  rax = as many threads of them as shorten a step
useful_threads:
    cmp     rax, [model_useful_threads]
    cmova   rax, [model_useful_threads]
    ret

; machine_log_columns, machine_log: the log has nothing of the threads
machine_log_columns:
machine_log:
    ret

; start_worker: r12 = its number  ->  or CF, rax = -errno
start_worker:
    push    rbx
    push    rbx
    xor     edi, edi
    mov     esi, GUARD_BYTES + STACK_BYTES
    mov     edx, PROT_NONE
    mov     r10d, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
    mov     r8, -1
    xor     r9d, r9d
    SYSCALL SYS_mmap
    cmp     rax, -4096
    ja      .failed
    mov     rbx, rax
    lea     rdi, [rax + GUARD_BYTES]
    mov     esi, STACK_BYTES
    mov     edx, PROT_READ | PROT_WRITE
    mov     r10d, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_STACK
    SYSCALL SYS_mmap
    cmp     rax, -4096
    ja      .release
    mov     edi, CLONE_FLAGS
    lea     rsi, [rbx + GUARD_BYTES + STACK_BYTES]
    xor     edx, edx
    xor     r10d, r10d
    xor     r8d, r8d
    SYSCALL SYS_clone
    test    rax, rax
    jz      worker
    jns     .return
.release:
    push    rax
    mov     rdi, rbx
    mov     esi, GUARD_BYTES + STACK_BYTES
    SYSCALL SYS_munmap
    pop     rax
.failed:
    stc
.return:
    pop     rbx
    pop     rbx
    ret

; worker: a thread's life. r12 = its number, an empty stack of its own.
worker:
    xor     ebp, ebp
    LOAD_MXCSR
    xor     r8d, r8d                    ; generation 0 ends when it is known how many threads there are
    call    barrier_wait
    mov     r13, [threads]
    mov     rbx, [arena]
.next:
    call    thread_barrier              ; the main thread arrives when there is a job
    mov     r14, [job_images]
    call    run_lists
    jmp     .next

; run_lists: runs the lists of the job in their order. rbx r12 r13 r14 = what model code expects (kernel.inc).
run_lists:
    push    r15
    mov     r15, [job]
.list:
    call    [r15]
    add     r15, 8
    cmp     qword [r15], 0
    jne     .list
    pop     r15
    ret

; threads_run: rdi -> lists of kernel calls, then 0; rsi -> the images. Returns when all threads have passed the last
; barrier of the lists: then every thread has read what the job is, and the next one may take its place. What follows
; that barrier (only prefetch_images does) may still run, and reads nothing that changes before all threads have begun
; the next job.
threads_run:
    push    rbx
    push    r12
    push    r13
    push    r14
    push    rbp
    mov     rbp, rsp
    and     rsp, -16
    mov     [job], rdi
    mov     [job_images], rsi
    mov     rbx, [arena]
    xor     r12d, r12d
    mov     r13, [threads]
    mov     r14, rsi
    call    thread_barrier
    call    run_lists
    mov     rsp, rbp
    pop     rbp
    pop     r14
    pop     r13
    pop     r12
    pop     rbx
    ret

; machine_run: rdi -> function, which all threads call with r12 = their number, r13 = threads. Returns when all have.
machine_run:
    mov     [function], rdi
    lea     rdi, [function_lists]
    jmp     threads_run

call_function:
    jmp     [function]
