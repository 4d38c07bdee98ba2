// Owns explanations: which rule decided, and which would come nearest to allowing. Called through routes.c;
// for operators only, for it says what a tenant may not know.
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/internal.h"
#include "common/checked.h"

#define TEXT_CAP 768

static const char *check_sender(const char *key, const char *text, size_t len)
{
    struct address parsed;
    const char *wrong = check_full_address(key, text, len);
    if (!wrong && address_parse(text, len, &parsed) == NULL && parsed.is_service)
        return "must be an environment, not a service";
    return wrong;
}

static const char *check_kind(const char *key, const char *text, size_t len)
{
    enum message_kind kind;
    (void)key;
    (void)len;
    return message_kind_parse(text, &kind) ? NULL : "must be send, call, reply or event";
}

static const struct json_field explain_fields[] = {
    {.name = "from", .kind = JSON_FIELD_STRING, .required = true, .max = 256, .check = check_sender},
    {.name = "to", .kind = JSON_FIELD_STRING, .required = true, .max = 256, .check = check_full_address},
    {.name = "subject", .kind = JSON_FIELD_STRING, .required = true, .max = 256, .check = check_subject},
    {.name = "kind", .kind = JSON_FIELD_STRING, .max = 16, .check = check_kind},
    {.name = "size", .kind = JSON_FIELD_INTEGER, .min = 0, .max = INT64_MAX},
};

static json_t *rule_json(const struct policy_rule_view *r)
{
    return json_pack("{s:s, s:i, s:o}", "file", r->file, "line", (int)r->line, "text",
                     json_stringn(r->text, r->len));
}

static void target_text(const struct mediate_question *q, char out[ADDRESS_CAP + 2])
{
    snprintf(out, ADDRESS_CAP + 2, "%s/%s%s", q->target.tenant, q->service ? ":" : "",
             q->service ? q->service : q->target.name);
}

json_t *explain_message(const struct mediate_question *q)
{
    char from[ADDRESS_CAP], to[ADDRESS_CAP + 2];
    snprintf(from, sizeof from, "%s/%s", q->source.tenant, q->source.name);
    target_text(q, to);
    return json_pack("{s:s, s:s, s:s, s:s, s:I}", "from", from, "to", to, "subject", q->subject, "kind",
                     message_kind_name(q->kind), "size", (json_int_t)q->body_bytes);
}

static void sentence(const struct mediate_question *q, const struct mediate_decision *d,
                     const struct mediate_explanation *x, char out[TEXT_CAP])
{
    char to[ADDRESS_CAP + 2];
    bool allowed = d->code == RECEIPT_ACCEPTED;
    target_text(q, to);
    int n = snprintf(out, TEXT_CAP, "%s/%s %s %s %s to %s: %s", q->source.tenant, q->source.name,
                     allowed ? "may" : "may not", message_kind_name(q->kind),
                     q->subject[0] ? q->subject : "(a reply)", to, mediate_reason_text(d->reason));
    if (x->has_rule && n > 0 && n < TEXT_CAP)
        snprintf(out + n, (size_t)(TEXT_CAP - n), " (%s:%u: %.*s)", x->rule.file, x->rule.line,
                 (int)x->rule.len, x->rule.text);
    size_t len = strlen(out);
    if (q->elsewhere)
        snprintf(out + len, TEXT_CAP - len,
                 "; rules for labels of the receiver do not match here, for it is not known to be on this "
                 "host, and the host that it is on decides again");
}

static json_t *explanation_json(const struct api *api, const struct mediate_question *q,
                                const struct mediate_decision *d)
{
    struct mediate_explanation x;
    char text[TEXT_CAP], mismatch[256];
    mediator_explain(api->deps.mediator, q, d, &x);
    sentence(q, d, &x, text);
    json_t *out =
        json_pack("{s:s, s:s, s:s, s:s, s:o, s:I}", "kind", "explanation", "decision",
                  d->code == RECEIPT_ACCEPTED ? "allow" : "deny", "reason", mediate_reason_name(d->reason),
                  "text", text, "message", explain_message(q), "policy_revision", (json_int_t)d->revision);
    if (x.has_rule)
        json_object_set_new(out, "rule", rule_json(&x.rule));
    if (x.has_nearest) {
        policy_mismatch_text(x.nearest_mismatch, mismatch, sizeof mismatch);
        json_object_set_new(out, "nearest", rule_json(&x.nearest_rule));
        json_object_set_new(out, "nearest_text", json_string(mismatch));
    }
    return out;
}

struct peek {
    struct api *api;
    json_t *answer;
};

static void on_answer(void *arg, const struct mediate_question *q, const struct mediate_decision *d)
{
    struct peek *p = arg;
    p->answer = explanation_json(p->api, q, d);
}

void handle_explain_request(void *arg, struct http_request *req)
{
    struct api *api = arg;
    _cleanup_json_ json_t *body = request_body(api, req, explain_fields, ARRAY_LEN(explain_fields), false);
    if (!body)
        return;
    struct address from, to;
    enum message_kind kind = MESSAGE_SEND;
    const char *from_text = json_get_string(body, "from", ""), *to_text = json_get_string(body, "to", "");
    struct peek p = {.api = api};
    // All of these were checked by the table above.
    address_parse(from_text, strlen(from_text), &from);
    address_parse(to_text, strlen(to_text), &to);
    message_kind_parse(json_get_string(body, "kind", "send"), &kind);
    router_peek(api->deps.router, &from, &to, json_get_string(body, "subject", ""), kind,
                (uint64_t)json_get_integer(body, "size", 0), on_answer, &p);
    reply_object(api, req, 200, p.answer);
}

void handle_explain_message(void *arg, struct http_request *req)
{
    struct api *api = arg;
    const char *text = http_request_param(req, "message");
    struct id id;
    struct refusal why;
    const struct mediate_record *record =
        id_parse(text, strlen(text), &id) ? mediator_find(api->deps.mediator, &id, 0) : NULL;
    if (!record) {
        refuse(&why, -ENOENT, 404, "no-such-message", "nothing is remembered of a message %.64s", text);
        refusal_remedy(
            &why,
            "Only the newest decisions are remembered; POST /v1/explain asks what would be decided now");
        reply_refusal(api, req, &why);
        return;
    }
    json_t *out = explanation_json(api, &record->question, &record->decision);
    json_t *message = json_object_get(out, "message");
    json_object_set_new(message, "id", json_string(text));
    json_object_set_new(message, "code", json_string(receipt_code_name(record->decision.code)));
    json_object_set_new(message, "told", json_string(receipt_code_name(record->told)));
    json_object_set_new(message, "at", json_integer((json_int_t)record->realtime_ms));
    reply_object(api, req, 200, out);
}
