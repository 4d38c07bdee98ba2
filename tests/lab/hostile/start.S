// Entered by the 64-bit boot protocol: %rsi points to the boot parameters.
    .globl start
    .section .text.start, "ax"
start:
    cli
    lea stack_end(%rip), %rsp
    mov %rsi, %rdi
    call guest_main
1:  hlt
    jmp 1b

    .section .bss
    .align 16
stack:
    .skip 32768
stack_end:
    .section .note.GNU-stack, "", @progbits
