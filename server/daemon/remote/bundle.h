// Several messages for one receiver in one AMQP message. Between hosts, what gathers while earlier messages
// wait for their confirms leaves together, as a journal's group does: a broker's work is for each message
// that it is given, hardly for its bytes. Pure: no broker, no clock. Called by lane.c, incoming.c
// and incoming_bundle.c; dead_replay.c tells one.
//
//   The AMQP message: content-type BUNDLE_CONTENT_TYPE, the first part's message-id, user-id our own; its
//   body is the parts, one after the other, each (wire.h) message-id, correlation-id, type, content-type,
//   expiration as str, u8 priority, u64 timestamp, u8 number of headers, name and value of each as str, the
//   body as bytes: what would have been that message's properties and body (amqp_map.h) alone.
//   Exchange, routing key and user-id of the whole are those of each part.
#pragma once

#include "broker/message.h"
#include "proto/wire.h"

#define BUNDLE_CONTENT_TYPE "application/vnd.envd.bundle"
#define BUNDLE_PARTS_MAX    32
#define BUNDLE_BYTES_MAX    (128u << 10) // of several parts; one alone may be longer, and leaves as it is

size_t bundle_part_size(const struct broker_publication *p);
void bundle_part_write(struct wire_writer *w, const struct broker_publication *p);

// Whether a host, which its user-id and the exchange prove, sent several in one.
bool bundle_is(const struct broker_delivery *d);
// The number of parts, or 0: it is none that a host makes.
uint32_t bundle_check(struct broker_text body);
// The next part, with views into what r reads. False: the end, or not well-formed (r->error).
bool bundle_part_read(struct wire_reader *r, struct broker_properties *ret, struct broker_text *ret_body);
