// envctl recv: takes messages out of this environment's mailbox. A message is acknowledged once it is
// printed.
#include <stdio.h>
#include <string.h>

#include "guest.h"

static int parse(int argc, char **argv, struct guest_incoming *o)
{
    int rest;
    *o = (struct guest_incoming){.n = 1, .timeout_ms = -1};
    int rc = guest_incoming_parse(o, argc, argv, &rest);
    if (rc == 0 && rest < argc)
        rc = guest_usage("recv", "\"%s\" is one word too many", argv[rest]);
    return rc;
}

static void print_base64(const uint8_t *data, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    putchar('"');
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        uint32_t v = (uint32_t)data[i] << 16 | (left > 1 ? (uint32_t)data[i + 1] << 8 : 0) |
                     (left > 2 ? data[i + 2] : 0u);
        putchar(digits[v >> 18]);
        putchar(digits[v >> 12 & 63]);
        putchar(left > 1 ? digits[v >> 6 & 63] : '=');
        putchar(left > 2 ? digits[v & 63] : '=');
    }
    putchar('"');
}

static void print_json_field(const char *name, const char *value)
{
    printf(",\"%s\":", name);
    guest_print_json_string(value, strlen(value));
}

static void print_json(const struct env_message *m)
{
    char id[ID_TEXT_CAP];
    id_format(&m->id, id);
    printf("{\"id\":\"%s\"", id);
    print_json_field("kind", message_kind_name(m->kind));
    print_json_field("from", m->from);
    print_json_field("to", m->to);
    print_json_field("subject", m->subject);
    print_json_field("content_type", m->content_type);
    printf(",\"priority\":%u,\"expires_ms\":%llu,\"headers\":{", m->priority,
           (unsigned long long)m->expires_ms);
    for (size_t i = 0; i < m->n_headers; i++) {
        if (i > 0)
            putchar(',');
        guest_print_json_string(m->headers[i].name, strlen(m->headers[i].name));
        putchar(':');
        guest_print_json_string(m->headers[i].value, strlen(m->headers[i].value));
    }
    // Text stays readable; what is not text is base64, under another name so that nobody mistakes one for the
    // other.
    bool is_text = wire_utf8_valid(m->body, m->body_len);
    printf("},\"%s\":", is_text ? "body" : "body_base64");
    if (is_text)
        guest_print_json_string(m->body, m->body_len);
    else
        print_base64(m->body, m->body_len);
    puts("}");
}

static int print_message(const struct env_message *m, bool json)
{
    if (json) {
        print_json(m);
    } else {
        fprintf(stderr, "%s from %s to %s, %s, %zu bytes\n", message_kind_name(m->kind), m->from, m->to,
                m->subject, m->body_len);
        fwrite(m->body, 1, m->body_len, stdout);
        if (m->body_len == 0 || ((const char *)m->body)[m->body_len - 1] != '\n')
            putchar('\n');
    }
    return guest_print("recv", "", 0);
}

static int recv_one(struct env *env, const struct guest_incoming *o)
{
    struct env_message *m;
    int rc = env_recv(env, o->timeout_ms, &m);
    if (rc != 0)
        return guest_report("recv", env, rc, NULL);
    int exit_code = print_message(m, o->json);
    // What could not be printed is left to the next receiver.
    rc = exit_code == 0 ? env_ack(env, m) : env_release(env, m);
    if (rc != 0)
        exit_code = guest_report("recv", env, rc, NULL);
    env_message_free(m);
    return exit_code;
}

int verb_recv(int argc, char **argv)
{
    struct guest_incoming o;
    struct env *env = NULL;
    int exit_code = parse(argc, argv, &o);
    if (exit_code == 0)
        exit_code = guest_open("recv", &env);
    for (unsigned long i = 0; exit_code == 0 && (o.n == 0 || i < o.n); i++)
        exit_code = recv_one(env, &o);
    env_close(env);
    return exit_code;
}
