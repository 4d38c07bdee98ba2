// The kernel's header and its four ways in: start, system call (two flavours), upcall; and the jump into the program.
// Everything here runs at CPL3. envvm makes no upcall while RIP is between text_start and text_end, so between the stores
// to in_kernel and the jumps nothing can come in between. C code uses general registers only: the program's x87 and vector
// registers are never touched.

#define BOOT_GPA        0xe000
#define SHARED_GPA      0xf000
// Offsets in struct cell_shared; boot/main.c asserts them.
#define IN_KERNEL       (SHARED_GPA + 0x2c)
#define SYSCALL_RIP     (SHARED_GPA + 0x38)
#define UPCALL_RIP      (SHARED_GPA + 0x48)
#define UPCALL_RSP      (SHARED_GPA + 0x50)
#define UPCALL_RFLAGS   (SHARED_GPA + 0x58)
#define STACK_BYTES     0x10000

    .section .header, "a"
    .ascii  "cellkern"
    .long   1, 0
    .quad   entry, syscall_direct, syscall_saved, upcall, kernel_text_start, kernel_text_end

    .section .bss.stack, "aw", @nobits
    .balign 64
    .skip   STACK_BYTES
kernel_stack_top:
user_rsp:
    .skip   8

    .section .text.entry, "ax"
    .globl  entry, syscall_direct, syscall_saved, upcall, enter_program

entry:
    mov     $kernel_stack_top, %esp
    cld
    xor     %ebp, %ebp
    call    kernel_main
    ud2

// %rcx return address, %r11 flags, %rax number, arguments in rdi rsi rdx r10 r8 r9. Everything but rax, rcx and r11 is
// preserved: C preserves rbx, rbp and r12 to r15, the rest is here.
    .balign 16
syscall_saved:
    mov     SYSCALL_RIP, %rcx
syscall_direct:
    movl    $1, IN_KERNEL
    mov     %rsp, user_rsp
    mov     $kernel_stack_top, %esp
    cld
    push    %rcx
    push    %r11
    push    %r9
    push    %r8
    push    %r10
    push    %rdx
    push    %rsi
    push    %rdi
    mov     %rax, %rdi
    mov     %rsp, %rsi
    call    syscall_dispatch
    pop     %rdi
    pop     %rsi
    pop     %rdx
    pop     %r10
    pop     %r8
    pop     %r9
    mov     (%rsp), %r11
    popfq
    pop     %rcx
    mov     user_rsp, %rsp
    jmp     *%rcx

// Every register is the program's, and so is the red zone below its stack pointer.
    .balign 16
upcall:
    movl    $1, IN_KERNEL
    mov     $kernel_stack_top, %esp
    push    %rax
    mov     %ss, %eax
    xchg    %rax, (%rsp)
    push    UPCALL_RSP
    push    UPCALL_RFLAGS
    push    %rax
    mov     %cs, %eax
    xchg    %rax, (%rsp)
    push    UPCALL_RIP
    push    %rax
    push    %rcx
    push    %rdx
    push    %rsi
    push    %rdi
    push    %r8
    push    %r9
    push    %r10
    push    %r11
    push    %rbx
    push    %rbp
    cld
    call    upcall_serve
    pop     %rbp
    pop     %rbx
    pop     %r11
    pop     %r10
    pop     %r9
    pop     %r8
    pop     %rdi
    pop     %rsi
    pop     %rdx
    pop     %rcx
    pop     %rax
    iretq

// %rdi the program's entry, %rsi its stack. Registers as Linux leaves them after execve: zero.
    .balign 16
enter_program:
    mov     %rsi, %rsp
    push    $0x1f80
    fninit
    ldmxcsr (%rsp)
    movq    $0, (%rsp)
    lea     8(%rsp), %rsp
    mov     %rdi, %rcx
    xor     %eax, %eax
    xor     %ebx, %ebx
    xor     %edx, %edx
    xor     %esi, %esi
    xor     %edi, %edi
    xor     %ebp, %ebp
    xor     %r8d, %r8d
    xor     %r9d, %r9d
    xor     %r10d, %r10d
    xor     %r11d, %r11d
    xor     %r12d, %r12d
    xor     %r13d, %r13d
    xor     %r14d, %r14d
    xor     %r15d, %r15d
    jmp     *%rcx

    .section .note.GNU-stack, "", @progbits
