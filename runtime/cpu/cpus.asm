; cpus.asm: how many CPUs this process may use: those of its affinity, but no more than what its control groups grant.

%include "common.inc"

extern file_read, quota_cpus_v1, quota_cpus_v2

global cpus_allowed

AFFINITY_BYTES      equ 1024            ; 8192 CPUs, the most that Linux has on x86-64
GROUPS_BYTES        equ 16384

section .rodata
groups_path:        db "/proc/self/cgroup", 0

section .bss
affinity:           resb AFFINITY_BYTES
groups:             resb GROUPS_BYTES

section .text

; cpus_allowed:  ->  rax, at least 1
cpus_allowed:
    push    rbx
    push    rbp
    push    r12
    call    affinity_count
    mov     rbx, rax
    lea     rdi, [groups_path]
    lea     rsi, [groups]
    mov     edx, GROUPS_BYTES
    call    file_read
    jc      .done
    lea     rbp, [groups]
    lea     r12, [rbp + rax]
.line:
    cmp     rbp, r12
    jae     .done
    mov     rdi, rbp
    call    group_cpus
    cmp     rbx, rax
    cmova   rbx, rax
    lea     rbp, [rdi + 1]
    jmp     .line
.done:
    mov     rax, rbx
    pop     r12
    pop     rbp
    pop     rbx
    ret

; affinity_count:  ->  rax = CPUs in the affinity of this process, 1 where the system does not say
affinity_count:
    xor     edi, edi
    mov     esi, AFFINITY_BYTES
    lea     rdx, [affinity]
    SYSCALL SYS_sched_getaffinity
    test    rax, rax
    js      .unknown
    lea     rdi, [affinity]
    lea     rdx, [rdi + rax]
    xor     eax, eax
.word:
    mov     rcx, [rdi]
.bit:
    test    rcx, rcx
    jz      .next
    lea     rsi, [rcx - 1]
    and     rcx, rsi                    ; without its lowest bit
    inc     rax
    jmp     .bit
.next:
    add     rdi, 8
    cmp     rdi, rdx
    jb      .word
    ret
.unknown:
    mov     eax, 1
    ret

; group_cpus: rdi -> a line "ID:CONTROLLERS:PATH" of /proc/self/cgroup; version 2 has no controllers
;   ->  rax = CPUs that its group grants, -1: no limit; rdi -> the end of the line
group_cpus:
    push    rbx
    push    rbp
    push    r12
    mov     al, ':'
    call    find
    lea     rbx, [rdi + 1]              ; -> controllers
    mov     rdi, rbx
    call    find
    lea     rbp, [rdi + 1]              ; -> path
    mov     rdi, rbp
    mov     al, 10
    call    find
    mov     r12, rdi
    mov     rsi, rdi
    sub     rsi, rbp                    ; its length; negative where the line has no colons
    mov     rdi, rbp
    mov     rax, -1
    jle     .done
    cmp     byte [rbx], ':'
    je      .v2
.controller:
    mov     ecx, [rbx]
    cmp     ecx, 'cpu:'
    je      .v1
    cmp     ecx, 'cpu,'
    je      .v1
.skip:                                  ; to the next controller
    inc     rbx
    cmp     rbx, rbp
    jae     .done
    cmp     byte [rbx - 1], ','
    jne     .skip
    jmp     .controller
.v1:
    call    quota_cpus_v1
    jmp     .done
.v2:
    call    quota_cpus_v2
.done:
    mov     rdi, r12
    pop     r12
    pop     rbp
    pop     rbx
    ret

; find: rdi -> text, al = byte  ->  rdi -> the first of it, or the end of the line, or the zero at the end
find:
    cmp     [rdi], al
    je      .found
    cmp     byte [rdi], 10
    je      .found
    cmp     byte [rdi], 0
    je      .found
    inc     rdi
    jmp     find
.found:
    ret
