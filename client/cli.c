// Owns option parsing and failure texts of envctl. Called by main and the verbs; knows nothing of the API.
#include "cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harmless.h"

int cli_fail(struct cli *cli, enum cli_exit code, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    vsnprintf(cli->err.text, sizeof cli->err.text, format, ap);
    va_end(ap);
    harmless_text(cli->err.text); // it may quote a guest
    return (int)code;
}

int cli_hint(struct cli *cli, int code, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    vsnprintf(cli->remedy, sizeof cli->remedy, format, ap);
    va_end(ap);
    harmless_text(cli->remedy);
    return code;
}

void cli_report(struct cli *cli)
{
    if (cli->err.text[0])
        fprintf(stderr, "envctl: %s\n", cli->err.text);
    if (cli->remedy[0])
        fprintf(stderr, "  try: %s\n", cli->remedy);
}

int cli_usage(struct cli *cli)
{
    snprintf(cli->err.text, sizeof cli->err.text, "usage: envctl %s", cli->verb->usage);
    return CLI_USAGE;
}

void cli_list_free(struct cli_list *list)
{
    free(list->items);
    *list = (struct cli_list){0};
}

static int list_add(struct cli_list *list, const char *item)
{
    const char **items = realloc(list->items, (list->n + 1) * sizeof *items);
    if (!items)
        return -1;
    items[list->n++] = item;
    list->items = items;
    return 0;
}

static int set_format(struct cli *cli, const char *value)
{
    cli->json = strcmp(value, "json") == 0;
    if (!cli->json && strcmp(value, "table") != 0)
        return cli_fail(cli, CLI_USAGE, "--format %s: table and json are what there is", value);
    return 0;
}

static int set_timeout(struct cli *cli, const char *value)
{
    char *end;
    long seconds = strtol(value, &end, 10);
    if (end == value || (*end != '\0' && strcmp(end, "s") != 0) || seconds < 1 || seconds > 600)
        return cli_fail(cli, CLI_USAGE, "--timeout %s: seconds, 1 to 600", value);
    cli->timeout_s = (int)seconds;
    cli->timeout_given = true;
    return 0;
}

static int set_socket(struct cli *cli, const char *value)
{
    cli->socket = value;
    return 0;
}

static int set_wait(struct cli *cli, const char *value)
{
    cli->wait = value != NULL;
    return 0;
}

// Options that every verb takes. A flag's handler gets "" or, for --no-wait, NULL.
static const struct {
    const char *name;
    bool takes_value;
    const char *flag_value;
    int (*set)(struct cli *cli, const char *value);
} globals[] = {
    {"format", true, NULL, set_format}, {"timeout", true, NULL, set_timeout},
    {"socket", true, NULL, set_socket}, {"wait", false, "", set_wait},
    {"no-wait", false, NULL, set_wait},
};

static const struct cli_option *find_option(const struct cli_option *options, size_t n, const char *arg,
                                            size_t len)
{
    for (size_t i = 0; i < n; i++) {
        if (arg[1] == '-' && strlen(options[i].name) == len - 2 &&
            strncmp(options[i].name, arg + 2, len - 2) == 0)
            return &options[i];
        if (arg[1] != '-' && len == 2 && options[i].letter == arg[1])
            return &options[i];
    }
    return NULL;
}

// Handles argv[*i] as an option of the verb. True when it was one.
static bool take_option(struct cli *cli, const struct cli_option *option, const char *inline_value, int argc,
                        char **argv, int *i, int *ret)
{
    if (!option)
        return false;
    *ret = 0;
    if (option->kind == CLI_FLAG) {
        *(bool *)option->target = true;
        return true;
    }
    const char *value = inline_value ? inline_value : *i + 1 < argc ? argv[++*i] : NULL;
    if (!value)
        *ret = cli_fail(cli, CLI_USAGE, "--%s needs a value", option->name);
    else if (option->kind == CLI_STRING)
        *(const char **)option->target = value;
    else if (list_add(option->target, value) < 0)
        *ret = cli_fail(cli, CLI_ERROR, "no memory");
    return true;
}

static bool take_global(struct cli *cli, const char *arg, size_t len, const char *inline_value, int argc,
                        char **argv, int *i, int *ret)
{
    for (size_t g = 0; g < sizeof globals / sizeof globals[0]; g++) {
        if (len < 3 || strlen(globals[g].name) != len - 2 || strncmp(globals[g].name, arg + 2, len - 2) != 0)
            continue;
        const char *value = globals[g].flag_value;
        if (globals[g].takes_value)
            value = inline_value ? inline_value : *i + 1 < argc ? argv[++*i] : NULL;
        if (globals[g].takes_value && !value)
            *ret = cli_fail(cli, CLI_USAGE, "--%s needs a value", globals[g].name);
        else
            *ret = globals[g].set(cli, value);
        return true;
    }
    return false;
}

int cli_options(struct cli *cli, const struct cli_option *options, size_t n_options, int argc, char **argv,
                int *ret_n, int *ret_rest)
{
    const char *verb = argv[0]; // the positionals go over it
    int n = 0;
    *ret_rest = -1;
    for (int i = 1; i < argc; i++) {
        char *arg = argv[i];
        if (strcmp(arg, "--") == 0) {
            *ret_rest = i + 1;
            break;
        }
        if (arg[0] != '-' || arg[1] == '\0') {
            argv[n++] = arg;
            continue;
        }
        const char *equals = arg[1] == '-' ? strchr(arg, '=') : NULL;
        size_t len = equals ? (size_t)(equals - arg) : strlen(arg);
        const char *inline_value = equals ? equals + 1 : NULL;
        int rc = 0;
        if (!take_option(cli, find_option(options, n_options, arg, len), inline_value, argc, argv, &i, &rc) &&
            !take_global(cli, arg, len, inline_value, argc, argv, &i, &rc)) {
            cli_fail(cli, CLI_USAGE, "unknown option %s", arg);
            return cli_hint(cli, CLI_USAGE, "envctl help %s", verb);
        }
        if (rc != 0)
            return rc;
    }
    *ret_n = n;
    return 0;
}
