// Owns the trace of one message: what happened to it on this host, and when. Called through routes.c; for
// operators only, for it names environments of every tenant.
#include "route/trace.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/internal.h"

static void add_stage(void *arg, const struct trace_view *v)
{
    json_t *stages = arg;
    json_t *stage = json_pack("{s:s, s:I, s:I}", "stage", trace_stage_name(v->stage), "at",
                              (json_int_t)v->at_ms, "after_us", (json_int_t)(v->after_ns / 1000));
    if (v->tenant)
        json_object_set_new(stage, "environment", json_sprintf("%s/%s", v->tenant, v->name));
    if (v->stage == TRACE_REFUSED)
        json_object_set_new(stage, "code", json_string(receipt_code_name(v->code)));
    json_array_append_new(stages, stage);
}

static void refuse_unknown(struct api *api, struct http_request *req, const char *text)
{
    struct refusal why;
    refuse(&why, -ENOENT, 404, "no-such-message", "nothing is remembered here of a message %.64s", text);
    refusal_remedy(&why,
                   "Only the newest stages since envd started are remembered; ask the host of its sender, "
                   "and the host of its receiver");
    reply_refusal(api, req, &why);
}

void handle_message_trace(void *arg, struct http_request *req)
{
    struct api *api = arg;
    const char *text = http_request_param(req, "message");
    struct id id;
    json_t *stages = json_array();
    if (!id_parse(text, strlen(text), &id) || router_trace(api->deps.router, &id, add_stage, stages) == 0) {
        json_decref(stages);
        refuse_unknown(api, req, text);
        return;
    }
    char id_text[ID_TEXT_CAP];
    id_format(&id, id_text);
    const struct mediate_record *record = mediator_find(api->deps.mediator, &id, 0);
    json_t *out = json_pack("{s:s, s:s, s:o}", "kind", "trace", "id", id_text, "stages", stages);
    if (record)
        json_object_set_new(out, "message", explain_message(&record->question));
    reply_object(api, req, 200, out);
}
