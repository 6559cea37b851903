; quota.asm: the CPU time that a control group grants. Its quota binds the groups below it, so all groups of a path are
; asked up to the root. A container may see its own group as the root: then the rest of the path does not exist, which
; is no limit.
;   version 2   cpu.max "QUOTA PERIOD" or "max PERIOD"      version 1   cpu.cfs_quota_us "QUOTA" or "-1",
;   cpu.cfs_period_us

%include "common.inc"
%include "print.inc"

extern file_read

global quota_cpus_v1, quota_cpus_v2

VALUE_BYTES         equ 64

section .bss
value_path:         resb PATH_BYTES
value:              resb VALUE_BYTES

section .text

; quota_cpus_v1, quota_cpus_v2: rdi -> path of a group, "/a/b", rsi = its length
;   ->  rax = CPUs (quota / period, rounded up), the least of the path's groups; -1: no limit
quota_cpus_v1:
    lea     rax, [group_v1]
    jmp     least
quota_cpus_v2:
    lea     rax, [group_v2]

; least: rax -> how one group is asked
least:
    push    rbx
    push    rbp
    push    r12
    push    r13
    mov     r12, rdi
    mov     rbx, rsi
    mov     r13, rax
    mov     rbp, -1
.group:
    call    r13
    cmp     rbp, rax
    cmova   rbp, rax
    test    rbx, rbx
    jz      .done
.parent:                                ; that of "/a/b" is "/a", that of "/a" is the root ""
    dec     rbx
    jz      .group
    cmp     byte [r12 + rbx], '/'
    jne     .parent
    jmp     .group
.done:
    mov     rax, rbp
    pop     r13
    pop     r12
    pop     rbp
    pop     rbx
    ret

; group_v1, group_v2: r12 -> path, rbx = its length  ->  rax = CPUs, -1: no limit
group_v1:
    FORMAT_PATH value_path, "/sys/fs/cgroup/cpu%S/cpu.cfs_quota_us", r12, rbx
    call    read_value
    jc      no_limit                    ; "-1", too
    push    rax
    FORMAT_PATH value_path, "/sys/fs/cgroup/cpu%S/cpu.cfs_period_us", r12, rbx
    call    read_value
    pop     rcx
    jc      no_limit
    jmp     ratio

group_v2:
    FORMAT_PATH value_path, "/sys/fs/cgroup%S/cpu.max", r12, rbx
    call    read_value
    jc      no_limit                    ; "max", too
    push    rax
    inc     rdi
    call    number
    pop     rcx
    jc      no_limit

; ratio: rcx = quota, rax = period
ratio:
    xchg    rax, rcx
    xor     edx, edx
    test    rcx, rcx
    jz      no_limit
    div     rcx
    cmp     rdx, 1
    sbb     rax, -1                     ; a remainder is one CPU more
    cmp     rax, 1
    adc     rax, 0                      ; at least one
    ret
no_limit:
    mov     rax, -1
    ret

; read_value:  ->  rax = the number at the start of the file value_path, rdi -> behind it; CF where there is none
read_value:
    lea     rdi, [value_path]
    lea     rsi, [value]
    mov     edx, VALUE_BYTES
    call    file_read
    jc      number.return
    lea     rdi, [value]

; number: rdi -> text  ->  rax = the number there, rdi -> behind it; CF where there is none
number:
    xor     eax, eax
    mov     rdx, rdi
.digit:
    movzx   ecx, byte [rdi]
    sub     ecx, '0'
    cmp     ecx, 9
    ja      .end
    imul    rax, rax, 10
    add     rax, rcx
    inc     rdi
    jmp     .digit
.end:
    cmp     rdx, rdi
    cmc                                 ; CF where rdi has not moved
.return:
    ret
