// A private RabbitMQ (deploy/broker) and peers: links to it that write down what they are told. For the
// stories about server/daemon/broker.
#pragma once

#include "testing.h"

#include <event2/event.h>

#include "broker/broker.h"

#define HARNESS_SKIP  77
#define RECORDED_MAX  200000
#define STORY_TIMEOUT 60

// Starts a broker in a folder of its own with these options of deploy/broker; a host "h1" and a client "c1"
// are made. 0, or HARNESS_SKIP when there is no RabbitMQ here (and says so). ENVD_TEST_BROKER=FOLDER: that
// one runs already and goes on running.
int rig_start(const char *options);
void rig_stop(void); // by pid, and removes the folder
const char *rig_folder(void);
uint16_t rig_port(int node, bool tls);
char *rig_password(const char *user); // the caller's to free
struct event_base *rig_base(void);

// "deploy/broker VERB FOLDER ARGS": waits without the loop, or while the loop runs. Fails the test when it
// fails.
void rig_broker(const char *verb, const char *args);
void rig_broker_meanwhile(const char *verb, const char *args);

struct received {
    uint64_t handle, consumer;
    bool redelivered;
    char id[64], exchange[64], key[64], user[64], header[64];
    size_t len;
    char body[64];
};

struct peer {
    struct broker *broker;
    enum broker_state state;
    char why[BROKER_WHY_CAP];
    size_t n_states, n_ready_queues;
    char ready_queue[256];
    size_t n_deleted_queues;
    char deleted_queue[256];
    size_t n_done, n_by_outcome[BROKER_FORBIDDEN + 1];
    enum broker_outcome last_outcome;
    size_t n_received;
    struct received *received; // the first RECORDED_MAX
    bool ack;                  // each at once
    bool got_end;
    char got_why[BROKER_WHY_CAP];
};

// What a peer of host h1 starts with: loopback, PLAIN, short time-outs.
struct broker_config peer_config(void);
void peer_start(struct peer *p, const struct broker_config *config);
void peer_start_ready(struct peer *p); // as host h1, with the exchanges of mailboxes
void peer_stop(struct peer *p);

// Publishes to exchange "" or "env"; id may be NULL.
void peer_publish(struct peer *p, const char *exchange, const char *key, const char *id, const char *body);
int peer_try_publish(struct peer *p, const struct broker_publication *pub);
struct broker_publication publication(const char *exchange, const char *key, const char *id,
                                      const char *body);
struct broker_text text(const char *s);

// Runs the loop. Each fails the test after seconds.
void run_for(unsigned ms);
void run_until_state(struct peer *p, enum broker_state state, unsigned seconds);
void run_until_at_least(const size_t *counter, size_t n, unsigned seconds);
void run_until_true(bool (*is)(void *arg), void *arg, unsigned seconds, const char *what);
// Declares a queue and waits for it.
void peer_want_queue(struct peer *p, const struct broker_queue *q);
void peer_want_plain_queue(struct peer *p, const char *name);
struct broker_stats peer_stats(struct peer *p);
