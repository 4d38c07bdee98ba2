// Fuzzes what the broker delivers: any properties and headers. Whatever is read as good is an envelope that
// every decoder takes, is from who the exchange proves, and comes back the same when it is written again.
#include <stdlib.h>
#include <string.h>

#include "remote/amqp_map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *data;
    size_t size, at;
};

// One byte of length, then so many bytes.
static struct broker_text take(struct input *in)
{
    size_t len = in->at < in->size ? in->data[in->at++] : 0;
    if (len > in->size - in->at)
        len = in->size - in->at;
    struct broker_text t = {(const char *)in->data + in->at, len};
    in->at += len;
    return t;
}

static void check_envelope(const struct amqp_incoming *in)
{
    static uint8_t bytes[1u << 20];
    struct wire_writer w;
    struct wire_reader r;
    struct envelope again;
    wire_writer_init(&w, bytes, sizeof bytes);
    envelope_write(&w, &in->envelope);
    wire_reader_init(&r, bytes, w.pos);
    if (w.overflow || !envelope_read(&r, &again))
        abort();
    if (in->outside != (strcmp(in->from.tenant, NAME_CLIENTS) == 0))
        abort();
}

static void write_again(const struct amqp_incoming *in)
{
    static struct amqp_outgoing out;
    static struct amqp_incoming back;
    const char *what;
    char user[NAME_CAP + sizeof AMQP_USER_HOST] = AMQP_USER_HOST;
    strcat(user, in->host);
    const struct amqp_self self = {user, in->host, in->epoch};
    const struct mediate_party source = {in->from.tenant, in->from.name, in->labels, in->n_labels};
    const struct remote_message m = {.way = in->envelope.kind == MESSAGE_REPLY ? REMOTE_TO_HOST
                                                                               : REMOTE_TO_RECEIVER,
                                     .envelope = &in->envelope,
                                     .to = &in->to,
                                     .source = &source,
                                     .image = in->image,
                                     .host = "h"};
    if (amqp_write(&m, &self, 1, &out) < 0)
        abort();
    const struct broker_publication *p = &out.publication;
    const struct broker_delivery d = {
        .exchange = p->exchange, .routing_key = p->routing_key, .properties = p->properties, .body = p->body};
    if (amqp_read(&d, 1, &back, &what) != AMQP_GOOD || back.epoch != in->epoch ||
        back.envelope.n_headers != in->envelope.n_headers || back.envelope.kind != in->envelope.kind)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct amqp_incoming incoming;
    struct input in = {data, size, 0};
    struct broker_delivery d = {.handle = 1};
    struct broker_properties *p = &d.properties;
    const char *what = NULL;
    struct broker_text *fields[] = {&d.exchange,    &d.routing_key, &p->message_id, &p->correlation_id,
                                    &p->reply_to,   &p->user_id,    &p->type,       &p->content_type,
                                    &p->expiration, &d.body};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        *fields[i] = take(&in);
    struct broker_text numbers = take(&in);
    p->priority = numbers.len > 0 ? (uint8_t)numbers.data[0] : 0;
    p->timestamp = numbers.len > 1 ? (uint8_t)numbers.data[1] : 0;
    p->headers_truncated = numbers.len > 2;
    while (in.at < size && p->n_headers < BROKER_HEADERS_MAX) {
        struct broker_text name = take(&in);
        p->headers[p->n_headers++] = (struct broker_header){name, take(&in)};
    }
    enum amqp_fault fault = amqp_read(&d, 1700000000000, &incoming, &what);
    if (fault != AMQP_GOOD) {
        if (!what)
            abort();
        return 0;
    }
    check_envelope(&incoming);
    if (!incoming.outside)
        write_again(&incoming);
    return 0;
}
