// Runs the envctl executable against a scripted server, a process of its own, and keeps what it says. Called
// by envctl_*_test.c.
#pragma once

#include "testing.h"

#include <sys/types.h>

#define OUTPUT_CAP 65536

struct world {
    char dir[64];
    char socket[96];
    char requests[96]; // the server appends a line for each request
    char file[96];     // something to upload
    pid_t server;
    char out[OUTPUT_CAP];
    char err[OUTPUT_CAP];
};

void write_file(const char *path, const char *text);
int setup(void **state);
void stop_server(struct world *w);
int teardown(void **state);

// Runs envctl with n arguments; out_fd < 0: standard output is kept in w->out. Returns its status.
int run_to(struct world *w, int out_fd, const char *const *args, size_t n);

#define ARGS(...)                                                                                            \
    (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)

#define run(w, ...) run_to(w, -1, ARGS(__VA_ARGS__))

void assert_has(const char *text, const char *part);

// What the server was asked so far.
const char *requests_of(struct world *w);
