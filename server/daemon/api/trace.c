// Owns the trace of one message: what happened to it on each host, and when. Called through routes.c; for
// operators only, for it names environments of every tenant.
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/internal.h"
#include "remote/far_trace.h"

static json_t *number(uint64_t n)
{
    return json_integer((json_int_t)n);
}

// The time is what the host's own clock says.
static json_t *view_stage(const struct remote_trace *t, const struct remote_trace_line *line)
{
    const struct remote_trace_host *h = &t->hosts[line->host];
    const struct remote_trace_stage *s = &h->stages[line->stage];
    uint64_t at_us = h->now_us - s->ago_ns / 1000;
    json_t *stage = json_pack("{s:s, s:o, s:o}", "stage", trace_stage_name(s->stage), "at",
                              number(at_us / 1000), "at_us", number(at_us));
    if (h->name[0])
        json_object_set_new(stage, "host", json_string(h->name));
    if (line->known)
        json_object_set_new(stage, "after_us", number(line->after_us));
    if (line->across)
        json_object_set_new(stage, "error_us", number(line->error_us));
    if (s->tenant[0])
        json_object_set_new(stage, "environment", json_sprintf("%s/%s", s->tenant, s->name));
    if (s->stage == TRACE_REFUSED)
        json_object_set_new(stage, "code", json_string(receipt_code_name(s->code)));
    return stage;
}

static json_t *view_host(const struct remote_trace_host *h)
{
    json_t *host = json_pack("{s:s, s:s}", "name", h->name, "state", remote_trace_state_name(h->state));
    if (h->state == REMOTE_TRACE_HERE || h->state == REMOTE_TRACE_ANSWERED)
        json_object_set_new(host, "stages", number(h->n_stages));
    if (h->state == REMOTE_TRACE_ANSWERED)
        json_object_set_new(
            host, "clock",
            json_pack("{s:I, s:o}", "ahead_us", (json_int_t)h->ahead_us, "error_us", number(h->error_us)));
    if (h->more)
        json_object_set_new(host, "more", json_true());
    return host;
}

static bool told(const struct remote_trace_host *h)
{
    return h->state == REMOTE_TRACE_HERE || h->state == REMOTE_TRACE_ANSWERED;
}

// "; two, three did not answer"
static void name_missing(const struct remote_trace *t, char *out, size_t cap)
{
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < t->n_hosts && len + NAME_CAP + 32 < cap; i++)
        if (!told(&t->hosts[i]))
            len += (size_t)snprintf(out + len, cap - len, "%s%s", len ? ", " : "; ", t->hosts[i].name);
    if (t->why)
        snprintf(out, cap, "; the other hosts were not asked: %s", t->why);
    else if (len > 0)
        snprintf(out + len, cap - len, " did not answer");
}

static void refuse_unknown(struct api *api, struct http_request *req, const char *missing)
{
    struct refusal why;
    refuse(&why, -ENOENT, 404, "no-such-message", "nothing is remembered of message %.64s%s",
           http_request_param(req, "message"), missing);
    refusal_remedy(&why, "Each host remembers only its newest stages, since its envd started");
    reply_refusal(api, req, &why);
}

static json_t *view_trace(const struct api *api, const struct remote_trace *t)
{
    char id[ID_TEXT_CAP];
    id_format(&t->id, id);
    const struct mediate_record *record = mediator_find(api->deps.mediator, &t->id, 0);
    json_t *stages = json_array(), *hosts = json_array();
    for (size_t i = 0; i < t->n_lines; i++)
        json_array_append_new(stages, view_stage(t, &t->lines[i]));
    for (size_t i = 0; i < t->n_hosts; i++)
        json_array_append_new(hosts, view_host(&t->hosts[i]));
    json_t *out =
        json_pack("{s:s, s:s, s:o, s:o}", "kind", "trace", "id", id, "stages", stages, "hosts", hosts);
    if (record)
        json_object_set_new(out, "message", explain_message(&record->question));
    if (t->why)
        json_object_set_new(out, "not_asked", json_string(t->why));
    return out;
}

static void on_trace(void *arg, uint64_t request, const struct remote_trace *t)
{
    struct api *api = arg;
    char missing[512];
    struct http_request *req = http_request_find(api->server, request);
    if (!req)
        return;
    name_missing(t, missing, sizeof missing);
    if (t->n_lines == 0)
        refuse_unknown(api, req, missing);
    else
        reply_object(api, req, 200, view_trace(api, t));
}

void handle_message_trace(void *arg, struct http_request *req)
{
    struct api *api = arg;
    const struct api_deps *deps = &api->deps;
    const char *text = http_request_param(req, "message");
    uint64_t request = http_request_id(req);
    struct id id;
    if (!id_parse(text, strlen(text), &id)) {
        refuse_unknown(api, req, "");
        return;
    }
    int rc = deps->remote ? remote_trace(deps->remote, &id, on_trace, api, request)
                          : remote_trace_here(deps->router, deps->host, &id, on_trace, api, request);
    if (rc == -EBUSY)
        reply_problem(api, req, 503, "busy", "too many messages are traced at this moment");
    else if (rc < 0)
        reply_problem(api, req, 503, "unavailable", "the message cannot be traced: %s", strerror(-rc));
}
