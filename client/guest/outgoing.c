// The message that send and call make of their command line.
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest.h"

#define CALL_TIMEOUT_MS 10000

enum {
    OPT_SUBJECT = 256,
    OPT_TYPE,
    OPT_HEADER,
    OPT_PRIORITY,
    OPT_ID,
    OPT_EVENT,
    OPT_EXPIRES,
    OPT_TIMEOUT,
    OPT_FILE
};

static const struct option send_options[] = {
    {"subject", required_argument, NULL, OPT_SUBJECT},
    {"content-type", required_argument, NULL, OPT_TYPE},
    {"header", required_argument, NULL, OPT_HEADER},
    {"priority", required_argument, NULL, OPT_PRIORITY},
    {"id", required_argument, NULL, OPT_ID},
    {"event", no_argument, NULL, OPT_EVENT},
    {"expires", required_argument, NULL, OPT_EXPIRES},
    {"file", required_argument, NULL, OPT_FILE},
    {0},
};

static const struct option call_options[] = {
    {"subject", required_argument, NULL, OPT_SUBJECT}, {"content-type", required_argument, NULL, OPT_TYPE},
    {"header", required_argument, NULL, OPT_HEADER},   {"priority", required_argument, NULL, OPT_PRIORITY},
    {"id", required_argument, NULL, OPT_ID},           {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"file", required_argument, NULL, OPT_FILE},       {0},
};

static int add_header(struct guest_message *m, const char *verb, char *text)
{
    char *equals = strchr(text, '=');
    if (!equals || equals == text)
        return guest_usage(verb, "--header %s: NAME=VALUE is wanted", text);
    if (m->out.n_headers == ENVELOPE_HEADERS_MAX)
        return guest_usage(verb, "a message has at most %d headers", ENVELOPE_HEADERS_MAX);
    *equals = '\0';
    m->headers[m->out.n_headers++] = (struct env_header){.name = text, .value = equals + 1};
    return 0;
}

static int set_expiry(struct guest_message *m, const char *verb, const char *text)
{
    if (guest_parse_ms(text, &m->expires_in_ms))
        return 0;
    return guest_usage(verb, "--expires %s: a time is wanted, as in 250ms, 10s or 2m", text);
}

static int set_option(struct guest_message *m, const char *verb, int option, char *value)
{
    unsigned long n;
    switch (option) {
    case OPT_SUBJECT:
        m->out.subject = value;
        return 0;
    case OPT_TYPE:
        m->out.content_type = value;
        return 0;
    case OPT_HEADER:
        return add_header(m, verb, value);
    case OPT_PRIORITY:
        if (!guest_parse_count(value, 9, &n))
            return guest_usage(verb, "--priority %s: 0 to 9 is wanted", value);
        m->out.priority = (uint8_t)n;
        return 0;
    case OPT_ID:
        if (!id_parse(value, strlen(value), &m->out.id))
            return guest_usage(verb, "--id %s: not an id as send prints them", value);
        return 0;
    case OPT_FILE:
    case 'f':
        m->file = value;
        return 0;
    case OPT_EVENT:
        m->out.event = true;
        return 0;
    case OPT_EXPIRES:
        return set_expiry(m, verb, value);
    case OPT_TIMEOUT:
        if (!guest_parse_ms(value, &m->timeout_ms))
            return guest_usage(verb, "--timeout %s: a time is wanted, as in 250ms, 10s or 2m", value);
        return 0;
    default:
        return guest_usage(verb, "unknown option, or an option without its value");
    }
}

// All of a file, up to what any host accepts; libenv says when it is above this host's limit.
static int read_all(struct guest_message *m, const char *verb, FILE *from, const char *name)
{
    size_t cap = 0;
    do {
        if (m->out.body_len == cap) {
            cap = cap ? cap * 2 : 4096;
            char *body = realloc(m->body, cap);
            if (!body)
                return guest_fail(verb, EXIT_FAILED, NULL, "no memory for a body of %zu bytes", cap);
            m->body = body;
        }
        m->out.body_len += fread(m->body + m->out.body_len, 1, cap - m->out.body_len, from);
    } while (m->out.body_len == cap && m->out.body_len <= ENVELOPE_BODY_MAX);
    if (ferror(from))
        return guest_fail(verb, EXIT_FAILED, NULL, "read %s: %s", name, strerror(errno));
    return 0;
}

static int read_file(struct guest_message *m, const char *verb)
{
    FILE *f = fopen(m->file, "rb");
    if (!f)
        return guest_fail(verb, EXIT_FAILED, NULL, "open %s: %s", m->file, strerror(errno));
    int rc = read_all(m, verb, f, m->file);
    fclose(f);
    return rc;
}

// The remaining arguments, a space between each two.
static int join_arguments(struct guest_message *m, const char *verb, char **args)
{
    size_t len = 0;
    for (char **a = args; *a; a++)
        len += strlen(*a) + 1;
    m->body = malloc(len + 1);
    if (!m->body)
        return guest_fail(verb, EXIT_FAILED, NULL, "no memory for a body of %zu bytes", len);
    char *at = m->body;
    for (char **a = args; *a; a++)
        at += sprintf(at, "%s%s", a == args ? "" : " ", *a);
    m->out.body_len = (size_t)(at - m->body);
    return 0;
}

int guest_message_parse(struct guest_message *m, int argc, char **argv, const char *verb, bool is_call)
{
    int rc = 0, option;
    *m = (struct guest_message){.timeout_ms = CALL_TIMEOUT_MS};
    m->out.headers = m->headers;
    opterr = 0;
    optind = 1;
    while (rc == 0 &&
           (option = getopt_long(argc, argv, "f:", is_call ? call_options : send_options, NULL)) != -1)
        rc = set_option(m, verb, option, optarg);
    if (rc != 0)
        return rc;
    if (optind >= argc)
        return guest_usage(verb, "who shall get it?");
    m->out.to = argv[optind++];
    bool from_stdin = argc - optind == 1 && strcmp(argv[optind], "-") == 0;
    if (m->file && optind < argc)
        return guest_usage(verb, "the body is either in --file or on the command line");
    if (m->file && strcmp(m->file, "-") != 0)
        rc = read_file(m, verb);
    else if (m->file || from_stdin)
        rc = read_all(m, verb, stdin, "standard input");
    else
        rc = join_arguments(m, verb, argv + optind);
    m->out.body = m->body;
    return rc;
}

void guest_message_done(struct guest_message *m)
{
    free(m->body);
    m->body = NULL;
}
