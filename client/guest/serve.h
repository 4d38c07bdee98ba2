// What envctl serve's files share: serve.c has the command line and answers by itself, exec.c runs a command
// for each message.
#pragma once

#include "guest.h"

#define SERVE_SERVICES_MAX 32
#define SERVE_JOBS_MAX     64

struct serve_options {
    const char *services[SERVE_SERVICES_MAX];
    size_t n_services;
    const char *subject_prefix;
    const char *reply;   // a fixed text, or
    const char *command; // one that answers; neither: echo
    bool echo;
    unsigned long jobs; // commands at once
    unsigned long n;    // messages to serve; 0: without end
};

void serve_note(const struct env_message *m, const char *what);
bool serve_wants(const struct serve_options *o, const struct env_message *m);
// Runs the command for each message until n were served. 0, or what libenv says of a connection's end.
int serve_exec(struct env *env, const struct serve_options *o);
