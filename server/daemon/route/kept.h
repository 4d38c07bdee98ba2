// What the router writes to the journal, as bytes: messages, the keys of those that were seen, reply
// capabilities, failed attempts, dead letters. Pure; durable.c and mailbox_host.c are the users. Records were
// checksummed, but another version of envd may have written them: reading validates.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/siphash.h"
#include "proto/name.h"
#include "proto/wire.h"

enum kept_type {              // on disk: never change
    KEPT_UNDATED_MESSAGE = 1, // of earlier versions
    KEPT_KEYS = 2,
    KEPT_CALL = 3,
    KEPT_DEAD = 4,
    KEPT_HASH_KEY = 5,
    KEPT_MESSAGE = 6,
    KEPT_ATTEMPTS = 7,
    KEPT_ANSWER = 8, // of an operator's call: its id, and the reply's envelope
    KEPT_EPOCH = 9,
    KEPT_QUEUE = 10,
};

#define KEPT_HEAD_CAP  256  // of a message, in front of its envelope
#define KEPT_KEYS_MAX  1024 // in one record
#define KEPT_KEYS_CAP  (KEPT_HEAD_CAP + KEPT_KEYS_MAX * 16)
#define KEPT_CALL_CAP  2048
#define KEPT_SMALL_CAP 32
#define KEPT_QUEUE_CAP 160
#define KEPT_EPOCH_CAP 256
#define KEPT_OWNED_CAP 320

// In one mailbox: whose it is, and the envelope behind.
struct kept_message {
    uint64_t arrived_ms; // 0: not known
    uint64_t dedup_key;
    char tenant[NAME_CAP], name[NAME_CAP];
    const uint8_t *envelope;
    size_t len;
};

enum kept_window { KEPT_WINDOW_MESSAGES, KEPT_WINDOW_REPLIES, KEPT_WINDOWS };

struct kept_key {
    uint64_t key;
    uint64_t arrival; // the seq of the record that it first came with: their order
};

struct kept_keys {
    enum kept_window window;
    char tenant[NAME_CAP], name[NAME_CAP];
    size_t n;
    struct kept_key keys[KEPT_KEYS_MAX];
};

struct kept_call {
    struct id id;
    uint64_t deadline_ms;
    bool far; // the caller is not on this host
    struct address caller, called;
    char callee_tenant[NAME_CAP], callee_name[NAME_CAP]; // empty: not here
    char host[NAME_CAP];
    char reply_to[512], correlation[512]; // empty: none
};

struct kept_dead {
    uint64_t seq; // of the message's record
    uint64_t since_ms;
    uint8_t reason;
};

struct kept_attempts {
    uint64_t seq;              // of the message's record
    uint32_t attempts, deaths; // see mailbox.h
};

// The newest life of a host of which something came by a queue of the broker.
struct kept_epoch {
    char queue[KEPT_QUEUE_CAP];
    char host[NAME_CAP];
    uint64_t epoch;
};

// A queue of the broker that is there for one environment.
struct kept_queue {
    char queue[KEPT_QUEUE_CAP];
    char tenant[NAME_CAP], name[NAME_CAP];
};

// These return the bytes written, 0 when they do not fit.
size_t kept_write_message(uint8_t out[KEPT_HEAD_CAP], const struct kept_message *m); // without the envelope
size_t kept_write_keys(uint8_t out[KEPT_KEYS_CAP], const struct kept_keys *k);
size_t kept_write_call(uint8_t out[KEPT_CALL_CAP], const struct kept_call *c);
size_t kept_write_dead(uint8_t out[KEPT_SMALL_CAP], const struct kept_dead *d);
size_t kept_write_attempts(uint8_t out[KEPT_SMALL_CAP], const struct kept_attempts *a);
size_t kept_write_hash_key(uint8_t out[KEPT_SMALL_CAP], const struct siphash_key *k);
size_t kept_write_epoch(uint8_t out[KEPT_EPOCH_CAP], const struct kept_epoch *e);
size_t kept_write_queue(uint8_t out[KEPT_OWNED_CAP], const struct kept_queue *q);

// type: KEPT_MESSAGE or KEPT_UNDATED_MESSAGE. A view of the envelope.
bool kept_read_message(const void *untrusted, size_t len, enum kept_type type, struct kept_message *ret);
bool kept_read_keys(const void *untrusted, size_t len, struct kept_keys *ret);
bool kept_read_call(const void *untrusted, size_t len, struct kept_call *ret);
bool kept_read_dead(const void *untrusted, size_t len, struct kept_dead *ret);
bool kept_read_attempts(const void *untrusted, size_t len, struct kept_attempts *ret);
bool kept_read_hash_key(const void *untrusted, size_t len, struct siphash_key *ret);
bool kept_read_epoch(const void *untrusted, size_t len, struct kept_epoch *ret);
bool kept_read_queue(const void *untrusted, size_t len, struct kept_queue *ret);
