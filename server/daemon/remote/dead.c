// The broker's dead letters: deliveries that hosts refused, each with the reason that incoming.c gave it.
// Looked at for operators; everything goes back to its place.
#include <errno.h>
#include <string.h>

#include "remote/remote_internal.h"

static struct broker_text header_of(const struct broker_delivery *d, const char *name)
{
    const struct broker_properties *p = &d->properties;
    for (size_t i = p->n_headers; i-- > 0;) // what the host added is behind what the sender said
        if (p->headers[i].name.len == strlen(name) &&
            memcmp(p->headers[i].name.data, name, strlen(name)) == 0)
            return p->headers[i].value;
    return (struct broker_text){NULL, 0};
}

static void put_back(struct remote *r)
{
    for (size_t i = 0; i < r->dead.n && r->broker; i++)
        broker_settle(r->broker, r->dead.handles[i], BROKER_REQUEUE);
    r->dead.n = 0;
}

static void on_got(void *arg, const struct broker_delivery *d, const char *why)
{
    struct remote *r = arg;
    if (!d) {
        put_back(r);
        r->dead.cb(r->dead.arg, NULL, why);
        return;
    }
    if (r->dead.n < REMOTE_DEAD_MAX)
        r->dead.handles[r->dead.n++] = d->handle;
    const struct remote_dead seen = {
        .id = d->properties.message_id,
        .from = header_of(d, "env-from"),
        .to = d->routing_key,
        .subject = d->properties.type,
        .code = header_of(d, "env-refused"),
        .why = header_of(d, "env-refused-why"),
        .host = header_of(d, "env-refused-by"),
        .user = header_of(d, "env-refused-user"),
        .body_bytes = d->body.len,
    };
    r->dead.cb(r->dead.arg, &seen, NULL);
}

int remote_dead_list(struct remote *r, uint32_t n, remote_dead_cb *cb, void *arg)
{
    if (!r->broker)
        return -ENOTCONN;
    int rc = broker_get(r->broker, AMQP_QUEUE_DEAD, n < REMOTE_DEAD_MAX ? n : REMOTE_DEAD_MAX, on_got, r);
    if (rc < 0)
        return rc;
    r->dead.cb = cb;
    r->dead.arg = arg;
    return 0;
}
