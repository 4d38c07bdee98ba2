// envctl inside an environment: what the verbs share. One file per verb in verbs/, one row per verb in
// main.c.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "env/env.h"

#define EXIT_FAILED 1 // the connection, memory, a closed standard output
#define EXIT_USAGE  2 // the command line
#define EXIT_TIMEOUT                                                                                         \
    124 // nothing came in time
        // 20 + code: the host refused, see receipt_exit_code()

struct verb {
    const char *name;
    int (*run)(int argc, char **argv); // argv[0] is the verb; returns the exit code
    const char *usage;
    const char *summary;
    const char *options; // lines for help, or ""
};

extern const struct verb verbs[]; // ends with a row without name

int verb_send(int argc, char **argv);
int verb_call(int argc, char **argv);
int verb_recv(int argc, char **argv);
int verb_serve(int argc, char **argv);
int verb_monitor(int argc, char **argv);
int verb_whoami(int argc, char **argv);
int verb_clock(int argc, char **argv);
int verb_help(int argc, char **argv);

// Prints "envctl VERB: text", and what to try next, on standard error. Returns exit_code.
__attribute__((format(printf, 4, 5))) int guest_fail(const char *verb, int exit_code, const char *next,
                                                     const char *format, ...);
// The same for a wrong command line: the next thing to try is the verb's usage.
__attribute__((format(printf, 2, 3))) int guest_usage(const char *verb, const char *format, ...);
// Reports a failed call of libenv and returns the exit code that belongs to rc.
int guest_report(const char *verb, const struct env *env, int rc, const char *what);
// Connects. 0, or the exit code after a report.
int guest_open(const char *verb, struct env **ret_env);

// "10" or "10s", "250ms", "2m"; at least 1 ms and at most a day. False when it is none of these.
bool guest_parse_ms(const char *text, int *ret_ms);
bool guest_parse_count(const char *text, unsigned long max, unsigned long *ret);
// "text" or "json".
bool guest_parse_format(const char *text, bool *ret_json);
// A string of UTF-8 as JSON has it, in quotes.
void guest_print_json_string(const char *s, size_t n);
// Writes bytes to standard output. 0, or an exit code after a report.
int guest_print(const char *verb, const void *data, size_t n);

// Of verbs that wait for something and print it.
struct guest_incoming {
    unsigned long n; // 0: without end
    int timeout_ms;  // for each; -1: for ever
    bool json;
};
// Changes what the options of argv[0] say; *ret_rest is the first word after them. 0, or an exit code after a
// report.
int guest_incoming_parse(struct guest_incoming *in, int argc, char **argv, int *ret_rest);

// An outgoing message from the command line, for send and call.
struct guest_message {
    struct env_outgoing out;
    struct env_header headers[ENVELOPE_HEADERS_MAX];
    int timeout_ms;
    int expires_in_ms; // 0: never
    const char *file;  // of the body; NULL: none, "-": standard input
    char *body;        // owned
};
// Parses options, then ADDRESS [BODY... | -]; the body may be a file's too. 0, or an exit code after a
// report; guest_message_done() is due in both cases.
int guest_message_parse(struct guest_message *m, int argc, char **argv, const char *verb, bool is_call);
void guest_message_done(struct guest_message *m);
