// envctl serve: answers calls, with their own body, with a fixed text, or with what a command says. One line
// per request on standard error.
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "serve.h"

#define WINDOW 16 // requests on their way to us while we answer one

static int set_option(struct serve_options *o, int option, const char *value)
{
    switch (option) {
    case 'e':
        o->echo = true;
        return 0;
    case 'r':
        o->reply = value;
        return 0;
    case 'p':
        o->subject_prefix = value;
        return 0;
    case 's':
        if (o->n_services == SERVE_SERVICES_MAX)
            return guest_usage("serve", "at most %d services", SERVE_SERVICES_MAX);
        o->services[o->n_services++] = value[0] == ':' ? value + 1 : value;
        return 0;
    case 'x':
        o->command = value;
        return 0;
    case 'j':
        return guest_parse_count(value, SERVE_JOBS_MAX, &o->jobs) && o->jobs > 0
                   ? 0
                   : guest_usage("serve", "--jobs %s: 1 to %d is wanted", value, SERVE_JOBS_MAX);
    case 'n':
        return guest_parse_count(value, 1000000000, &o->n)
                   ? 0
                   : guest_usage("serve", "--count %s: a number is wanted", value);
    default:
        return guest_usage("serve", "unknown option, or an option without its value");
    }
}

static int parse(int argc, char **argv, struct serve_options *o)
{
    static const struct option options[] = {
        {"service", required_argument, NULL, 's'}, {"subject-prefix", required_argument, NULL, 'p'},
        {"echo", no_argument, NULL, 'e'},          {"reply", required_argument, NULL, 'r'},
        {"exec", required_argument, NULL, 'x'},    {"jobs", required_argument, NULL, 'j'},
        {"count", required_argument, NULL, 'n'},   {0}};
    int option, rc = 0;
    *o = (struct serve_options){.subject_prefix = "", .jobs = 1};
    opterr = 0;
    optind = 1;
    while (rc == 0 && (option = getopt_long(argc, argv, "n:", options, NULL)) != -1)
        rc = set_option(o, option, optarg);
    if (rc == 0 && optind < argc)
        rc = guest_usage("serve", "\"%s\" is one word too many", argv[optind]);
    if (rc == 0 && o->echo + (o->reply != NULL) + (o->command != NULL) != 1)
        rc = guest_usage("serve", "one of --echo, --reply TEXT and --exec COMMAND is wanted");
    return rc;
}

void serve_note(const struct env_message *m, const char *what)
{
    fprintf(stderr, "%s from %s, %s, %zu bytes: %s\n", message_kind_name(m->kind), m->from, m->subject,
            m->body_len, what);
}

bool serve_wants(const struct serve_options *o, const struct env_message *m)
{
    return strncmp(m->subject, o->subject_prefix, strlen(o->subject_prefix)) == 0;
}

// 0, or a failed connection. A refused reply is the caller's loss, and no reason to stop.
static int answer(struct env *env, const struct env_message *m, const struct serve_options *o)
{
    if (!serve_wants(o, m)) {
        serve_note(m, "not one of our subjects, ignored");
        return 0;
    }
    if (m->kind != MESSAGE_CALL) {
        serve_note(m, "received");
        return 0;
    }
    struct env_outgoing reply = {.content_type = m->content_type, .body = m->body, .body_len = m->body_len};
    if (o->reply)
        reply = (struct env_outgoing){
            .content_type = "text/plain", .body = o->reply, .body_len = strlen(o->reply)};
    int rc = env_reply(env, m, &reply);
    serve_note(m, rc == 0 ? "answered" : env_error(env));
    return rc < 0 ? rc : 0;
}

static int serve_one(struct env *env, const struct serve_options *o)
{
    struct env_message *m;
    int rc = env_recv(env, -1, &m);
    if (rc != 0)
        return rc;
    rc = answer(env, m, o);
    if (rc == 0)
        rc = env_ack(env, m);
    env_message_free(m);
    return rc;
}

static int serve(struct env *env, const struct serve_options *o)
{
    int rc = 0;
    env_set_window(env, o->n > 0 && o->n < WINDOW ? (unsigned)o->n : WINDOW);
    for (size_t i = 0; rc == 0 && i < o->n_services; i++) {
        rc = env_register(env, o->services[i]);
        if (rc != 0)
            return guest_report("serve", env, rc, o->services[i]);
    }
    fprintf(stderr, "serving as %s/%s\n", env_identity(env)->tenant, env_identity(env)->name);
    if (rc == 0 && o->command)
        rc = serve_exec(env, o);
    for (unsigned long i = 0; rc == 0 && !o->command && (o->n == 0 || i < o->n); i++)
        rc = serve_one(env, o);
    if (rc == -ESHUTDOWN) {
        fprintf(stderr, "%s\n", env_error(env));
        return 0;
    }
    return rc != 0 ? guest_report("serve", env, rc, NULL) : 0;
}

int verb_serve(int argc, char **argv)
{
    struct serve_options o;
    struct env *env = NULL;
    int exit_code = parse(argc, argv, &o);
    if (exit_code == 0)
        exit_code = guest_open("serve", &env);
    if (exit_code == 0)
        exit_code = serve(env, &o);
    env_close(env);
    return exit_code;
}
