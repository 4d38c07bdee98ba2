// The live console: at most one watcher, at the other end of a socket pair, sees what the guest writes from
// now on and types into it. Called by the machine; knows the console device, not who watches.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/loop.h"
#include "virtio/console.h"

struct console_attach;

// Nobody is attached at first. loop and console outlive it; the console's ready callback is its own. 0 or
// -errno. All functions here: I/O thread.
int console_attach_new(struct console_attach **ret, struct loop *loop, struct virtio_console *console,
                       struct err *err);
// The watcher sees the end of the stream. NULL is fine.
void console_attach_free(struct console_attach *attach);
// Makes a socket (SOCK_STREAM, close-on-exec; raw bytes both ways) for a watcher and returns the watcher's
// end, which is the caller's now. Whoever was attached sees the end of the stream. 0, or -errno with the
// older one still attached.
int console_attach_open(struct console_attach *attach, int *ret_fd, struct err *err);
// What the guest wrote, for the watcher if there is one. Never waits and never calls the device, so a console
// sink may call it. What the watcher does not take in time is lost for it, and said where it is missing:
// "[... N bytes not shown]". NULL is fine.
void console_attach_output(struct console_attach *attach, const uint8_t *untrusted_data, size_t len);
