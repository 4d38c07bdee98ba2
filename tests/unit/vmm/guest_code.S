// Tiny guests for vcpu_test.c. Each snippet is copied to a fixed address before the start and runs at CPL3; addresses are
// those of proto/cell.h. A "kernel" snippet lies in the kernel's text range, a "program" outside of it.

.set PORT_IDLE, 0x60
.set PORT_EXIT, 0x64
.set PORT_PANIC, 0x68
.set PORT_FSBASE, 0x6c

.set SHARED, 0xf000
.set PENDING, SHARED + 0x28
.set IN_KERNEL, SHARED + 0x2c
.set WAKE_NS, SHARED + 0x30
.set SYSCALL_RIP, SHARED + 0x38
.set FSBASE, SHARED + 0x40
.set UPCALL_RIP, SHARED + 0x48
.set UPCALL_RSP, SHARED + 0x50
.set UPCALL_RFLAGS, SHARED + 0x58
.set PANIC_TEXT, SHARED + 0x60

.set CHECKSUM_ROUNDS, 50000000
.set DATA, 0x300000    // counters that the tests read
.set STACK, 0x310000
.set KSTACK, 0x320000

.macro snippet name
.globl guest_\name, guest_\name\()_end
.balign 16
guest_\name:
.endm
.macro end name
guest_\name\()_end:
.endm
.macro exit_with value
    mov $\value, %eax
    out %eax, $PORT_EXIT
.endm

.section .rodata

snippet exit_42
    exit_with 0x1242a
end exit_42

snippet write_null
    mov $0x111, %eax
    mov $0x222, %ebx
    movl $1, 0x8
end write_null

snippet read_unmapped
    mov $0xc0000000, %edi
    mov (%rdi), %rax
end read_unmapped

snippet read_file_page
    mov 0x400000, %eax
    exit_with 0
end read_file_page

snippet write_page_table
    movl $0, 0x1000
end write_page_table

snippet jump_null
    xor %eax, %eax
    jmp *%rax
end jump_null

snippet undefined_opcode
    ud2
end undefined_opcode

snippet divide_by_zero
    xor %ecx, %ecx
    xor %edx, %edx
    mov $1, %eax
    div %ecx
end divide_by_zero

snippet breakpoint
    int3
end breakpoint

snippet other_port
    out %eax, $0x80
end other_port

snippet fault_port
    out %eax, $0x70
end fault_port

snippet byte_port
    out %al, $PORT_EXIT
end byte_port

snippet halt
    hlt
end halt

snippet read_no_device
    mov $0xd0100000, %edi
    mov (%rdi), %eax
end read_no_device

snippet panic
    movl $0x6c6c6163, PANIC_TEXT     // "call"
    movl $0x2e2e0a1b, PANIC_TEXT + 4 // ESC, newline, ".."
    movl $0, PANIC_TEXT + 8
    out %eax, $PORT_PANIC
end panic

// Idles until it finds pending set, `DATA + 8` times; counts rounds in DATA.
snippet idle_rounds
1:  xor %eax, %eax
    xchg %eax, PENDING
    out %eax, $PORT_IDLE
    incl DATA
    decl DATA + 8
    jnz 1b
    mov PENDING, %eax
    out %eax, $PORT_EXIT
end idle_rounds

// A driver with a ring of one counter, DATA + 16: clears pending, looks, idles when there is nothing new. DATA is how far
// it has seen; ends at DATA + 8.
snippet follow_ring
1:  xor %eax, %eax
    xchg %eax, PENDING
    mov DATA + 16, %ecx
    cmp DATA, %ecx
    jne 2f
    out %eax, $PORT_IDLE
    jmp 1b
2:  mov %ecx, DATA
    cmp DATA + 8, %ecx
    jb 1b
    exit_with 0
end follow_ring

snippet fsbase
    mov $0x123450, %eax
    mov %rax, FSBASE
    out %eax, $PORT_FSBASE
    mov $0x300100, %eax
    mov %rax, FSBASE
    out %eax, $PORT_FSBASE
    movl $99, %fs:0
    mov 0x300100, %eax
    out %eax, $PORT_EXIT
end fsbase

snippet fsbase_bad
    mov $0x8000000000000000, %rax
    mov %rax, FSBASE
    out %eax, $PORT_FSBASE
end fsbase_bad

// A system call through whichever entry this KVM uses; the program checks that it comes back with its registers.
snippet syscall
    mov $7, %ebx
    mov $1, %eax
    syscall
    cmp $7, %ebx
    jne 1f
    cmp $0x55, %eax
    jne 1f
    exit_with 0
1:  exit_with 1
end syscall

snippet kernel_syscall_direct
    mov $0x55, %eax
    jmp *%rcx
end kernel_syscall_direct

snippet kernel_syscall_saved
    mov $0x55, %eax
    mov SYSCALL_RIP, %rcx
    jmp *%rcx
end kernel_syscall_saved

// Spins until an upcall has set DATA + 8; DATA counts rounds.
snippet spin
    mov $STACK, %esp
    movl $0, IN_KERNEL
    std
1:  incl DATA
    cmpl $0, DATA + 8
    je 1b
    exit_with 5
end spin

// Notes what it was given, marks the upcall, goes back to where the program was.
snippet kernel_upcall
    mov %rsp, DATA + 0x40
    mov $KSTACK, %esp
    push %rax
    pushf
    pop %rax
    mov %rax, DATA + 0x48
    movl $0, PENDING
    incl DATA + 8
    mov IN_KERNEL, %eax
    mov %eax, DATA + 0x50
    mov UPCALL_RIP, %rax
    mov %rax, DATA + 0x58
    pop %rax
    pushq $0x2b
    pushq UPCALL_RSP
    pushq UPCALL_RFLAGS
    pushq $0x33
    pushq UPCALL_RIP
    movl $0, IN_KERNEL
    iretq
end kernel_upcall

// Computes with all registers and flags for a while: upcalls in between must change nothing.
snippet checksum
    mov $STACK, %esp
    movl $0, IN_KERNEL
    xor %eax, %eax
    xor %edx, %edx
    mov $CHECKSUM_ROUNDS, %ecx
1:  add %rcx, %rax
    rol $7, %rax
    adc $0, %rdx
    push %rax
    pop %rsi
    cmp %rsi, %rax
    jne 2f
    dec %ecx
    jnz 1b
    mov %rax, DATA + 0x60
    mov %rdx, DATA + 0x68
    exit_with 0
2:  exit_with 1
end checksum

// Spins in kernel text: no upcall may come.
snippet kernel_spin
    movl $0, IN_KERNEL
1:  incl DATA
    cmpl $0, DATA + 8
    je 1b
    exit_with 6
end kernel_spin

// Spins outside of kernel text, but says that it is in the kernel.
snippet spin_in_kernel
    movl $1, IN_KERNEL
1:  incl DATA
    cmpl $0, DATA + 8
    je 1b
    exit_with 6
end spin_in_kernel

// Vector registers keep their contents across exits.
snippet vector
    vpcmpeqd %ymm3, %ymm3, %ymm3
    out %eax, $PORT_IDLE
    vmovdqu %ymm3, DATA + 0x80
    exit_with 0
end vector

// Kernels for envvm_test.c, position independent and entered with %rdi = the boot page.

snippet enter_program
    jmp *0x20(%rdi)
end enter_program

.set TX_QUEUE, 0x1c1000 // the console's second queue
.set DOORBELL, 0xd0000050

// One line on the console, its doorbell not even rung, then exit 7: the line must be in the log before the exit is known.
snippet hello
    mov $TX_QUEUE, %ebx
    lea 1f(%rip), %rax
    mov %rax, (%rbx)
    movl $6, 8(%rbx)
    movl $0, 12(%rbx)
    movw $0, 0x804(%rbx)
    mfence
    movw $1, 0x802(%rbx)
    exit_with 7
1:  .ascii "hello\n"
end hello

// 4 KiB of text over and over, as fast as they are taken; DATA rounds, then exit 8.
snippet flood
    mov $0x300000, %edi
    mov $0x2e2e2e2e, %eax
    mov $1024, %ecx
    rep stosl
    movb $10, -1(%rdi)
    mov $TX_QUEUE, %ebx
    movq $0x300000, (%rbx)
    movl $4096, 8(%rbx)
    movl $0, 12(%rbx)
    movw $0, 0x804(%rbx)
    mov $DOORBELL, %edx
    xor %ecx, %ecx
1:  inc %ecx
    mov %ecx, %eax
    and $127, %eax
    movw $0, 0x804(%rbx, %rax, 2)
    mfence
    mov %cx, 0x802(%rbx)
    mfence
    movl $1, (%rdx)
2:  pause
    cmp %cx, 0xa02(%rbx)
    jne 2b
    cmp $500, %ecx
    jb 1b
    exit_with 8
end flood

.section .note.GNU-stack, "", @progbits
