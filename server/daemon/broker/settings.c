// Owns the defaults of a link and what a configuration must have. Called by broker.c.
#include "broker/settings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/checked.h"

#define CLUSTER_MIN 3 // addresses that tell of a cluster: nothing in AMQP does

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
    return value ? value : otherwise;
}

static bool given(const char *s)
{
    return s && s[0] != '\0';
}

static int keep(char **to, const char *from)
{
    *to = given(from) ? strdup(from) : NULL;
    return given(from) && !*to ? -ENOMEM : 0;
}

static int copy_texts(struct settings *s, const struct broker_config *c)
{
    if (keep(&s->vhost, given(c->vhost) ? c->vhost : "/") < 0 || keep(&s->user, c->user) < 0 ||
        keep(&s->password, c->password) < 0 || keep(&s->ca, c->ca) < 0 || keep(&s->cert, c->cert) < 0 ||
        keep(&s->key, c->key) < 0 || keep(&s->name, given(c->name) ? c->name : "envd") < 0)
        return -ENOMEM;
    return 0;
}

// HOST, HOST:PORT, [ADDRESS] or [ADDRESS]:PORT; an IPv6 address without brackets is one too.
static int add_address(struct settings *s, const char *text, size_t len, uint16_t port)
{
    bool bracketed = len > 0 && text[0] == '[';
    const char *end = bracketed ? memchr(text, ']', len) : memchr(text, ':', len);
    if (!bracketed && end && memchr(end + 1, ':', len - (size_t)(end + 1 - text)))
        end = NULL;
    size_t host_len = end ? (size_t)(end - text) - bracketed : len;
    const char *after = end ? end + bracketed : text + len;
    if (host_len == 0 || (bracketed && !end) || s->n_addresses == ADDRESSES_MAX)
        return -EINVAL;
    if (after < text + len) {
        char *stop = NULL;
        unsigned long n = *after == ':' ? strtoul(after + 1, &stop, 10) : 0;
        if (n == 0 || n > UINT16_MAX || stop != text + len)
            return -EINVAL;
        port = (uint16_t)n;
    }
    char *host = strndup(text + bracketed, host_len);
    if (!host)
        return -ENOMEM;
    s->addresses[s->n_addresses++] = (struct address){host, port};
    return 0;
}

static int copy_addresses(struct settings *s, const struct broker_config *c)
{
    uint16_t port = c->port ? c->port : c->tls ? 5671 : 5672;
    int rc = 0;
    for (const char *at = c->host; rc == 0 && at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        rc = add_address(s, at, strcspn(at, ","), port);
    return rc;
}

int settings_init(struct settings *s, const struct broker_config *c, struct err *err)
{
    *s = (struct settings){
        .tls = c->tls,
        .queue_type = c->queue_type,
        .heartbeat_s = or_default(c->heartbeat_s, 10),
        .publish_window = or_default(c->publish_window, 2000),
        .connect_timeout_ms = or_default(c->connect_timeout_ms, 3000),
        .rpc_timeout_ms = or_default(c->rpc_timeout_ms, 5000),
        .backoff_min_ms = or_default(c->backoff_min_ms, 100),
        .backoff_max_ms = or_default(c->backoff_max_ms, 10000),
        .outbox_bytes_max = c->outbox_bytes_max ? c->outbox_bytes_max : 64u << 20,
    };
    if (!given(c->host))
        return err_set(err, -EINVAL, "broker: it has no host");
    if (c->tls && !given(c->ca))
        return err_set(err, -EINVAL, "broker: TLS needs the file of the certificate authority (ca)");
    if (given(c->cert) != given(c->key))
        return err_set(err, -EINVAL, "broker: cert and key belong together");
    if (s->publish_window > 65536 || s->heartbeat_s > 3600)
        return err_set(err, -EINVAL, "broker: the window is at most 65536, the heartbeat 3600 s");
    int rc = copy_addresses(s, c);
    if (s->queue_type == BROKER_QUEUE_AUTO && s->n_addresses >= CLUSTER_MIN)
        s->queue_type = BROKER_QUEUE_QUORUM;
    if (rc == 0)
        rc = copy_texts(s, c);
    if (rc < 0) {
        settings_done(s);
        return err_errno(err, rc, "broker: %s", c->host);
    }
    return 0;
}

void settings_done(struct settings *s)
{
    if (s->password)
        explicit_bzero(s->password, strlen(s->password));
    for (size_t i = 0; i < s->n_addresses; i++)
        free(s->addresses[i].host);
    char *texts[] = {s->vhost, s->user, s->password, s->ca, s->cert, s->key, s->name};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        free(texts[i]);
    *s = (struct settings){0};
}
