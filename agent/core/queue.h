// Bytes in and out of one connection: frames being put together, and frames waiting to be written. Private to
// agent/core. Knows lengths and headers, not what frames mean.
#pragma once

#include "core/agent.h"
#include "proto/agent.h"

// Every frame but a long SEND or DELIVER fits, so only those need memory to be received.
#define SMALL_FRAME_MAX 544u

struct memory {
    const struct agent_ops *ops;
    void *ctx;
    bool starved; // an allocation failed and nothing was freed since
};

struct chunk {
    struct chunk *next; // in the one queue that it waits in
    size_t len, cap;
    unsigned n_refs;
    uint8_t data[];
};

void *memory_get(struct memory *m, size_t size);
void memory_put(struct memory *m, void *p);
// Gives a reference back; c may be NULL.
void chunk_put(struct memory *m, struct chunk *c);

// ---- in ----

struct frame_in {
    size_t have;                // bytes of the frame so far, header included
    struct agent_header header; // valid once have >= AGENT_HEADER_LEN
    struct chunk *big;          // the frame when it is longer than SMALL_FRAME_MAX
    uint8_t small[SMALL_FRAME_MAX];
};

enum intake {
    INTAKE_MORE,   // all that was given is taken, the frame goes on
    INTAKE_WAIT,   // the rest must wait: for memory, or because the frame may not be finished
    INTAKE_HEADER, // the header is complete and sound
    INTAKE_FRAME,  // the frame is complete
    INTAKE_BAD,    // not a header: *ret_what says why
};

// Takes bytes up to the next header's or frame's end; *ret_taken of the n that there are. Unless may_finish,
// the last byte of the header or frame is left: so a frame never completes that cannot be acted upon. A frame
// without payload still goes through INTAKE_HEADER and then, with n = 0, INTAKE_FRAME.
enum intake frame_in_take(struct memory *m, struct frame_in *in, bool may_finish,
                          const uint8_t *untrusted_data, size_t n, size_t *ret_taken, const char **ret_what);
// True when frame_in_take() would take a byte.
bool frame_in_wants(const struct memory *m, const struct frame_in *in, bool may_finish);
// The whole frame, header first.
uint8_t *frame_in_data(struct frame_in *in);
void frame_in_set_tag(struct frame_in *in, uint32_t tag);
// The whole frame as a chunk of its own, which is the caller's; NULL when there is no memory.
struct chunk *frame_in_detach(struct memory *m, struct frame_in *in);
// The same, but the frame stays here too, to be forwarded.
struct chunk *frame_in_share(struct memory *m, struct frame_in *in);
// Frees what was received; the next byte begins a new frame.
void frame_in_reset(struct memory *m, struct frame_in *in);

// ---- out ----

struct out_queue {
    struct chunk *head, *tail;
    size_t head_done; // bytes of head that are written
    size_t bytes;     // still to be written
    size_t bytes_max; // more is refused
    bool blocked;     // the last write was short: wait for *_writable()
};

// Both are false when the queue is full or there is no memory.
bool out_push(struct memory *m, struct out_queue *q, const struct agent_frame *f);
// Moves a received frame: no copy when it is long.
bool out_forward(struct memory *m, struct out_queue *q, struct frame_in *in);
// Takes over a reference to a frame in a chunk that is in no queue. False: refused, it is still the caller's.
bool out_push_chunk(struct out_queue *q, struct chunk *c);
// The bytes to write next; NULL when there are none.
const uint8_t *out_peek(const struct out_queue *q, size_t *ret_len);
void out_written(struct memory *m, struct out_queue *q, size_t n);
void out_clear(struct memory *m, struct out_queue *q);
