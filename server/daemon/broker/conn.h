// One AMQP connection through rabbitmq-c: opening it within its time-outs, frames in, methods out without
// ever waiting. Called by link.c and by what sends on its connections; one thread.
#pragma once

#include <amqp.h>
#include <amqp_framing.h>

#include "broker/settings.h"
#include "broker/tls.h"

#define CONN_FRAME_MAX 131072
#define CONN_PIECE_MAX 32768 // of a body, in one frame: what can be sent when the socket says it is writable

// Why a connection could not be made, or ended.
struct failure {
    enum broker_state state;
    char why[BROKER_WHY_CAP];
};
__attribute__((format(printf, 3, 4))) void failure_set(struct failure *f, enum broker_state state,
                                                       const char *format, ...);

struct conn {
    amqp_connection_state_t amqp; // NULL: closed
    int fd;
    size_t budget;   // bytes that may go out before the socket is asked again
    bool want_write; // it was asked, and said no
    struct tls_verdict verdict;
    char product[64];
};

// Connects and logs in. Takes at most connect_timeout_ms (plus what the resolver takes) and rpc_timeout_ms.
// 0, or -1 with the failure. purpose: shown by the broker beside our name.
int conn_open(struct conn *c, const struct settings *s, const char *purpose, struct failure *ret);
// Destroys it; orderly: says good-bye first, waiting at most timeout_ms for the answer.
void conn_close(struct conn *c, bool orderly, uint32_t timeout_ms);
// The next frame, if there is one. 1, 0, or -1 with the failure. Valid until conn_release().
int conn_read(struct conn *c, amqp_frame_t *frame, struct failure *ret);
void conn_release(struct conn *c);
// Something was read already that conn_read() would give: the socket does not tell.
bool conn_has_input(const struct conn *c);
// Whether about len bytes can go out without waiting; counted as sent when it says so. Sends of more than
// CONN_PIECE_MAX are to be cut. rabbitmq-c's sends have no time-out, so every send is preceded by this.
bool conn_may_send(struct conn *c, size_t len);
// 0, or -1 with the failure.
int conn_send(struct conn *c, amqp_channel_t channel, amqp_method_number_t method, void *decoded,
              struct failure *ret);
// For the status of any other call of rabbitmq-c.
int conn_check(struct conn *c, int status, struct failure *ret);
// A connection.close that arrived.
void failure_of_close(struct failure *ret, const amqp_connection_close_t *close);
