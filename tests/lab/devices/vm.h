// One Linux guest under envvm, for stories that play envd: its control socket, its console with a shell at
// the other end, and its vsock connections, which are served by jobs.c's rules on threads of their own.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/vmctl.h"

#define VM_LOG_BYTES (1u << 20)

struct vm {
    int control, log, console;
    pid_t pid;
};

// Starts envvm with the kernel and initrd; memory and vCPUs as given. Ends the process with a message on
// failure, as everything here does.
void vm_start(struct vm *vm, const char *envvm, const char *kernel, const char *initrd, uint32_t memory_mib,
              uint8_t n_vcpus);
void vm_stop(struct vm *vm);

// Attaches to the console (again).
void vm_attach(struct vm *vm);
void vm_resize(struct vm *vm, uint16_t columns, uint16_t rows);
void vm_balloon(struct vm *vm, uint32_t target_mib);
struct vmctl_stats vm_stats(struct vm *vm);

// Types a command and returns all that it printed, up to cap - 1 bytes, in out (a string); ends the process
// when the command has not ended in time.
void vm_shell(struct vm *vm, const char *command, char *out, size_t cap, unsigned timeout_s);
// Types, and does not wait.
void vm_type(struct vm *vm, const char *text);
// Reads from the console until text was seen, into out (a string, its last cap - 1 bytes).
void vm_expect(struct vm *vm, const char *text, char *out, size_t cap, unsigned timeout_s);

_Noreturn void vm_die(struct vm *vm, const char *format, ...) __attribute__((format(printf, 2, 3)));
