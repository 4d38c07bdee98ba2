// Owns the defaults of a link and what a configuration must have. Called by broker.c.
#include "broker/settings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/checked.h"

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
    return value ? value : otherwise;
}

static bool given(const char *s)
{
    return s && s[0] != '\0';
}

static int copy_texts(struct settings *s, const struct broker_config *c)
{
    const struct {
        char **to;
        const char *from;
    } rows[] = {
        {&s->host, c->host}, {&s->vhost, c->vhost ? c->vhost : "/"},
        {&s->user, c->user}, {&s->password, c->password},
        {&s->ca, c->ca},     {&s->cert, c->cert},
        {&s->key, c->key},   {&s->name, c->name ? c->name : "envd"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (given(rows[i].from) && !(*rows[i].to = strdup(rows[i].from)))
            return -ENOMEM;
    return 0;
}

int settings_init(struct settings *s, const struct broker_config *c, struct err *err)
{
    *s = (struct settings){
        .tls = c->tls,
        .queue_type = c->queue_type,
        .port = c->port  ? c->port
                : c->tls ? 5671
                         : 5672,
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
    if (copy_texts(s, c) < 0) {
        settings_done(s);
        return err_set(err, -ENOMEM, "broker: no memory");
    }
    return 0;
}

void settings_done(struct settings *s)
{
    if (s->password)
        explicit_bzero(s->password, strlen(s->password));
    char *texts[] = {s->host, s->vhost, s->user, s->password, s->ca, s->cert, s->key, s->name};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        free(texts[i]);
    *s = (struct settings){0};
}
