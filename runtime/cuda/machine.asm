; machine.asm: what is said of the device and logged. machine_open, step_derive and parameters_fetch are in machine.cuh.

%include "common.inc"
%include "print.inc"

extern machine_name                     ; text, in machine.cuh
extern training_device_seconds          ; float64, in steps.cuh

global machine_describe, machine_help, machine_log_columns, machine_log, machine_run

section .text

; machine_describe: the end of the report's first line
machine_describe:
    FORMAT  "device %s", machine_name
    ret

; machine_help: the help on --threads
machine_help:
    SAY     `  --threads N        not used: the work is the device's\n`
    ret

; machine_log_columns, machine_log: what the log of an epoch has besides: its training by the device's clock
machine_log_columns:
    FORMAT  ",device_seconds"
    ret

machine_log:
    FORMAT  ",%g", [training_device_seconds]
    ret

; machine_run: rdi -> function, called with r12 = 0, r13 = 1: the one thread of the host
machine_run:
    push    r12
    push    r13
    push    r13                         ; the stack stays aligned
    xor     r12d, r12d
    mov     r13d, 1
    call    rdi
    pop     r13
    pop     r13
    pop     r12
    ret
