// Owns the sending of messages by operators: they go the router's way like everybody's, as host/operator.
// Called through routes.c.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "common/checked.h"
#include "common/cleanup.h"
#include "common/io.h"

#define TIMEOUT_MS     30000
#define TIMEOUT_MS_MAX 600000

// A message whose receipt or reply is still to come.
struct sending {
    struct api *api;
    uint64_t request;
    uint64_t handle;
    json_t *receipt; // made when the router has spoken
    bool in_submit;  // the router has not yet returned: the request is answered afterwards
    bool is_call, over;
    bool gone; // the client is; the receipt is still to come
};

static const char *check_kind(const char *key, const char *text, size_t len)
{
    (void)key;
    (void)len;
    bool known = strcmp(text, "send") == 0 || strcmp(text, "call") == 0 || strcmp(text, "event") == 0;
    return known ? NULL : "must be send, call or event";
}

static const char *check_id(const char *key, const char *text, size_t len)
{
    (void)key;
    struct id id;
    return id_parse(text, len, &id) && !id_is_zero(&id) ? NULL : "must be a UUID";
}

static const char *check_header(const char *key, const char *text, size_t len)
{
    (void)text;
    (void)len;
    size_t n = strlen(key);
    return n > 0 && n <= ENVELOPE_HEADER_NAME_MAX ? NULL : "a header's name has 1 to 63 bytes";
}

#define BODY_TEXT_MAX ((int64_t)API_BODY_MAX * 2) // base64 and escapes take room
static const struct json_field message_fields[] = {
    {.name = "to", .kind = JSON_FIELD_STRING, .required = true, .max = 256, .check = check_full_address},
    {.name = "subject", .kind = JSON_FIELD_STRING, .required = true, .max = 256, .check = check_subject},
    {.name = "kind", .kind = JSON_FIELD_STRING, .max = 16, .check = check_kind},
    {.name = "id", .kind = JSON_FIELD_STRING, .max = ID_TEXT_CAP - 1, .check = check_id},
    {.name = "priority", .kind = JSON_FIELD_INTEGER, .min = 0, .max = 9},
    {.name = "content_type", .kind = JSON_FIELD_STRING, .max = ENVELOPE_CONTENT_TYPE_MAX},
    {.name = "headers",
     .kind = JSON_FIELD_MAP,
     .max = ENVELOPE_HEADERS_MAX,
     .each_max = ENVELOPE_HEADER_VALUE_MAX,
     .check = check_header},
    {.name = "body", .kind = JSON_FIELD_STRING, .max = BODY_TEXT_MAX},
    {.name = "body_base64", .kind = JSON_FIELD_STRING, .max = BODY_TEXT_MAX},
    {.name = "timeout_ms", .kind = JSON_FIELD_INTEGER, .min = 1, .max = TIMEOUT_MS_MAX},
};

static json_t *receipt_json(const struct router_receipt *r)
{
    char id[ID_TEXT_CAP];
    id_format(&r->id, id);
    json_t *receipt = json_pack("{s:s, s:s, s:s, s:s}", "kind", "receipt", "id", id, "code",
                                receipt_code_name(r->code), "detail", r->detail);
    if (r->code != RECEIPT_ACCEPTED)
        json_object_set_new(receipt, "hint", json_string(receipt_code_hint(r->code)));
    return receipt;
}

static json_t *view_string(struct wire_view v)
{
    return json_stringn((const char *)v.data, v.len);
}

static json_t *reply_json(const struct envelope *e)
{
    char id[ID_TEXT_CAP];
    id_format(&e->id, id);
    json_t *headers = json_object();
    for (size_t i = 0; i < e->n_headers; i++) {
        char name[ENVELOPE_HEADER_NAME_MAX + 1];
        if (wire_view_to_cstr(e->headers[i].name, name, sizeof name))
            json_object_set_new(headers, name, view_string(e->headers[i].value));
    }
    json_t *reply =
        json_pack("{s:s, s:o, s:o, s:o, s:o}", "id", id, "from", view_string(e->from), "subject",
                  view_string(e->subject), "content_type", view_string(e->content_type), "headers", headers);
    if (wire_utf8_valid(e->body.data, e->body.len)) {
        json_object_set_new(reply, "body", view_string(e->body));
    } else {
        _cleanup_free_ char *text = base64_encode(e->body.data, e->body.len);
        json_object_set_new(reply, "body_base64", json_string(text ? text : ""));
    }
    return reply;
}

// Answers when everything has been said.
static void try_answer(struct sending *s)
{
    if (!s->over || s->in_submit)
        return;
    struct http_request *req = s->api->server ? http_request_find(s->api->server, s->request) : NULL;
    if (req) {
        http_request_on_gone(req, NULL, NULL);
        reply_object(s->api, req, 200, json_incref(s->receipt));
    }
    json_decref(s->receipt);
    free(s);
}

static void on_receipt(void *arg, const struct router_receipt *receipt)
{
    struct sending *s = arg;
    if (s->gone) {
        router_operator_cancel(s->api->deps.router, s->handle);
        free(s);
        return;
    }
    s->receipt = receipt_json(receipt);
    s->over = !s->is_call || receipt->code != RECEIPT_ACCEPTED;
    try_answer(s);
}

// The receipt said `accepted`; what came afterwards is the answer.
static void refuse_late(struct sending *s, enum receipt_code code, json_t *detail)
{
    json_object_set_new(s->receipt, "code", json_string(receipt_code_name(code)));
    json_object_set_new(s->receipt, "detail", detail);
    json_object_set_new(s->receipt, "hint", json_string(receipt_code_hint(code)));
}

static void on_reply(void *arg, const struct envelope *reply)
{
    struct sending *s = arg;
    enum receipt_code refusal = reply ? envelope_refusal(reply) : RECEIPT_ACCEPTED;
    s->handle = 0;
    s->over = true;
    if (!reply)
        refuse_late(s, RECEIPT_EXPIRED,
                    json_string("the message was accepted, but no reply came before its deadline"));
    else if (refusal != RECEIPT_ACCEPTED)
        refuse_late(s, refusal, view_string(reply->body));
    else
        json_object_set_new(s->receipt, "reply", reply_json(reply));
    try_answer(s);
}

static void on_gone(void *arg)
{
    struct sending *s = arg;
    s->gone = true;
    if (!s->receipt)
        return; // the router still owes it
    router_operator_cancel(s->api->deps.router, s->handle);
    json_decref(s->receipt);
    free(s);
}

static struct wire_view view_of(const char *s)
{
    return (struct wire_view){(const uint8_t *)s, strlen(s)};
}

static void fill_headers(struct envelope *e, const json_t *headers)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)headers, name, value)
    {
        e->headers[e->n_headers++] = (struct envelope_header){
            view_of(name), {(const uint8_t *)json_string_value(value), json_string_length(value)}};
    }
}

// False when it was answered. *ret_decoded is the caller's to free.
static bool fill_body(struct api *api, struct http_request *req, struct envelope *e, const json_t *body,
                      uint8_t **ret_decoded)
{
    const json_t *text = json_object_get(body, "body"), *encoded = json_object_get(body, "body_base64");
    if (text && encoded) {
        reply_problem(api, req, 422, "invalid-member", "body and body_base64 cannot both be given");
        return false;
    }
    if (text)
        e->body = (struct wire_view){(const uint8_t *)json_string_value(text), json_string_length(text)};
    if (!encoded)
        return true;
    ssize_t n = base64_decode(json_string_value(encoded), json_string_length(encoded), ret_decoded);
    if (n < 0) {
        reply_problem(api, req, 422, "invalid-member", "body_base64 is not base64 (RFC 4648, with padding)");
        return false;
    }
    e->body = (struct wire_view){*ret_decoded, (size_t)n};
    return true;
}

// A call has a deadline; a message without timeout_ms is never worthless. An id is given by who sends again.
static void fill_identity(struct envelope *e, const json_t *body)
{
    const char *id = json_get_string(body, "id", "");
    if (*id == '\0' || !id_parse(id, strlen(id), &e->id))
        e->id = doc_new_id();
    e->priority = (uint8_t)json_get_integer(body, "priority", 0);
    int64_t timeout_ms = json_get_integer(body, "timeout_ms", e->kind == MESSAGE_CALL ? TIMEOUT_MS : 0);
    e->expires_ms = timeout_ms > 0 ? io_realtime_ms() + (uint64_t)timeout_ms : 0;
}

static void submit(struct api *api, struct http_request *req, const struct envelope *e)
{
    static const struct router_operator_cb cb = {on_receipt, on_reply};
    struct sending *s = calloc(1, sizeof *s);
    if (s) {
        *s = (struct sending){.api = api,
                              .request = http_request_id(req),
                              .in_submit = true,
                              .is_call = e->kind == MESSAGE_CALL};
        http_request_on_gone(req, on_gone, s);
    }
    if (!s || router_submit_operator(api->deps.router, e, &cb, s, &s->handle) < 0) {
        http_request_on_gone(req, NULL, NULL);
        free(s);
        reply_problem(api, req, 500, "internal", "no memory for the message");
        return;
    }
    s->in_submit = false;
    try_answer(s);
}

void handle_message(void *arg, struct http_request *req)
{
    struct api *api = arg;
    _cleanup_json_ json_t *body = request_body(api, req, message_fields, ARRAY_LEN(message_fields), false);
    _cleanup_free_ uint8_t *decoded = NULL;
    if (!body)
        return;
    struct envelope e = {
        .kind = MESSAGE_SEND,
        .to = view_of(json_get_string(body, "to", "")),
        .subject = view_of(json_get_string(body, "subject", "")),
        .content_type = view_of(json_get_string(body, "content_type", "")),
    };
    message_kind_parse(json_get_string(body, "kind", "send"), &e.kind);
    fill_identity(&e, body);
    fill_headers(&e, json_object_get(body, "headers"));
    if (fill_body(api, req, &e, body, &decoded))
        submit(api, req, &e);
}
