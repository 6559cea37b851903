; dataset.asm: what must be true of the data directory's four IDX files, and the model's validation split.

%include "common.inc"
%include "print.inc"
%include "model.inc"
%include "split.inc"

extern data_directory, find_data_directory, find_data_file
extern train_image_names, train_label_names, test_image_names, test_label_names
extern idx_map, idx_shape, classes_open

global dataset_open, train_split, test_split, validation_split, validation_begin, validation_end, train_count

section .rodata
train_name:         db "train", 0
test_name:          db "test", 0
align 8
image_extents:      dq model_width, model_height, model_channels, 0     ; -> those of the input, from the last

section .bss
train_split:        resb split_size
test_split:         resb split_size
validation_split:   resq 1              ; -> the split it is taken from, or 0
validation_begin:   resq 1
validation_end:     resq 1
train_count:        resq 1              ; training samples: those of the split less the validation's

section .text

; dataset_open: maps the splits, checks them and settles which samples validate; ends the program where something is
; wrong
dataset_open:
    push    rbx
    call    find_data_directory
    lea     rdi, [train_split]
    lea     rsi, [train_image_names]
    lea     rdx, [train_label_names]
    lea     rax, [train_name]
    mov     [rdi + split.name], rax
    call    split_open
    lea     rdi, [test_split]
    lea     rsi, [test_image_names]
    lea     rdx, [test_label_names]
    lea     rax, [test_name]
    mov     [rdi + split.name], rax
    call    split_open
    call    validation_open
    call    classes_open
    pop     rbx
    ret

; split_open: rdi -> split with its name, rsi -> names of the images file, rdx -> names of the labels file
split_open:
    push    rbx
    push    rbp
    mov     rbx, rdi
    mov     rbp, rdx
    lea     rdi, [rbx + split.image_path]
    call    find_data_file
    lea     rdi, [rbx + split.label_path]
    mov     rsi, rbp
    call    find_data_file
    call    open_images
    call    open_labels
    pop     rbp
    pop     rbx
    ret

; open_images: rbx -> split. Images of the model's size, at least one.
open_images:
    lea     rdi, [rbx + split.image_path]
    call    idx_map
    mov     [rbx + split.images], rax
    mov     rcx, [idx_shape + 8]
    mov     [rbx + split.count], rcx
    cmp     qword [idx_shape], 2
    jb      .rank
    call    image_fits
    jne     .size
    cmp     qword [rbx + split.count], 0
    je      .empty
    ret
.rank:
    lea     rdx, [rbx + split.image_path]
    FAIL    EXIT_FAILED, "%s has rank 1: images have rank 2 or more", rdx
.size:
    lea     rdx, [rbx + split.image_path]
    FAIL    EXIT_FAILED, \
        "%s has shape %d, but %s takes [n, %u, %u, %u] (n, channels, height, width; leading ones behind n are free)", \
        rdx, idx_shape, model_name, [model_channels], [model_height], [model_width]
.empty:
    lea     rdx, [rbx + split.image_path]
    FAIL    EXIT_FAILED, "%s holds no images", rdx

; image_fits:  ->  ZF where the extents behind n are the model's, but for leading ones
image_fits:
    lea     rsi, [idx_shape]
    mov     rcx, [rsi]                  ; the extent to compare next, from the last to 2, the one behind n
    lea     rdi, [image_extents]
.extent:
    mov     eax, 1                      ; an extent that is not there counts as one, on both sides
    mov     rdx, [rdi]
    test    rdx, rdx
    jz      .wanted
    mov     rax, [rdx]
    add     rdi, 8
.wanted:
    mov     edx, 1
    cmp     rcx, 2
    jb      .compare
    mov     rdx, [rsi + rcx * 8]
    dec     rcx
.compare:
    cmp     rdx, rax
    jne     .return
    cmp     rcx, 2
    jae     .extent
    cmp     qword [rdi], 0
    jne     .extent
.return:
    ret

; open_labels: rbx -> split with its images. A label for each, all of them classes of the model.
open_labels:
    lea     rdi, [rbx + split.label_path]
    call    idx_map
    mov     rdx, rax
    mov     [rbx + split.labels], rdx
    mov     rcx, [idx_shape]
    cmp     rcx, 1
    jne     .rank
    mov     rax, [idx_shape + 8]
    cmp     rax, [rbx + split.count]
    jne     .count
    xor     ecx, ecx
    mov     r8, [model_classes]
.label:
    movzx   r9d, byte [rdx + rcx]
    cmp     r9, r8
    jae     .label_out
    inc     rcx
    cmp     rcx, rax
    jb      .label
    ret
.rank:
    lea     rdx, [rbx + split.label_path]
    FAIL    EXIT_FAILED, "%s has rank %u: labels have rank 1", rdx, rcx
.count:
    lea     rdx, [rbx + split.label_path]
    lea     rcx, [rbx + split.image_path]
    FAIL    EXIT_FAILED, "%s holds %u labels, but %s holds %u images: they must be equal", \
            rdx, rax, rcx, [rbx + split.count]
.label_out:
    lea     rdx, [rbx + split.label_path]
    dec     r8
    FAIL    EXIT_FAILED, "%s: label %u of sample %u is not a class of %s, whose classes are 0 to %u", \
            rdx, r9, rcx, model_name, r8

; validation_open: which samples the epochs are judged by, and how many are left to train on
validation_open:
    mov     rax, [train_split + split.count]
    mov     [train_count], rax
    mov     rcx, [model_validation_source]
    cmp     rcx, VALIDATION_NONE
    je      .return
    lea     rdx, [train_split]
    cmp     rcx, VALIDATION_TRAIN
    je      .range
    lea     rdx, [test_split]
.range:
    mov     [validation_split], rdx
    mov     r8, [model_validation_begin]
    mov     r9, [model_validation_end]
    test    r9, r9
    cmovs   r9, [rdx + split.count]     ; -1: to the end
    mov     [validation_begin], r8
    mov     [validation_end], r9
    cmp     r9, [rdx + split.count]
    ja      .outside
    cmp     r8, r9
    jae     .outside
    cmp     rcx, VALIDATION_TRAIN
    jne     .return
    sub     r9, r8
    sub     [train_count], r9
    jz      .nothing_left
.return:
    ret
.outside:
    FAIL    EXIT_FAILED, "the validation samples %u to %u (exclusive) of %s do not exist: the %s images in %s are %u", \
            r8, r9, model_name, [rdx + split.name], data_directory, [rdx + split.count]
.nothing_left:
    FAIL    EXIT_FAILED, "the validation samples of %s are all %u training images in %s: none is left to train on", \
            model_name, [train_split + split.count], data_directory
