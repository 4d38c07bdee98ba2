// envctl exec: runs a command in a Linux guest, fit for scripts: bytes pass as they are, standard error
// apart, the command's exit status is envctl's own, and envctl's own failures are 125, 126 and 127 as in
// env(1).
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api.h"
#include "interact.h"
#include "terminal.h"
#include "verbs/verbs.h"

enum { EXIT_OURS = 125, EXIT_NOT_EXECUTABLE = 126, EXIT_NOT_FOUND = 127, EXIT_BY_SIGNAL = 128 };

struct exec_options {
    bool input, tty;
    const char *user, *cwd;
    struct cli_list env;
};

static bool add_variables(json_t *body, const struct cli_list *list)
{
    json_t *env = json_object();
    bool good = env != NULL;
    for (size_t n = 0; good && n < list->n; n++) {
        const char *equals = strchr(list->items[n], '=');
        char name[256];
        good = equals && equals != list->items[n] && (size_t)(equals - list->items[n]) < sizeof name;
        if (!good)
            break;
        snprintf(name, sizeof name, "%.*s", (int)(equals - list->items[n]), list->items[n]);
        good = json_object_set_new(env, name, json_string(equals + 1)) == 0;
    }
    return json_object_set_new(body, "env", env) == 0 && good;
}

static json_t *make_body(const struct exec_options *o, char **args, int n_args)
{
    json_t *body = json_object(), *argv = json_array();
    bool good = body && argv;
    for (int n = 0; good && n < n_args; n++)
        good = json_array_append_new(argv, json_string(args[n])) == 0; // refuses what is not UTF-8
    json_object_set_new(body, "argv", argv);
    json_object_set_new(body, "stdin", json_boolean(o->input));
    if (good && o->user)
        good = json_object_set_new(body, "user", json_string(o->user)) == 0;
    if (good && o->cwd)
        good = json_object_set_new(body, "cwd", json_string(o->cwd)) == 0;
    if (good && o->env.n > 0)
        good = add_variables(body, &o->env);
    if (good && o->tty) {
        uint16_t cols, rows;
        terminal_size(STDIN_FILENO, &cols, &rows);
        good = json_object_set_new(body, "tty", json_pack("{s:i, s:i}", "cols", cols, "rows", rows)) == 0;
    }
    if (good)
        return body;
    json_decref(body);
    return NULL;
}

static int exit_of(struct cli *cli, enum interact_end end, int value)
{
    switch (end) {
    case INTERACT_EXITED:
        return value;
    case INTERACT_SIGNALLED:
        return EXIT_BY_SIGNAL + value;
    case INTERACT_DETACHED:
        cli_fail(cli, CLI_ERROR, "ended by signal %d", value);
        return EXIT_BY_SIGNAL + value;
    case INTERACT_REFUSED:
        return value == SESSION_ERROR_NOT_FOUND        ? EXIT_NOT_FOUND
               : value == SESSION_ERROR_NOT_EXECUTABLE ? EXIT_NOT_EXECUTABLE
                                                       : EXIT_OURS;
    case INTERACT_CLOSED:
        channel_lost(cli, "exec");
        return EXIT_OURS;
    case INTERACT_FAILED:
        break;
    }
    return EXIT_OURS;
}

static int run(struct cli *cli, const char *address, const struct exec_options *o, char **args, int n_args)
{
    char path[API_PATH_CAP];
    struct channel *channel;
    int value = 0;
    int rc = api_environment_path(cli, address, "/exec", path);
    if (rc == 0 && o->tty && o->input && !isatty(STDIN_FILENO))
        rc = cli_fail(cli, CLI_USAGE, "-t with -i: standard input is not a terminal");
    json_t *body = rc == 0 ? make_body(o, args, n_args) : NULL;
    if (rc == 0 && !body)
        rc = cli_fail(cli, CLI_USAGE, "arguments must be UTF-8, and variables KEY=VALUE");
    if (rc == 0)
        rc = channel_open(cli, path, body, &channel);
    if (rc != 0)
        return EXIT_OURS;
    struct interact i = {.cli = cli,
                         .channel = channel,
                         .what = args[0],
                         .input = o->input,
                         .terminal = o->tty,
                         .signals = true,
                         .detach_key = -1};
    if (o->tty && o->input)
        terminal_raw(STDIN_FILENO);
    enum interact_end end = interact_run(&i, &value);
    terminal_restore();
    channel_free(channel);
    return exit_of(cli, end, value);
}

// "-it" is two options.
static void split_letters(char **argv, int argc, struct exec_options *o)
{
    for (int n = 1; n < argc && strcmp(argv[n], "--") != 0; n++) {
        if (strcmp(argv[n], "-it") != 0 && strcmp(argv[n], "-ti") != 0)
            continue;
        o->tty = true;
        argv[n][2] = '\0';
        argv[n][1] = 'i';
    }
}

int verb_exec(struct cli *cli, int argc, char **argv)
{
    struct exec_options o = {0};
    const struct cli_option options[] = {
        {"stdin", 'i', CLI_FLAG, &o.input}, {"tty", 't', CLI_FLAG, &o.tty},
        {"user", 'u', CLI_STRING, &o.user}, {"cwd", 'w', CLI_STRING, &o.cwd},
        {"env", 'e', CLI_LIST, &o.env},
    };
    int n, rest;
    split_letters(argv, argc, &o);
    int rc = cli_options(cli, options, sizeof options / sizeof options[0], argc, argv, &n, &rest);
    if (rc == 0 && (n != 1 || rest < 0 || rest >= argc))
        rc = cli_usage(cli);
    rc = rc != 0 ? EXIT_OURS : run(cli, argv[0], &o, argv + rest, argc - rest);
    cli_list_free(&o.env);
    return rc;
}
