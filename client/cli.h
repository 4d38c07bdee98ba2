// envctl's frame: exit codes, global options, how a verb reports its failure. Every verb is one file in
// verbs/ and one row in main.c's table.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"

// Exit codes by class; send and call use receipt_exit_code() on top (20 + code).
enum cli_exit {
    CLI_OK = 0,
    CLI_ERROR = 1,
    CLI_USAGE = 2,
    CLI_NOT_FOUND = 3,
    CLI_REFUSED = 4,
    CLI_CONFLICT = 5,
    CLI_UNAVAILABLE = 6,
    CLI_TIMEOUT = 124,
};

struct verb;

struct cli {
    const struct verb *verb; // that runs
    const char *socket;
    bool json;     // --format json
    bool wait;     // --wait, the default; --no-wait
    int timeout_s; // of waits and calls
    bool timeout_given;
    struct err err; // the one message of a failure, printed by main
    char remedy[512];
};

// What a verb accepts besides the global options. kind decides the type of target.
enum cli_option_kind { CLI_FLAG, CLI_STRING, CLI_LIST };

struct cli_list {
    const char **items;
    size_t n;
};

struct cli_option {
    const char *name; // long name without dashes
    char letter;      // or 0
    enum cli_option_kind kind;
    void *target; // bool *, const char **, struct cli_list *
};

// Parses options (anywhere) and moves the positional arguments to the front of argv. What follows "--" stays
// as it is and is counted too. Global options go to cli. 0, or CLI_USAGE with cli->err set. *ret_n: number of
// positionals; *ret_rest: index of the first argument after "--", or -1.
int cli_options(struct cli *cli, const struct cli_option *options, size_t n_options, int argc, char **argv,
                int *ret_n, int *ret_rest);
void cli_list_free(struct cli_list *list);

// Sets the message and returns the exit code.
__attribute__((format(printf, 3, 4))) int cli_fail(struct cli *cli, enum cli_exit code, const char *format,
                                                   ...);
// Adds what to try next and returns code.
__attribute__((format(printf, 3, 4))) int cli_hint(struct cli *cli, int code, const char *format, ...);
// Prints the message and what to try next, if there are any, to standard error.
void cli_report(struct cli *cli);
// CLI_USAGE with the verb's "usage: envctl …".
int cli_usage(struct cli *cli);

struct verb {
    const char *name;
    const char *usage; // after "envctl "; all its own options, so that help and completion know them
    const char *summary;
    int (*run)(struct cli *cli, int argc, char **argv); // argv[0] is the verb
};

// Ends with a NULL name.
extern const struct verb verbs[];
const struct verb *verb_find(const char *name);
