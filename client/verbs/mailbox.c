// envctl mailbox and envctl dead-letter: what waits for an environment, and what its programs would not take.
#include <stdio.h>
#include <string.h>

#include "api.h"
#include "format.h"
#include "pages.h"
#include "proto/name.h"
#include "verbs/verbs.h"

static const struct format_column waiting_columns[] = {
    {"ID", "id"},           {"STATE", "state"},       {"KIND", "kind"}, {"FROM", "from"},
    {"SUBJECT", "subject"}, {"PRIORITY", "priority"}, {"SIZE", "size"}, {"RELEASES", "releases"},
    {"ARRIVED", "arrived"}, {"EXPIRES", "expires"},
};
static const struct format_column dead_columns[] = {
    {"ID", "id"},     {"KIND", "kind"},   {"FROM", "from"},          {"SUBJECT", "subject"},
    {"SIZE", "size"}, {"SINCE", "since"}, {"REASON", "reason.code"},
};

static const struct format_column refused_columns[] = {
    {"LETTER", "letter"},    {"ID", "id"},     {"USER", "user"},
    {"FROM", "from"},        {"TO", "to"},     {"SUBJECT", "subject"},
    {"SIZE", "size"},        {"HOST", "host"}, {"REASON", "reason.code"},
    {"TEXT", "reason.text"},
};

static int show(struct cli *cli, const char *address)
{
    char path[API_PATH_CAP];
    int rc = api_environment_path(cli, address, "/mailbox", path);
    return rc == 0 ? api_show(cli, path) : rc;
}

static int list(struct cli *cli, const char *address, bool dead)
{
    char path[API_PATH_CAP];
    int rc =
        api_environment_path(cli, address, dead ? "/mailbox/messages?dead=true" : "/mailbox/messages", path);
    if (rc != 0)
        return rc;
    return dead ? pages_show(cli, path, dead_columns, sizeof dead_columns / sizeof dead_columns[0])
                : pages_show(cli, path, waiting_columns, sizeof waiting_columns / sizeof waiting_columns[0]);
}

// What hosts refused of the broker's deliveries.
static int list_refused(struct cli *cli)
{
    return pages_show(cli, "/v1/broker/dead?limit=900", refused_columns,
                      sizeof refused_columns / sizeof refused_columns[0]);
}

// A request that answers with a number of messages; done: "thrown away".
static int change(struct cli *cli, const char *method, const char *address, const char *suffix,
                  const char *done)
{
    char path[API_PATH_CAP], n[24];
    struct api_reply reply;
    int rc = api_environment_path(cli, address, suffix, path);
    if (rc == 0)
        rc = api_call(cli, method, path, NULL, NULL, &reply);
    if (rc != 0)
        return rc;
    if (cli->json)
        format_json(reply.body);
    else
        fprintf(stderr, "%s: %s %s\n", address, format_member(reply.body, "messages", n, sizeof n), done);
    api_reply_done(&reply);
    return 0;
}

int verb_mailbox(struct cli *cli, int argc, char **argv)
{
    bool dead = false;
    const struct cli_option options[] = {{"dead", 0, CLI_FLAG, &dead}};
    int n, rest;
    int rc = cli_options(cli, options, 1, argc, argv, &n, &rest);
    if (rc != 0)
        return rc;
    if (n == 2 && strcmp(argv[0], "show") == 0 && !dead)
        return show(cli, argv[1]);
    if (n == 2 && strcmp(argv[0], "peek") == 0)
        return list(cli, argv[1], dead);
    if (n == 2 && strcmp(argv[0], "purge") == 0)
        return change(cli, "DELETE", argv[1], dead ? "/mailbox/messages?dead=true" : "/mailbox/messages",
                      dead ? "dead letters thrown away" : "messages thrown away");
    return cli_usage(cli);
}

static int replay(struct cli *cli, const char *address, const char *id)
{
    struct id parsed;
    char suffix[ID_TEXT_CAP + sizeof "/mailbox/dead//replay"];
    if (id && !id_parse(id, strlen(id), &parsed))
        return cli_fail(cli, CLI_USAGE, "%s is no message id", id);
    snprintf(suffix, sizeof suffix, "/mailbox/dead/%s%sreplay", id ? id : "", id ? "/" : "");
    return change(cli, "POST", address, suffix, "dead letters queued again");
}

// --- the broker's ---

static bool letter_is_path(const char *letter)
{
    return letter[0] && strlen(letter) < 64 && letter[strspn(letter, "0123456789abcdefABCDEF-")] == '\0';
}

static int letter_path(struct cli *cli, const char *letter, const char *suffix, char out[API_PATH_CAP])
{
    if (letter && !letter_is_path(letter))
        return cli_fail(cli, CLI_USAGE, "%s is no letter's name and no message id", letter);
    snprintf(out, API_PATH_CAP, "/v1/broker/dead%s%s%s", letter ? "/" : "", letter ? letter : "", suffix);
    return 0;
}

static int show_refused(struct cli *cli, const char *letter)
{
    char path[API_PATH_CAP];
    int rc = letter_path(cli, letter, "", path);
    return rc == 0 ? api_show(cli, path) : rc;
}

// What several requests did.
struct changed {
    json_int_t messages, kept;
    json_t *reason; // of the last that was kept, or NULL
};

static int change_some(struct cli *cli, const char *method, const char *path, struct changed *ret,
                       char cursor[24])
{
    char with_cursor[API_PATH_CAP + 48];
    struct api_reply reply;
    snprintf(with_cursor, sizeof with_cursor, "%s%s%s", path, cursor[0] ? "?cursor=" : "", cursor);
    int rc = api_call(cli, method, with_cursor, NULL, NULL, &reply);
    if (rc != 0)
        return rc;
    const char *next = json_string_value(json_object_get(reply.body, "cursor"));
    snprintf(cursor, 24, "%s", next ? next : "");
    ret->messages += json_integer_value(json_object_get(reply.body, "messages"));
    ret->kept += json_integer_value(json_object_get(reply.body, "kept"));
    if (json_object_get(reply.body, "reason")) {
        json_decref(ret->reason);
        ret->reason = json_incref(json_object_get(reply.body, "reason"));
    }
    api_reply_done(&reply);
    return 0;
}

static void print_changed(struct cli *cli, const struct changed *c, const char *done)
{
    char code[64], text[256];
    if (cli->json) {
        json_t *out = json_pack("{s:I, s:I}", "messages", c->messages, "kept", c->kept);
        format_json(out);
        json_decref(out);
        return;
    }
    fprintf(stderr, "broker: %lld dead letters %s\n", (long long)c->messages, done);
    if (c->reason)
        fprintf(stderr, "  %lld kept, the last: %s: %s\n", (long long)c->kept,
                format_member(c->reason, "code", code, sizeof code),
                format_member(c->reason, "text", text, sizeof text));
}

// letter NULL: all, as many requests as it takes.
static int change_refused(struct cli *cli, const char *method, const char *letter, const char *suffix,
                          const char *done)
{
    char path[API_PATH_CAP], cursor[24] = "";
    struct changed c = {0};
    int rc = letter_path(cli, letter, suffix, path);
    if (rc != 0)
        return rc;
    do {
        rc = change_some(cli, method, path, &c, cursor);
    } while (rc == 0 && cursor[0]);
    if (rc == 0)
        print_changed(cli, &c, done);
    json_decref(c.reason);
    return rc;
}

static int at_broker(struct cli *cli, int n, char **argv)
{
    const char *letter = n == 2 ? argv[1] : NULL;
    if (n == 1 && strcmp(argv[0], "list") == 0)
        return list_refused(cli);
    if (letter && strcmp(argv[0], "show") == 0)
        return show_refused(cli, letter);
    if ((n == 1 || n == 2) && strcmp(argv[0], "replay") == 0)
        return change_refused(cli, "POST", letter, "/replay", "replayed");
    if ((n == 1 || n == 2) && strcmp(argv[0], "purge") == 0)
        return change_refused(cli, "DELETE", letter, "", "thrown away");
    return cli_usage(cli);
}

int verb_dead_letter(struct cli *cli, int argc, char **argv)
{
    bool broker = false;
    const struct cli_option options[] = {{"broker", 0, CLI_FLAG, &broker}};
    int n, rest;
    int rc = cli_options(cli, options, 1, argc, argv, &n, &rest);
    if (rc != 0)
        return rc;
    if (broker)
        return at_broker(cli, n, argv);
    if (n == 1 && strcmp(argv[0], "list") == 0)
        return list_refused(cli);
    if (n == 2 && strcmp(argv[0], "list") == 0)
        return list(cli, argv[1], true);
    if ((n == 2 || n == 3) && strcmp(argv[0], "replay") == 0)
        return replay(cli, argv[1], n == 3 ? argv[2] : NULL);
    return cli_usage(cli);
}
