; machine.asm: what is said of the device. machine_open, step_derive and parameters_fetch are in machine.cuh.

%include "common.inc"
%include "print.inc"

extern machine_name                     ; text, in machine.cuh

global machine_describe, machine_help

section .text

; machine_describe: the end of the report's first line
machine_describe:
    FORMAT  "device %s", machine_name
    ret

; machine_help: the help on --threads
machine_help:
    SAY     `  --threads N        not used: the work is the device's\n`
    ret
