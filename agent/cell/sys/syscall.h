// The system call table and the way back to the program. Called by boot/entry.S.
#pragma once

#include <stdint.h>

// A handler: six arguments in, a result or -errno out.
typedef int64_t syscall_fn(const uint64_t a[6]);

int64_t syscall_dispatch(uint64_t number, const uint64_t a[6]);
// The upcall: serves the devices while the program is interrupted.
void upcall_serve(void);
// The last thing before any return to the program: takes what envvm announced meanwhile.
void syscall_return_to_program(void);
