// Envelope to AMQP. Texts that are not the message's own lie in the outgoing's buffer, which has room for
// whatever an envelope and its sender's labels can hold.
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "remote/amqp_map.h"

void amqp_key(const char *tenant, const char *name, bool is_service, char out[AMQP_KEY_CAP])
{
    snprintf(out, AMQP_KEY_CAP, "%s.%s%s", tenant, is_service ? ":" : "", name);
}

static struct broker_text text_of_view(struct wire_view v)
{
    return (struct broker_text){(const char *)v.data, v.len};
}

// Empty when there is no more room: the caller sees used beyond the buffer.
__attribute__((format(printf, 2, 3))) static struct broker_text make_text(struct amqp_outgoing *o,
                                                                          const char *format, ...)
{
    size_t left = sizeof o->text - o->used;
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(o->text + o->used, left, format, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= left) {
        o->used = sizeof o->text;
        return (struct broker_text){"", 0};
    }
    struct broker_text made = {o->text + o->used, (size_t)n};
    o->used += (size_t)n + 1;
    return made;
}

static void add_header(struct amqp_outgoing *o, struct broker_text name, struct broker_text value)
{
    struct broker_properties *p = &o->publication.properties;
    if (p->n_headers == BROKER_HEADERS_MAX || name.len == 0 || name.len > BROKER_SHORT_MAX)
        o->used = sizeof o->text;
    else
        p->headers[p->n_headers++] = (struct broker_header){name, value};
}

static struct broker_text id_text(struct amqp_outgoing *o, const struct id *id)
{
    char text[ID_TEXT_CAP];
    if (id_is_zero(id))
        return (struct broker_text){NULL, 0};
    id_format(id, text);
    return make_text(o, "%s", text);
}

static void add_own_headers(struct amqp_outgoing *o, const struct envelope *e, bool outside)
{
    for (size_t i = 0; i < e->n_headers; i++) {
        const struct wire_view name = e->headers[i].name;
        // To outside clients as they are, unless they would pass for ours.
        bool plain = (outside && (name.len < 4 || memcmp(name.data, "env-", 4) != 0)) ||
                     (e->kind == MESSAGE_REPLY && wire_view_equals(name, ENVELOPE_REFUSED));
        add_header(o, make_text(o, "%s%.*s", plain ? "" : "env-h-", (int)name.len, (const char *)name.data),
                   text_of_view(e->headers[i].value));
    }
}

static void add_source(struct amqp_outgoing *o, const struct remote_message *m, const struct amqp_self *self)
{
    add_header(o, broker_text_of("env-host"), broker_text_of(self->host));
    add_header(o, broker_text_of("env-epoch"), make_text(o, "%" PRIu64, self->epoch));
    if (m->envelope->kind == MESSAGE_REPLY)
        return; // needs no rule
    if (m->image)
        add_header(o, broker_text_of("env-image"), broker_text_of(m->image));
    for (size_t i = 0; i < m->source->n_labels; i++)
        add_header(o, make_text(o, "env-label-%s", m->source->labels[i].key),
                   broker_text_of(m->source->labels[i].value));
}

static void set_address(struct amqp_outgoing *o, const struct remote_message *m)
{
    struct broker_publication *p = &o->publication;
    char key[AMQP_KEY_CAP];
    amqp_key(m->to->tenant, m->to->name, m->to->is_service, key);
    p->exchange = broker_text_of(m->way == REMOTE_TO_SERVERS  ? AMQP_EXCHANGE_EVENT
                                 : m->way == REMOTE_TO_CLIENT ? ""
                                                              : AMQP_EXCHANGE);
    p->routing_key = m->way == REMOTE_TO_HOST     ? make_text(o, NAME_HOST ".%s", m->host)
                     : m->way == REMOTE_TO_CLIENT ? broker_text_of(m->reply_to)
                                                  : make_text(o, "%s", key);
}

int amqp_write(const struct remote_message *m, const struct amqp_self *self, uint64_t realtime_ms,
               struct amqp_outgoing *ret)
{
    const struct envelope *e = m->envelope;
    struct broker_properties *p = &ret->publication.properties;
    bool outside = m->way == REMOTE_TO_CLIENT;
    ret->publication = (struct broker_publication){.mandatory = true, .body = text_of_view(e->body)};
    ret->used = 0;
    set_address(ret, m);
    p->message_id = id_text(ret, &e->id);
    p->correlation_id =
        outside && m->correlation ? broker_text_of(m->correlation) : id_text(ret, &e->correlation);
    p->user_id = broker_text_of(self->user);
    p->type = text_of_view(e->subject);
    p->content_type = text_of_view(e->content_type);
    p->priority = e->priority;
    p->timestamp = realtime_ms / 1000;
    add_header(ret, broker_text_of("env-version"), broker_text_of("1"));
    add_header(ret, broker_text_of("env-kind"), broker_text_of(message_kind_name(e->kind)));
    add_header(ret, broker_text_of("env-from"), text_of_view(e->from));
    add_header(ret, broker_text_of("env-to"), text_of_view(e->to));
    if (e->expires_ms != 0) {
        uint64_t left_ms = e->expires_ms > realtime_ms ? e->expires_ms - realtime_ms : 1;
        // The broker takes at most 32 bits; what lives longer than 49 days is for the receiver's host to
        // drop.
        if (left_ms <= UINT32_MAX)
            p->expiration = make_text(ret, "%" PRIu64, left_ms);
        add_header(ret, broker_text_of("env-expires"), make_text(ret, "%" PRIu64, e->expires_ms));
    }
    if (!outside)
        add_source(ret, m, self);
    add_own_headers(ret, e, outside);
    return ret->used < sizeof ret->text ? 0 : -EMSGSIZE;
}
