// The one program: its start, its end, its limits. Called by main.c, by the system calls and by the agent.
#pragma once

#include <stdint.h>

#define PROCESS_ID 1

// Lays out the stack and jumps to the program.
__attribute__((noreturn)) void process_start(void);
// Ends the environment; status 0..255.
__attribute__((noreturn)) void process_exit(int status);
// As a signal that is not handled would: status 128 + signal.
__attribute__((noreturn)) void process_kill(int signal);
// The host asked for the end at this monotonic time at the latest.
void process_end_by(uint64_t monotonic_ns);
uint64_t process_end_ns(void);
// Ends the program when its time is up.
void process_check_end(uint64_t now_ns);

uint64_t process_stack_bytes(void);
// The program's name as it was started (argv[0]), NUL terminated.
const char *process_name(void);
