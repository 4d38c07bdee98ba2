// A session with a guest: a connection to envd that was upgraded, and frames of proto/session.h on it. Called
// by the verbs exec, console and cp. What comes from it is the guest's: frames are checked, their content is
// not trusted.
#pragma once

#include <jansson.h>

#include "cli.h"
#include "proto/session.h"

struct channel;

// POSTs body (stolen; NULL: none) to path and waits for the upgrade. 0, or a cli exit code with cli->err set.
int channel_open(struct cli *cli, const char *path, json_t *body, struct channel **ret);
void channel_free(struct channel *c); // accepts NULL

// --- for a loop of one's own: poll channel_fd() for input, and for output while channel_queued() is not 0
// ---

int channel_fd(const struct channel *c);
size_t channel_queued(const struct channel *c);
// Takes in what has come. 0; -EAGAIN: nothing; -EPIPE: the other end has closed; or what recv says.
int channel_fill(struct channel *c);
bool channel_is_full(const struct channel *c); // no room for more input until frames are taken
// 1 and the next frame, valid until the next call; 0: no whole one yet; -EPROTO: what came is no frame.
int channel_next(struct channel *c, struct session_frame *ret);
// Queues a frame and sends what can be sent. At most CHANNEL_QUEUE_MAX may be queued before. 0 or -errno.
int channel_send(struct channel *c, const struct session_frame *f);
int channel_flush(struct channel *c);
#define CHANNEL_QUEUE_MAX 65536u

// --- for one step after the other ---

// Waits for the next frame. An ERROR frame, the end and garbage become the failure: what is what was wanted.
// 0 or a cli exit code.
int channel_expect(struct cli *cli, struct channel *c, const char *what, struct session_frame *ret);
// Sends, waiting while the guest does not take it; a frame that comes meanwhile stays to be read. 0 or a cli
// exit code.
int channel_push(struct cli *cli, struct channel *c, const char *what, const struct session_frame *f);
// The failure that an ERROR frame describes.
int channel_explain(struct cli *cli, const char *what, const struct session_frame *f);
// The failure of a connection that ended amid a session.
int channel_lost(struct cli *cli, const char *what);
