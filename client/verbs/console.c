// envctl console: the live console of a Linux guest on this terminal, until the detach key.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api.h"
#include "interact.h"
#include "terminal.h"
#include "verbs/verbs.h"

#define KEY_DEFAULT "ctrl-]"
#define TAIL_LINES  20

// "ctrl-X" or one character. -1: neither.
static int parse_key(const char *text)
{
    if (strncmp(text, "ctrl-", 5) == 0 && text[5] && !text[6]) {
        char c = text[5];
        if (c >= 'a' && c <= 'z')
            return c - 'a' + 1;
        return c >= '@' && c <= '_' ? c - '@' : -1;
    }
    return text[0] && !text[1] ? (unsigned char)text[0] : -1;
}

// A raw terminal needs both.
static bool print_raw(void *arg, const char *data, size_t len)
{
    (void)arg;
    for (size_t i = 0; i < len; i++) {
        if (data[i] == '\n')
            putchar('\r');
        putchar(data[i]);
    }
    return true;
}

static bool print(void *arg, const char *data, size_t len)
{
    (void)arg;
    return fwrite(data, 1, len, stdout) == len;
}

static int replay(struct cli *cli, const char *address, bool raw)
{
    char path[API_PATH_CAP], suffix[32];
    snprintf(suffix, sizeof suffix, "/logs?tail=%d", TAIL_LINES);
    int rc = api_environment_path(cli, address, suffix, path);
    if (rc == 0)
        rc = api_stream(cli, path, raw ? print_raw : print, NULL);
    fflush(stdout);
    return rc;
}

static int end_of(struct cli *cli, enum interact_end end, int value)
{
    switch (end) {
    case INTERACT_DETACHED:
        if (value == 0)
            fprintf(stderr, "\nenvctl: detached\n");
        return value == 0 ? 0 : 128 + value;
    case INTERACT_CLOSED:
        cli_fail(cli, CLI_UNAVAILABLE,
                 "the console was closed: the environment ended, or another client attached to it");
        return cli_hint(cli, CLI_UNAVAILABLE, "envctl show says what state it is in");
    case INTERACT_EXITED:
    case INTERACT_SIGNALLED:
    case INTERACT_REFUSED:
    case INTERACT_FAILED:
        break;
    }
    return CLI_ERROR;
}

static int attach(struct cli *cli, const char *address, const char *key_text, int key)
{
    char path[API_PATH_CAP];
    struct channel *channel;
    int value = 0;
    int rc = api_environment_path(cli, address, "/console", path);
    if (rc == 0)
        rc = channel_open(cli, path, NULL, &channel);
    if (rc != 0)
        return rc;
    bool terminal = isatty(STDIN_FILENO);
    if (terminal)
        fprintf(stderr, "envctl: attached to %s, detach with %s\n", address, key_text);
    if (terminal)
        terminal_raw(STDIN_FILENO);
    replay(cli, address, terminal);
    struct interact i = {.cli = cli,
                         .channel = channel,
                         .what = address,
                         .input = true,
                         .terminal = terminal,
                         .started = true,
                         .detach_key = terminal ? key : -1};
    enum interact_end end = interact_run(&i, &value);
    terminal_restore();
    channel_free(channel);
    return end_of(cli, end, value);
}

int verb_console(struct cli *cli, int argc, char **argv)
{
    const char *key_text = KEY_DEFAULT;
    const struct cli_option options[] = {{"detach-key", 0, CLI_STRING, &key_text}};
    int n, rest;
    int rc = cli_options(cli, options, 1, argc, argv, &n, &rest);
    if (rc == 0 && n != 1)
        rc = cli_usage(cli);
    int key = parse_key(key_text);
    if (rc == 0 && key < 0)
        rc = cli_fail(cli, CLI_USAGE, "--detach-key %s: one character, or as in ctrl-]", key_text);
    return rc != 0 ? rc : attach(cli, argv[0], key_text, key);
}
