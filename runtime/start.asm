; start.asm: the order in which a trainer does its work. What depends on the machine that computes (the CPU's threads,
; or a
; GPU) has one name and two files, in cpu/ and cuda/:
;   the entry point, which ends in `start`           machine_open machine_describe machine_help
;   step_derive parameters_fetch machine_exit        epoch_run evaluate
;   machine_log_columns machine_log              machine_run: rdi -> function, which every thread that the machine has
;   for
;                                                such work calls, with r12 = its number, r13 = how many there are

%include "common.inc"
%include "print.inc"
%include "mxcsr.inc"

extern standard_files, signals_install, args_parse, cpu_check, report_open, dataset_open, arena_open, machine_open
extern philox_open, tensors_init, checkpoint_load, checkpoint_save, checkpoint_check_path, log_open, step_derive
extern parameters_fetch, report_summary, train, test_report, machine_exit
extern opt_load, opt_save, opt_eval, opt_log, signal_number, output_failed, log_failed, interrupted_report

global start, process_stack, process_exit

section .bss
process_stack:      resq 1              ; -> argc, argv[argc], 0, environment, 0

section .text
; start: process_stack is set, rsp a multiple of 16, as it stays here: all that this calls may be C
start:
    xor     ebp, ebp
    LOAD_MXCSR

    call    standard_files
    call    signals_install
    call    args_parse
    call    cpu_check
    call    report_open
    call    checkpoint_check_path
    call    dataset_open
    call    arena_open
    call    log_open
    call    machine_open
    call    philox_open

    cmp     qword [opt_load], 0
    jne     .load
    call    tensors_init
    jmp     .ready
.load:
    call    checkpoint_load
.ready:
    call    step_derive
    call    report_summary

    cmp     qword [opt_eval], 0
    jne     .trained
    call    train
.trained:
    cmp     qword [opt_save], 0
    je      .saved
    call    parameters_fetch
    call    checkpoint_save
.saved:
    cmp     dword [signal_number], 0
    jne     interrupted_report
    call    test_report
    cmp     dword [signal_number], 0
    jne     interrupted_report
    xor     edi, edi

; process_exit: edi = exit code. An incomplete report turns success into failure.
process_exit:
    test    edi, edi
    jnz     .exit
    mov     rax, [output_failed]
    test    rax, rax
    jnz     .no_report
    mov     rax, [log_failed]
    test    rax, rax
    jnz     .no_log
    jmp     machine_exit
.exit:
    SYSCALL SYS_exit_group
.no_report:
    FAIL    EXIT_FAILED, "cannot write the report: %e", rax
.no_log:
    FAIL    EXIT_FAILED, "cannot write the log %s: %e", [opt_log], rax
