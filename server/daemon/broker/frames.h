// Assembling messages from frames: deliver, return or get-ok, then a header, then bodies. Pure: no
// connection. One per channel, because frames of several channels come mixed. Called by link.c.
#pragma once

#include "broker/item.h"

struct assembly {
    enum { ASSEMBLY_IDLE, ASSEMBLY_HEADER, ASSEMBLY_BODY } state;
    struct arrival *arrival; // in state BODY
    // What the method said, until the header tells how much memory the whole needs.
    bool is_return, redelivered;
    uint64_t tag, consumer;
    uint8_t exchange_len, key_len;
    char exchange[BROKER_SHORT_MAX], key[BROKER_SHORT_MAX];
};

// Whether a frame is for an assembly: one of the methods above, a header or a body.
bool assembly_wants(const amqp_frame_t *frame);
// Takes one such frame and copies what it needs. *ret: the message when this was its last frame, the caller's
// to free, else NULL. -EPROTO: frames out of order; -ENOMEM.
int assembly_feed(struct assembly *a, const amqp_frame_t *frame, struct arrival **ret);
// Drops what was begun.
void assembly_reset(struct assembly *a);

// Consumer tags are "envd-" and the consumer's number; 0: not one of ours.
#define CONSUMER_TAG_CAP 32
void consumer_tag_make(char tag[CONSUMER_TAG_CAP], uint64_t consumer);
uint64_t consumer_tag_parse(amqp_bytes_t tag);
