; args.asm: the command line. `--name value` and `--name=value`; the last of several wins; the model's own values are
; the defaults. The results are the opt_* qwords.

%include "common.inc"
%include "print.inc"
%include "model.inc"
%include "threads.inc"

extern process_stack, process_exit, decimal_parse, machine_help, equal_text

global args_parse
global opt_data, opt_epochs, opt_lr, opt_seed, opt_threads, opt_batch_limit, opt_save, opt_load, opt_eval
global opt_log, opt_quiet

KIND_FLAG           equ 0               ; no value
KIND_TEXT           equ 1               ; a pointer to the value, not empty
KIND_WHOLE          equ 2               ; a whole number from min to max
KIND_REAL           equ 3               ; 0, or a decimal number from min to max (float64)

MAX_EPOCHS          equ 1000000
MAX_BATCHES         equ 1000000000
MIN_LR              equ __?float64?__(1.0e-99)
MAX_LR              equ __?float64?__(1.0e6)

struc option
    .name           resb 16
    .kind           resq 1
    .result         resq 1
    .min            resq 1
    .max            resq 1
endstruc

%macro OPTION 5                         ; name, kind, result, min, max
    %%name: db %1
    times 16 - ($ - %%name) db 0
    dq      %2, %3, %4, %5
%endmacro

section .rodata
align 8
options:
    OPTION  "--data",        KIND_TEXT,  opt_data,        0, 0
    OPTION  "--epochs",      KIND_WHOLE, opt_epochs,      0, MAX_EPOCHS
    OPTION  "--lr",          KIND_REAL,  opt_lr,          MIN_LR, MAX_LR
    OPTION  "--seed",        KIND_WHOLE, opt_seed,        0, -1
    OPTION  "--threads",     KIND_WHOLE, opt_threads,     1, MAX_THREADS
    OPTION  "--batch-limit", KIND_WHOLE, opt_batch_limit, 1, MAX_BATCHES
    OPTION  "--save",        KIND_TEXT,  opt_save,        0, 0
    OPTION  "--load",        KIND_TEXT,  opt_load,        0, 0
    OPTION  "--eval",        KIND_FLAG,  opt_eval,        0, 0
    OPTION  "--log",         KIND_TEXT,  opt_log,         0, 0
    OPTION  "--quiet",       KIND_FLAG,  opt_quiet,       0, 0
    OPTION  "--help",        KIND_FLAG,  opt_help,        0, 0
    OPTION  "-h",            KIND_FLAG,  opt_help,        0, 0
options_end:

section .bss
opt_data:           resq 1              ; -> text, or 0
opt_epochs:         resq 1
opt_lr:             resq 1              ; float64
opt_seed:           resq 1
opt_threads:        resq 1              ; 0: not given
opt_batch_limit:    resq 1              ; batches an epoch at most
opt_save:           resq 1              ; -> text, or 0
opt_load:           resq 1              ; -> text, or 0
opt_eval:           resq 1              ; 0 or 1
opt_log:            resq 1              ; -> text, or 0
opt_quiet:          resq 1              ; 0 or 1
opt_help:           resq 1              ; 0 or 1

section .text

; args_parse: reads process_stack; answers --help; ends the program where the command line is wrong
args_parse:
    push    rbx
    push    rbp
    push    r12
    push    r13
    push    r14
    mov     rax, [model_epochs]
    mov     [opt_epochs], rax
    mov     rax, [model_lr]
    mov     [opt_lr], rax
    mov     rax, [model_seed]
    mov     [opt_seed], rax
    mov     qword [opt_batch_limit], MAX_BATCHES

    mov     rbx, [process_stack]
    cmp     qword [rbx], 0
    je      .done                       ; not even a program name
    add     rbx, 16                     ; -> argv[1]
.next:
    mov     r12, [rbx]                  ; the argument
    add     rbx, 8
    test    r12, r12
    jz      .done
    lea     rbp, [options]
.compare:
    mov     rdi, r12
    mov     rsi, rbp
    call    match_name
    je      .found
    add     rbp, option_size
    lea     rax, [options_end]
    cmp     rbp, rax
    jb      .compare
    cmp     byte [r12], '-'
    jne     .stray
    FAIL    EXIT_USAGE, "unknown option %s; --help lists the options", r12
.stray:
    FAIL    EXIT_USAGE, "unexpected argument %s; --help lists the options", r12

.found:
    mov     r13, rdi                    ; -> what follows the name: "=value" or nothing
    mov     r14, [rbp + option.result]
    cmp     qword [rbp + option.kind], KIND_FLAG
    je      .flag
    cmp     byte [r13], '='
    je      .attached
    mov     r13, [rbx]
    test    r13, r13
    jz      .no_value
    add     rbx, 8
    jmp     .value
.attached:
    inc     r13
.value:
    cmp     byte [r13], 0
    je      .no_value
    cmp     qword [rbp + option.kind], KIND_WHOLE
    je      .whole
    cmp     qword [rbp + option.kind], KIND_REAL
    je      .real
    mov     [r14], r13
    jmp     .next
.no_value:
    FAIL    EXIT_USAGE, "%s needs a value; --help lists the options", rbp

.flag:
    cmp     byte [r13], 0
    jne     .no_flag_value
    mov     qword [r14], 1
    jmp     .next
.no_flag_value:
    FAIL    EXIT_USAGE, "%s takes no value, got %s", rbp, r12

.whole:
    mov     rdi, r13
    call    parse_whole
    jc      .bad_whole
    cmp     rax, [rbp + option.min]
    jb      .bad_whole
    cmp     rax, [rbp + option.max]
    ja      .bad_whole
    mov     [r14], rax
    jmp     .next
.bad_whole:
    FAIL    EXIT_USAGE, "%s needs a whole number from %u to %u, got %s", \
            rbp, [rbp + option.min], [rbp + option.max], r13

.real:
    mov     rdi, r13
    call    decimal_parse
    jc      .bad_real
    test    rax, rax
    jz      .real_in_range
    cmp     rax, [rbp + option.min]     ; positive floats compare like their bits
    jb      .bad_real
    cmp     rax, [rbp + option.max]
    ja      .bad_real
.real_in_range:
    mov     [r14], rax
    jmp     .next
.bad_real:
    FAIL    EXIT_USAGE, "%s needs 0 or a number from %g to %g, got %s", rbp, [rbp + option.min], [rbp + option.max], r13

.done:
    cmp     qword [opt_help], 0
    jne     help
    mov     rsi, [opt_save]
    call    not_the_log
    mov     rsi, [opt_load]
    call    not_the_log
    pop     r14
    pop     r13
    pop     r12
    pop     rbp
    pop     rbx
    ret

; not_the_log: rsi -> path of the checkpoint, or 0. The log would write over it.
not_the_log:
    mov     rdi, [opt_log]
    test    rdi, rdi
    jz      .return
    test    rsi, rsi
    jz      .return
    call    equal_text
    je      .same
.return:
    ret
.same:
    FAIL    EXIT_USAGE, "--log needs a file of its own, but the checkpoint is %s, too", [opt_log]

; match_name: rdi -> argument, rsi -> name  ->  ZF where the argument is the name, alone or before "="; rdi -> the rest
match_name:
    mov     al, [rsi]
    test    al, al
    jz      .end
    cmp     al, [rdi]
    jne     .return
    inc     rsi
    inc     rdi
    jmp     match_name
.end:
    cmp     byte [rdi], 0
    je      .return
    cmp     byte [rdi], '='
.return:
    ret

; parse_whole: rdi -> text  ->  rax; CF where it is not a number below 2^64
parse_whole:
    xor     eax, eax
    mov     r8d, 10
.digit:
    movzx   ecx, byte [rdi]
    inc     rdi
    sub     ecx, '0'
    cmp     ecx, 9
    ja      .bad
    mul     r8
    jc      .return
    add     rax, rcx
    jc      .return
    cmp     byte [rdi], 0
    jne     .digit
    clc
.return:
    ret
.bad:
    stc
    ret

help:
    SAY     `usage: trainer [options]\n\nTrains %s (%s, --isa %s) and tests it.\n\n`, model_name, model_dtype, model_isa
    SAY     `  --data DIR         directory of the IDX files (default: $ASMGEN_DATA/%s, else ./data/%s)\n`, \
            model_dataset, model_dataset
    SAY     `  --epochs N         passes over the training samples; 0 trains nothing (default: %u)\n`, [model_epochs]
    SAY     `  --lr F             learning rate of the first epoch (default: %g)\n`, [model_lr]
    SAY     `  --seed N           of the first weights and of the order of the samples (default: %u)\n`, [model_seed]
    call    machine_help
    SAY     `  --batch-limit N    end every epoch after N batches\n`
    SAY     `  --save FILE        write the weights there at the end, and on SIGINT or SIGTERM (safetensors)\n`
    SAY     `  --load FILE        start from these weights (safetensors)\n`
    SAY     `  --eval             do not train, only test\n`
    SAY     `  --log FILE         write one CSV line an epoch\n`
    SAY     `  --quiet            print only the last line\n`
    SAY     `  --help             print this\n`
    xor     edi, edi
    jmp     process_exit
