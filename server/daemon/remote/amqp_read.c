// AMQP to envelope: who sent it first, then every field. All bytes are the wire's until they are checked
// here.
#include <stdlib.h>
#include <string.h>

#include "remote/amqp_map.h"

// What is read, and the first complaint.
struct reader {
    const struct broker_delivery *d;
    struct amqp_incoming *in;
    uint64_t realtime_ms;
    enum amqp_fault fault;
    const char *what;
};

const char *amqp_fault_name(enum amqp_fault fault)
{
    static const char *const names[AMQP_FAULT_COUNT] = {
        [AMQP_GOOD] = "good",
        [AMQP_NOT_UTF8] = "invalid-utf8",
        [AMQP_HEADERS] = "oversized-headers",
        [AMQP_MISSING] = "missing-field",
        [AMQP_FIELD] = "invalid-field",
        [AMQP_VERSION] = "unknown-version",
        [AMQP_SENDER] = "lying-sender",
        [AMQP_REPLY_TO] = "foreign-reply-to",
    };
    return (unsigned)fault < AMQP_FAULT_COUNT ? names[fault] : "unknown";
}

static bool complain(struct reader *r, enum amqp_fault fault, const char *what)
{
    if (r->fault == AMQP_GOOD) {
        r->fault = fault;
        r->what = what;
    }
    return false;
}

static struct broker_text text_after(struct broker_text t, const char *prefix)
{
    size_t len = strlen(prefix);
    return (struct broker_text){t.data + len, t.len - len};
}

static struct wire_view view_of(struct broker_text t)
{
    return (struct wire_view){(const uint8_t *)t.data, t.len};
}

static bool text_copy(struct broker_text t, char *out, size_t cap)
{
    if (t.len >= cap || (t.len > 0 && memchr(t.data, '\0', t.len)))
        return false;
    if (t.len > 0)
        memcpy(out, t.data, t.len);
    out[t.len] = '\0';
    return true;
}

static bool text_u64(struct broker_text t, uint64_t *ret)
{
    char digits[21];
    if (t.len == 0 || !text_copy(t, digits, sizeof digits) || strspn(digits, "0123456789") != t.len)
        return false;
    uint64_t value = 0;
    for (const char *c = digits; *c; c++)
        if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*c - '0'), &value))
            return false;
    *ret = value;
    return true;
}

// NULL: there is none.
static const struct broker_header *find_header(const struct reader *r, const char *name)
{
    const struct broker_properties *p = &r->d->properties;
    for (size_t i = 0; i < p->n_headers; i++)
        if (broker_text_is(p->headers[i].name, name))
            return &p->headers[i];
    return NULL;
}

// A copy that lives as long as *in. NULL: it is none that could be kept.
static const char *keep(struct reader *r, struct broker_text t)
{
    struct amqp_incoming *in = r->in;
    char *at = in->text + in->used;
    if (!text_copy(t, at, sizeof in->text - in->used))
        return NULL;
    in->used += t.len + 1;
    return at;
}

// --- who ---

static bool read_host(struct reader *r)
{
    const struct broker_properties *p = &r->d->properties;
    const struct broker_header *host = find_header(r, "env-host");
    if (!broker_text_begins(p->user_id, AMQP_USER_HOST))
        return complain(r, AMQP_SENDER, "its user-id is not that of a host");
    struct broker_text name = text_after(p->user_id, AMQP_USER_HOST);
    if (!name_valid(name.data, name.len) || !text_copy(name, r->in->host, sizeof r->in->host))
        return complain(r, AMQP_SENDER, "its user-id names no host");
    if (!host)
        return complain(r, AMQP_MISSING, "env-host is missing");
    return broker_text_is(host->value, r->in->host) ||
           complain(r, AMQP_SENDER, "env-host is not the host of its user-id");
}

static bool read_client(struct reader *r, struct broker_text exchange, struct broker_text user)
{
    struct broker_text name = text_after(exchange, AMQP_USER_CLIENT);
    struct address *from = &r->in->from;
    if (!name_valid(name.data, name.len) || !text_copy(name, from->name, sizeof from->name))
        return complain(r, AMQP_SENDER, "its exchange names no client");
    memcpy(from->tenant, NAME_CLIENTS, sizeof NAME_CLIENTS);
    address_format(from, r->in->from_text);
    r->in->outside = true;
    if (user.len > 0 && (user.len != exchange.len || memcmp(user.data, exchange.data, user.len) != 0))
        return complain(r, AMQP_SENDER, "its user-id is not that of its exchange");
    const struct broker_header *said = find_header(r, "env-from");
    return !said || broker_text_is(said->value, r->in->from_text) ||
           complain(r, AMQP_SENDER, "env-from is not who it is");
}

// Its user-id is that of the host that replays it; who sent it is what that host says.
static bool read_replayed(struct reader *r, struct broker_text by)
{
    struct broker_text user = r->d->properties.user_id, none = {NULL, 0};
    const struct broker_header *origin = find_header(r, "env-replayed-exchange");
    const struct broker_header *host = find_header(r, "env-host");
    r->in->replayed = true;
    if (!broker_text_begins(user, AMQP_USER_HOST) || !name_valid(by.data, by.len) ||
        user.len != strlen(AMQP_USER_HOST) + by.len ||
        memcmp(user.data + strlen(AMQP_USER_HOST), by.data, by.len) != 0)
        return complain(r, AMQP_SENDER, "its user-id is not that of who replays it");
    if (!origin)
        return complain(r, AMQP_MISSING, "env-replayed-exchange is missing");
    if (broker_text_begins(origin->value, AMQP_USER_CLIENT))
        return read_client(r, origin->value, none);
    return (host && name_valid(host->value.data, host->value.len) &&
            text_copy(host->value, r->in->host, sizeof r->in->host)) ||
           complain(r, AMQP_SENDER, "env-host names no host");
}

static bool read_sender(struct reader *r)
{
    const struct broker_header *by = find_header(r, "env-replayed-by");
    bool from_host =
        broker_text_is(r->d->exchange, AMQP_EXCHANGE) || broker_text_is(r->d->exchange, AMQP_EXCHANGE_EVENT);
    if (from_host && by)
        return read_replayed(r, by->value);
    if (from_host)
        return read_host(r);
    if (broker_text_begins(r->d->exchange, AMQP_USER_CLIENT))
        return read_client(r, r->d->exchange, r->d->properties.user_id);
    return complain(r, AMQP_SENDER, "it came by an exchange that proves no sender");
}

// --- what every message has ---

static bool read_id(struct reader *r, struct broker_text t, struct id *ret, const char *what)
{
    return t.len == 0 || id_parse(t.data, t.len, ret) || complain(r, AMQP_FIELD, what);
}

static bool read_content_type(struct reader *r)
{
    struct broker_text t = r->d->properties.content_type;
    if (t.len > ENVELOPE_CONTENT_TYPE_MAX)
        return complain(r, AMQP_HEADERS, "the content type is too long");
    if (!wire_utf8_valid(t.data ? t.data : "", t.len))
        return complain(r, AMQP_NOT_UTF8, "the content type is not UTF-8");
    r->in->envelope.content_type = view_of(t);
    return true;
}

static bool read_subject(struct reader *r, struct broker_text t)
{
    if (t.len == 0 && r->in->envelope.kind != MESSAGE_REPLY)
        return complain(r, AMQP_MISSING, "there is no subject");
    if (t.len > 0 && !wire_utf8_valid(t.data, t.len))
        return complain(r, AMQP_NOT_UTF8, "the subject is not UTF-8");
    if (t.len > 0 && !subject_valid(t.data, t.len))
        return complain(r, AMQP_FIELD, "the subject is none");
    r->in->envelope.subject = view_of(t);
    return true;
}

static bool add_header(struct reader *r, struct broker_text name, struct broker_text value)
{
    struct envelope *e = &r->in->envelope;
    if (e->n_headers == ENVELOPE_HEADERS_MAX)
        return complain(r, AMQP_HEADERS, "there are too many headers");
    if (name.len == 0 || name.len > ENVELOPE_HEADER_NAME_MAX || value.len > ENVELOPE_HEADER_VALUE_MAX)
        return complain(r, AMQP_HEADERS, "a header is too long, or has no name");
    if (!wire_utf8_valid(name.data, name.len) || !wire_utf8_valid(value.data ? value.data : "", value.len))
        return complain(r, AMQP_NOT_UTF8, "a header is not UTF-8");
    e->headers[e->n_headers++] = (struct envelope_header){view_of(name), view_of(value)};
    return true;
}

static bool read_common(struct reader *r)
{
    const struct broker_properties *p = &r->d->properties;
    struct envelope *e = &r->in->envelope;
    if (p->headers_truncated || p->n_headers > BROKER_HEADERS_MAX)
        return complain(r, AMQP_HEADERS, "there are too many headers");
    if (p->priority > 9)
        return complain(r, AMQP_FIELD, "the priority is above 9");
    if (r->d->body.len > ENVELOPE_BODY_MAX)
        return complain(r, AMQP_FIELD, "the body is too long");
    e->priority = p->priority;
    e->body = view_of(r->d->body);
    return read_content_type(r);
}

// --- from hosts ---

static bool read_address(struct reader *r, const char *header, struct address *ret, char text[ADDRESS_CAP])
{
    const struct broker_header *h = find_header(r, header);
    if (!h)
        return complain(r, AMQP_MISSING, "env-from or env-to is missing");
    if (!wire_utf8_valid(h->value.data ? h->value.data : "", h->value.len))
        return complain(r, AMQP_NOT_UTF8, "an address is not UTF-8");
    if (address_parse(h->value.data ? h->value.data : "", h->value.len, ret) != NULL ||
        ret->tenant[0] == '\0')
        return complain(r, AMQP_FIELD, "an address is none, or has no tenant");
    address_format(ret, text);
    return true;
}

// Of a call: it comes from what was called, which may be a service.
static bool is_refusal(const struct reader *r)
{
    return r->in->envelope.kind == MESSAGE_REPLY && find_header(r, ENVELOPE_REFUSED);
}

static bool read_refusal(struct reader *r)
{
    enum receipt_code code;
    const struct broker_header *h = find_header(r, ENVELOPE_REFUSED);
    if (!receipt_code_parse(h->value.data ? h->value.data : "", h->value.len, &code) ||
        code == RECEIPT_ACCEPTED)
        return complain(r, AMQP_FIELD, "env-refused is no refusal");
    return add_header(r, h->name, h->value);
}

static bool read_addresses(struct reader *r)
{
    struct amqp_incoming *in = r->in;
    char key[AMQP_KEY_CAP];
    if (!read_address(r, "env-from", &in->from, in->from_text) ||
        !read_address(r, "env-to", &in->to, in->to_text))
        return false;
    if ((in->from.is_service && !is_refusal(r)) || strcmp(in->from.tenant, NAME_CLIENTS) == 0)
        return complain(r, AMQP_SENDER, "env-from is no environment");
    if (in->envelope.kind == MESSAGE_REPLY) // goes to the host
        return broker_text_begins(r->d->routing_key, NAME_HOST ".") ||
               complain(r, AMQP_FIELD, "a reply came by a key that is not a host's");
    amqp_key(in->to.tenant, in->to.name, in->to.is_service, key);
    return broker_text_is(r->d->routing_key, key) || complain(r, AMQP_FIELD, "env-to is not its routing key");
}

static bool read_kind(struct reader *r)
{
    const struct broker_header *version = find_header(r, "env-version"), *kind = find_header(r, "env-kind");
    char name[16];
    if (!version || !kind)
        return complain(r, AMQP_MISSING, "env-version or env-kind is missing");
    if (!broker_text_is(version->value, "1"))
        return complain(r, AMQP_VERSION, "env-version is not 1");
    return (text_copy(kind->value, name, sizeof name) && message_kind_parse(name, &r->in->envelope.kind)) ||
           complain(r, AMQP_FIELD, "env-kind is none");
}

static bool read_numbers(struct reader *r)
{
    const struct broker_header *epoch = find_header(r, "env-epoch"), *expires = find_header(r, "env-expires");
    if (!epoch)
        return complain(r, AMQP_MISSING, "env-epoch is missing");
    if (!text_u64(epoch->value, &r->in->epoch) ||
        (expires && !text_u64(expires->value, &r->in->envelope.expires_ms)))
        return complain(r, AMQP_FIELD, "env-epoch or env-expires is no number");
    return true;
}

static bool add_label(struct reader *r, struct broker_text key, struct broker_text value)
{
    struct amqp_incoming *in = r->in;
    if (in->n_labels == MEDIATE_LABELS_MAX)
        return complain(r, AMQP_HEADERS, "there are too many labels");
    if (!wire_utf8_valid(value.data ? value.data : "", value.len))
        return complain(r, AMQP_NOT_UTF8, "a label is not UTF-8");
    if (!mediate_label_key_valid(key.data, key.len) ||
        !mediate_label_value_valid(value.data ? value.data : "", value.len))
        return complain(r, AMQP_FIELD, "a label is none");
    struct mediate_label label = {keep(r, key), keep(r, value)};
    if (!label.key || !label.value)
        return complain(r, AMQP_FIELD, "a label is none");
    in->labels[in->n_labels++] = label;
    return true;
}

static bool read_image(struct reader *r)
{
    const struct broker_header *h = find_header(r, "env-image");
    if (!h)
        return true;
    if (!mediate_image_valid(h->value.data, h->value.len))
        return complain(r, AMQP_FIELD, "env-image is none");
    return (r->in->image = keep(r, h->value)) || complain(r, AMQP_FIELD, "env-image is none");
}

static bool read_prefixed(struct reader *r)
{
    const struct broker_properties *p = &r->d->properties;
    for (size_t i = 0; i < p->n_headers; i++) {
        const struct broker_header *h = &p->headers[i];
        if (broker_text_begins(h->name, "env-label-") &&
            !add_label(r, text_after(h->name, "env-label-"), h->value))
            return false;
        if (!broker_text_begins(h->name, "env-h-"))
            continue;
        if (r->in->envelope.kind == MESSAGE_REPLY && broker_text_is(h->name, "env-h-" ENVELOPE_REFUSED))
            return complain(r, AMQP_FIELD, "a refusal that no host made");
        if (!add_header(r, text_after(h->name, "env-h-"), h->value))
            return false;
    }
    return true;
}

static bool read_from_host(struct reader *r)
{
    struct amqp_incoming *in = r->in;
    const struct broker_properties *p = &r->d->properties;
    if (id_is_zero(&in->envelope.id))
        return complain(r, AMQP_MISSING, "there is no message-id");
    if (!read_kind(r) || !read_addresses(r) || !read_numbers(r) || !read_subject(r, p->type) ||
        !read_id(r, p->correlation_id, &in->envelope.correlation, "the correlation-id is none") ||
        !read_image(r) || (is_refusal(r) && !read_refusal(r)) || !read_prefixed(r))
        return false;
    if (in->envelope.kind == MESSAGE_REPLY && id_is_zero(&in->envelope.correlation))
        return complain(r, AMQP_MISSING, "a reply has no correlation-id");
    return true;
}

// --- from outside ---

static bool read_key(struct reader *r)
{
    struct broker_text key = r->d->routing_key;
    const char *dot = key.len > 0 ? memchr(key.data, '.', key.len) : NULL;
    struct address *to = &r->in->to;
    if (!dot)
        return complain(r, AMQP_FIELD, "its routing key is no TENANT.NAME");
    struct broker_text tenant = {key.data, (size_t)(dot - key.data)};
    struct broker_text name = {dot + 1, key.len - tenant.len - 1};
    to->is_service = name.len > 0 && name.data[0] == ':';
    if (to->is_service)
        name = (struct broker_text){name.data + 1, name.len - 1};
    if (!name_valid(tenant.data, tenant.len) || !name_valid(name.data, name.len) ||
        !text_copy(tenant, to->tenant, sizeof to->tenant) || !text_copy(name, to->name, sizeof to->name))
        return complain(r, AMQP_FIELD, "its routing key is no TENANT.NAME");
    address_format(to, r->in->to_text);
    const struct broker_header *said = find_header(r, "env-to");
    return !said || broker_text_is(said->value, r->in->to_text) ||
           complain(r, AMQP_FIELD, "env-to is not its routing key");
}

// Answers go where only that client reads: its own queues, or the pseudo-queue of its connection.
static bool read_reply_to(struct reader *r)
{
    struct broker_text reply_to = r->d->properties.reply_to;
    char own[sizeof AMQP_USER_CLIENT + NAME_CAP + 1] = AMQP_USER_CLIENT;
    strcat(own, r->in->from.name);
    strcat(own, ".");
    if (!broker_text_begins(reply_to, own) && !broker_text_begins(reply_to, "amq.rabbitmq.reply-to."))
        return complain(r, AMQP_REPLY_TO, "reply-to is not a queue of its own");
    return text_copy(reply_to, r->in->reply_to, sizeof r->in->reply_to) ||
           complain(r, AMQP_FIELD, "reply-to is none");
}

// From when it was sent, if it says when.
static bool read_expiration(struct reader *r)
{
    const struct broker_properties *p = &r->d->properties;
    uint64_t left_ms, from_ms = r->realtime_ms;
    if (p->expiration.len == 0)
        return true;
    if (!text_u64(p->expiration, &left_ms))
        return complain(r, AMQP_FIELD, "the expiration is no number");
    if (p->timestamp > 0 && p->timestamp < from_ms / 1000)
        from_ms = p->timestamp * 1000;
    return !__builtin_add_overflow(from_ms, left_ms, &r->in->envelope.expires_ms) ||
           complain(r, AMQP_FIELD, "the expiration is no number");
}

static bool is_ours(struct broker_text name)
{
    return broker_text_begins(name, "env-") || broker_text_is(name, "subject");
}

static bool read_mark(struct reader *r)
{
    const struct broker_properties *p = &r->d->properties;
    struct broker_text mark = p->correlation_id.len > 0 ? p->correlation_id : p->message_id;
    return text_copy(mark, r->in->correlation, sizeof r->in->correlation) ||
           complain(r, AMQP_FIELD, "the correlation-id is none");
}

static bool read_from_client(struct reader *r)
{
    const struct broker_properties *p = &r->d->properties;
    const struct broker_header *subject = find_header(r, "subject");
    struct amqp_incoming *in = r->in;
    in->envelope.kind = p->reply_to.len > 0 ? MESSAGE_CALL : MESSAGE_SEND;
    if (!read_key(r) || !read_subject(r, p->type.len > 0 || !subject ? p->type : subject->value) ||
        !read_expiration(r) || (in->envelope.kind == MESSAGE_CALL && !read_reply_to(r)) || !read_mark(r))
        return false;
    for (size_t i = 0; i < p->n_headers; i++)
        if (!is_ours(p->headers[i].name) && !add_header(r, p->headers[i].name, p->headers[i].value))
            return false;
    return true;
}

static void clear(struct amqp_incoming *in)
{
    in->envelope = (struct envelope){0};
    in->from = in->to = (struct address){0};
    in->outside = in->replayed = false;
    in->image = NULL;
    in->epoch = in->n_labels = in->used = 0;
    in->host[0] = in->reply_to[0] = in->correlation[0] = in->from_text[0] = in->to_text[0] = '\0';
}

// The exchange proves who it is, whatever else it says.
bool amqp_read_way_back(const struct broker_delivery *d, struct amqp_incoming *ret)
{
    struct reader r = {.d = d, .in = ret};
    clear(ret);
    if (!broker_text_begins(d->exchange, AMQP_USER_CLIENT) || d->properties.reply_to.len == 0)
        return false;
    (void)read_client(&r, d->exchange, d->properties.user_id);
    (void)read_id(&r, d->properties.message_id, &ret->envelope.id, "");
    return ret->outside && read_reply_to(&r) && read_mark(&r);
}

enum amqp_fault amqp_read(const struct broker_delivery *d, uint64_t realtime_ms, struct amqp_incoming *ret,
                          const char **ret_what)
{
    struct reader r = {.d = d, .in = ret, .realtime_ms = realtime_ms};
    clear(ret);
    // The id first, so that a refusal can name it.
    if (read_id(&r, d->properties.message_id, &ret->envelope.id, "the message-id is no UUID") &&
        read_sender(&r) && read_common(&r) && (ret->outside ? read_from_client(&r) : read_from_host(&r))) {
        ret->envelope.from = (struct wire_view){(const uint8_t *)ret->from_text, strlen(ret->from_text)};
        ret->envelope.to = (struct wire_view){(const uint8_t *)ret->to_text, strlen(ret->to_text)};
        return AMQP_GOOD;
    }
    *ret_what = r.what;
    return r.fault;
}
