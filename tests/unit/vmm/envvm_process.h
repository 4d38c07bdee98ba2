// The program envvm as a process of its own, driven over its socket as envd drives it: for the tests of what
// it does (envvm_test.c) and of what it refuses (envvm_refuse_test.c). Tiny guests (guest_code.S). Needs
// root, for a tap, and /dev/kvm.
#pragma once

#include "testing.h"

#include <elf.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include "common/io.h"
#include "proto/logring.h"
#include "proto/vmctl.h"

#define LOG_CAPACITY (64u << 10)

#define SNIPPET(name) extern const uint8_t guest_##name[], guest_##name##_end[]
SNIPPET(exit_42);
SNIPPET(enter_program);
SNIPPET(spin);
SNIPPET(write_null);
SNIPPET(idle_rounds);
SNIPPET(hello);
SNIPPET(flood);

struct envvm {
    int control;
    pid_t pid;
    int fds[VMCTL_FDS_MAX]; // kvm, tap, kernel, program, log, archive
    size_t n_fds;
    struct vmctl_config config;
    // what came back
    enum vmctl_state states[8];
    size_t n_states;
    unsigned n_logs;
    unsigned n_stats, n_consoles; // of the latter those with a descriptor
    struct vmctl_message last;    // state
    struct vmctl_stats stats;
    char reason[VMCTL_REASON_MAX + 1];
};

// Opens what every test needs. False, and the reason on standard output, when the tests are to be skipped.
bool envvm_prepare(void);
int envvm_setup(void **state); // of a cell that exits with 42
int envvm_teardown(void **state);
#define ENVVM_CASE(f) cmocka_unit_test_setup_teardown(f, envvm_setup, envvm_teardown)

// Files of one of the snippets above.
int make_kernel(const uint8_t *code, const uint8_t *end);
int make_program(const uint8_t *code, const uint8_t *end);
#define KERNEL(name)  make_kernel(guest_##name, guest_##name##_end)
#define PROGRAM(name) make_program(guest_##name, guest_##name##_end)
void replace(int *slot, int fd);

void send_config(struct envvm *f);
void send_order(struct envvm *f, const struct vmctl_message *m);
void send_type(struct envvm *f, enum vmctl_type type);
void send_quit(struct envvm *f);
// Takes one message. False at the end of the socket.
bool take(struct envvm *f);
void await_state(struct envvm *f, enum vmctl_state state);
// Returns the exit status.
int await_end(struct envvm *f);
