// The link's configuration as the thread keeps it, defaults filled in. Internal to broker/.
#pragma once

#include "broker/broker.h"

#define ADDRESSES_MAX 8

struct settings {
    struct address {
        char *host;
        uint16_t port;
    } addresses[ADDRESSES_MAX]; // tried in turn
    size_t n_addresses, current;
    char *vhost, *user, *password, *ca, *cert, *key, *name; // NULL: none
    bool tls;
    enum broker_queue_type queue_type;
    uint32_t heartbeat_s, publish_window, connect_timeout_ms, rpc_timeout_ms, backoff_min_ms, backoff_max_ms;
    uint64_t outbox_bytes_max;
};

// Copies and completes config. 0, -EINVAL or -ENOMEM.
int settings_init(struct settings *s, const struct broker_config *config, struct err *err);
void settings_done(struct settings *s);
static inline const struct address *settings_address(const struct settings *s)
{
    return &s->addresses[s->current];
}
// With a certificate and no password: who we are is what the certificate says.
static inline bool settings_external(const struct settings *s)
{
    return s->tls && s->cert && !s->password;
}
