// The way to the host: vsock, or for tests and development a Unix socket. Called by hosting and sessions;
// knows no frames.
#pragma once

#include <stdbool.h>

struct transport {
    bool is_unix;
    char path[108]; // of the Unix socket
};

// "vsock" or "unix:PATH". False when it is neither.
bool transport_parse(const char *text, struct transport *ret);
// Starts to connect: a non-blocking descriptor that becomes writable when it is decided, or -errno.
int transport_connect(const struct transport *t);
// How connecting ended, once the descriptor is writable: 0 or -errno.
int transport_result(int fd);
