// One client's console: frames of proto/session.h on its side, raw bytes on the machine's. Called by api/ as
// a relay's pass(); knows neither HTTP nor envvm.
#pragma once

#include <stdint.h>

#include "relay/relay.h"

#define CONSOLE_CREDIT (64u << 10) // bytes of input that a client may have under way

struct console {
    struct relay *relay;
    uint32_t credit; // that the client has left
    void (*on_resize)(void *arg, uint16_t columns, uint16_t rows);
    void *arg;
};

// The relay is made: the client is told how much it may send. 0 or -ENOMEM.
int console_start(struct console *c);
const char *console_pass(struct console *c, enum relay_from from, struct evbuffer *in, struct evbuffer *out);
