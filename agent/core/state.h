// The agent's whole state and the calls between its files. Private to agent/core.
//
//   agent.c    the public entry points, settling, the timer
//   link.c     the host link: its states, and what the host's frames do
//   client.c   program connections: their states, and what programs' frames do
//   send.c     messages on their way to the host: receipts, calls that wait for a reply
//   deliver.c  messages from the host: who gets them, credit, ACK and RELEASE
//   window.c   what programs acknowledged or gave back
//   service.c  services registered by programs
//   monitor.c  monitors of other environments
//   machine.c  what the host asks of the guest itself: addresses, sessions, figures, the clock
//   queue.c    bytes in and out
//
// A connection that is to end is only marked (doom), and ends in agent_settle(), which every entry point
// calls last: so no handler pulls the ground from under its caller.
#pragma once

#include "queue.h"

#define OUT_HIGH        (64u << 10)  // a connection with more than this waiting gets no more work
#define DELIVER_HIGH    (256u << 10) // the same for all programs together: the host link waits
#define HELD_MAX        64           // messages for services whose program has no credit
#define HELD_HIGH       (256u << 10)
#define KEPT_HIGH       (1u << 20) // messages without receipt, kept to be sent again: above, programs wait
#define RESEND_MS       30000      // so long they wait for a new link
#define HOLD_MS         10000      // so long a program that takes nothing may keep others waiting
#define STALLED_MAX     16         // services whose messages go back to the host
#define WINDOW_MAX      2048       // acknowledged messages that are remembered
#define WINDOW_HEADS    1024
#define RETURNED_MAX    64 // the same of messages that programs gave back
#define RETURN_MIN_MS   200u
#define RETURN_MAX_MS   30000u
#define OUT_MAX         (AGENT_FRAME_MAX + (1u << 20)) // beyond all legitimate use: the connection ends
#define CONNECT_MS      10000
#define BACKOFF_MIN_MS  100
#define BACKOFF_MAX_MS  5000
#define STALL_MS        10000 // a program that stops in a frame, or does not read while others wait for it
#define MEMORY_RETRY_MS 50
#define CALL_GRACE_MS   1000 // the host decides what is late; this only bounds how long we remember
#define NO_CLIENT       (-1)

// Tags of frames to the host: what kind of request, which slot, and a generation so that a slot's earlier
// answer is known to be none of its present owner's.
enum request_kind { REQUEST_SEND = 1, REQUEST_SERVICE = 2, REQUEST_CLOCK = 3, REQUEST_MONITOR = 4 };

enum link_state { LINK_IDLE, LINK_WAITING, LINK_CONNECTING, LINK_GREETING, LINK_READY, LINK_STATE_COUNT };
enum link_event { LINK_START, LINK_TIMEOUT, LINK_UP, LINK_ACCEPTED, LINK_LOST, LINK_EVENT_COUNT };

enum client_state {
    CLIENT_FREE,
    CLIENT_NEW,     // has not said HELLO
    CLIENT_WAITING, // has, but the host has not answered ours
    CLIENT_READY,
    CLIENT_STATE_COUNT
};

struct link {
    enum link_state state;
    const char *doom; // why it is to end, NULL: it is not
    struct frame_in in;
    struct out_queue out;
    uint64_t deadline_ns; // of CONNECTING and GREETING; of WAITING: when to connect
    uint32_t backoff_ms;
    uint32_t credit; // DELIVER frames the host may still send
};

struct client {
    enum client_state state;
    const char *doom;
    struct frame_in in;
    struct out_queue out;
    uint64_t read_ns, written_ns; // when bytes last moved; read_ns of CLIENT_NEW: when it connected
    uint32_t credit;
    bool clock_asked;
    uint32_t clock_tag, clock_host_tag;
};

struct send {          // a SEND that waits for its RECEIPT
    uint32_t host_tag; // 0: free
    uint32_t tag;
    int client; // NO_CLIENT: it went away
    struct id id;
    bool is_call;
    uint64_t order;      // of its submission
    uint64_t expires_ms; // its envelope's
    uint64_t give_up_ns; // without link: when its outcome is unknown
    struct chunk *kept;  // the frame; NULL: there was no memory to keep it
};

struct call {   // a call that waits for its reply
    int client; // NO_CLIENT: free
    struct id id;
    uint64_t deadline_ns;
};

enum delivery_state { DELIVERY_FREE, DELIVERY_GIVEN, DELIVERY_ACKED, DELIVERY_RELEASED };

struct delivery { // a message that a program has; ACKED and RELEASED: the host cannot be told before the link
                  // is back
    enum delivery_state state;
    int client; // NO_CLIENT: held for a service that nobody serves
    struct id id;
    uint64_t key;   // window_key()
    uint64_t order; // of being delivered
    bool tried;     // its program gave it back, or ended with it in hand
};

struct held {   // a DELIVER frame for a service whose program has no credit
    int client; // NO_CLIENT: nobody serves it
    struct id id;
    struct chunk *chunk;
    char service[NAME_CAP];
};

// A service whose messages go back to the host, to come again later: nobody serves it, or its program takes
// nothing while others wait.
struct stalled {
    uint64_t since_ns; // 0: free
    char service[NAME_CAP];
};

struct returned {
    uint64_t key;
    uint8_t n; // how often; 0: free
};

struct window {
    uint64_t keys[WINDOW_MAX]; // a ring, `at` is next
    uint16_t next[WINDOW_MAX]; // of the same chain: place + 1, 0 at its end
    uint16_t heads[WINDOW_HEADS];
    uint16_t n, at;
    struct returned returned[RETURNED_MAX]; // a ring
    size_t returned_at;
};

enum service_state {
    SERVICE_FREE,
    SERVICE_ASKED,    // the program waits for the host's answer
    SERVICE_HELD,     // registered
    SERVICE_RENEWING, // was registered before the link was lost, asked for again
    SERVICE_LEAVING   // UNREGISTER sent
};

struct service {
    enum service_state state;
    int client; // NO_CLIENT in LEAVING: nobody waits for the answer
    uint32_t tag, host_tag;
    char name[NAME_CAP];
};

enum monitor_state {
    MONITOR_FREE,
    MONITOR_ASKED,    // the program waits for the host's answer
    MONITOR_HELD,     // the host tells
    MONITOR_RENEWING, // did before the link was lost, asked for again
    MONITOR_LEAVING   // UNMONITOR sent
};

struct monitor {
    enum monitor_state state;
    int client; // NO_CLIENT in LEAVING: nobody waits for the answer
    uint32_t tag, host_tag;
    uint8_t told; // of its going: 0 nothing, 1 that it is unknown, 2 that it is certain
    char address[ADDRESS_CAP];
};

struct agent {
    struct memory memory;
    const struct agent_ops *ops;
    void *ctx;
    char software[AGENT_SOFTWARE_MAX + 1];
    struct link link;
    struct client clients[AGENT_CLIENTS_MAX];
    uint64_t busy;         // bit per client: has something to write, or is doomed
    size_t clients_bytes;  // waiting to be written to all of them
    uint32_t credit;       // sum of the clients'
    uint32_t n_deliveries; // used slots
    uint64_t n_delivered;
    uint32_t n_sends;
    size_t kept_bytes; // of sends
    uint64_t n_submitted;
    size_t n_held, held_bytes;
    uint64_t held_full_ns; // since when too much is held and nothing was taken; 0: it is not so
    uint64_t grant_at_ns;  // no credit for the host before; 0: at any time
    int next_client;       // whose turn it is to get a message that anybody may have
    uint32_t generation;
    uint64_t timer_ns, timer_set_ns; // when agent_timer() is wanted; what set_timer was told
    // from HELLO_OK
    char tenant[NAME_CAP], name[NAME_CAP];
    uint32_t body_max;
    uint32_t host_can; // AGENT_CAN_*
    bool clock_known;
    uint64_t clock_offset_ns; // the host's realtime minus our monotonic time
    bool shutting_down;
    struct send sends[AGENT_SENDS_MAX];
    struct call calls[AGENT_CALLS_MAX];
    struct delivery deliveries[AGENT_DELIVERIES_MAX];
    struct held held[HELD_MAX]; // n_held, in order of arrival
    struct stalled stalled[STALLED_MAX];
    uint64_t secret[2];    // of window_key()
    struct window *window; // NULL: nothing was acknowledged yet
    struct service services[AGENT_SERVICES_MAX];
    struct monitor monitors[AGENT_MONITORS_MAX];
};

// agent.c
// Ends what is doomed, gives the host credit, writes what can be written, sets the timer.
void agent_settle(struct agent *a);
uint64_t agent_monotonic(const struct agent *a);
uint64_t agent_realtime(const struct agent *a);
void agent_set_clock(struct agent *a, uint64_t realtime_ns);
// agent_timer() is wanted at this time, or earlier.
void agent_wake_at(struct agent *a, uint64_t monotonic_ns);
void agent_log(struct agent *a, const char *what, const char *detail);
uint32_t agent_make_tag(struct agent *a, enum request_kind kind, size_t slot);
size_t agent_tag_slot(uint32_t tag);
enum request_kind agent_tag_kind(uint32_t tag);
// Longest payload that either side may send now.
uint32_t agent_payload_max(const struct agent *a);

// link.c
void link_event(struct agent *a, enum link_event event);
void link_doom(struct agent *a, const char *why);
void link_close(struct agent *a);
// True when there was something to end.
bool link_finish_doomed(struct agent *a);
void link_push(struct agent *a, const struct agent_frame *f);
void link_forward(struct agent *a, struct frame_in *in);
// A frame that was pushed before, on a link that was lost.
void link_push_again(struct agent *a, struct chunk *frame);
void link_flush(struct agent *a);
void link_expire(struct agent *a, uint64_t now_ns);

// machine.c
// True when the agent has said that it can do this. Frames that need no capability: always.
bool machine_can(const struct agent *a, enum agent_frame_type type);
void machine_configure(struct agent *a, struct frame_in *in, const struct agent_frame *f);
void machine_open(struct agent *a, struct frame_in *in, const struct agent_frame *f);
void machine_stats(struct agent *a, struct frame_in *in, const struct agent_frame *f);
void machine_resumed(struct agent *a, struct frame_in *in, const struct agent_frame *f);

// client.c
struct client *client_ready(struct agent *a, int client);
void client_doom(struct agent *a, int client, const char *why);
void client_doom_ready(struct agent *a, const char *why);
bool client_finish_doomed(struct agent *a);
// Forgets the connection and gives back what it held.
void client_end(struct agent *a, int client);
void client_push(struct agent *a, int client, const struct agent_frame *f);
void client_forward(struct agent *a, int client, struct frame_in *in);
void client_push_chunk(struct agent *a, int client, struct chunk *c);
void client_result(struct agent *a, int client, uint32_t tag, enum receipt_code code, const char *detail);
void client_flush(struct agent *a);
void client_greet_waiting(struct agent *a);
void client_broadcast(struct agent *a, struct frame_in *in);
void client_clock_is(struct agent *a, uint32_t host_tag, uint64_t realtime_ns);
void client_clocks_lost(struct agent *a);
void client_expire(struct agent *a, uint64_t now_ns);

// send.c
void send_submit(struct agent *a, int client, struct frame_in *in, const struct agent_frame *f);
void send_receipt(struct agent *a, struct frame_in *in, const struct agent_frame *f);
void send_reply(struct agent *a, struct frame_in *in, const struct agent_frame *f);
// Sends again what has no receipt.
void send_link_ready(struct agent *a);
void send_link_lost(struct agent *a);
// Forgets every message without receipt, and tells nobody.
void send_forget_all(struct agent *a);
void send_client_gone(struct agent *a, int client);
void send_expire(struct agent *a, uint64_t now_ns);

// deliver.c
void deliver_message(struct agent *a, struct frame_in *in, const struct agent_frame *f);
void deliver_answer(struct agent *a, int client, struct frame_in *in, const struct agent_frame *f);
void deliver_credit(struct agent *a, int client, uint32_t n);
void deliver_grant(struct agent *a);
void deliver_link_ready(struct agent *a);
// What was held for a service that nobody served is the client's now.
void deliver_service_taken(struct agent *a, int client, const char *service);
void deliver_client_gone(struct agent *a, int client);
void deliver_expire(struct agent *a, uint64_t now_ns);

// window.c
void window_init(struct agent *a);
void window_done(struct agent *a);
// What a message is known by: its id and its sender.
uint64_t window_key(const struct agent *a, const struct envelope *e);
bool window_was_acked(struct agent *a, uint64_t key);
void window_acked(struct agent *a, uint64_t key);
// A program gave the message back: in how many ms it may come again. 0: at once, the first time.
uint32_t window_returned(struct agent *a, uint64_t key);

// service.c
void service_register(struct agent *a, int client, struct frame_in *in, const struct agent_frame *f);
void service_unregister(struct agent *a, int client, struct frame_in *in, const struct agent_frame *f);
void service_result(struct agent *a, struct frame_in *in, const struct agent_frame *f);
// The program that registered the service; NO_CLIENT.
int service_owner(const struct agent *a, const char *name);
bool service_is_asked_for(const struct agent *a, const char *name);
bool service_is_owned(const struct agent *a, int client, const char *name);
// The host registers it again, and so delivers at once what was deferred.
void service_recall(struct agent *a, const char *name);
void service_link_ready(struct agent *a);
void service_link_lost(struct agent *a);
void service_client_gone(struct agent *a, int client);

// monitor.c
void monitor_add(struct agent *a, int client, struct frame_in *in, const struct agent_frame *f);
void monitor_remove(struct agent *a, int client, struct frame_in *in, const struct agent_frame *f);
void monitor_result(struct agent *a, struct frame_in *in, const struct agent_frame *f);
void monitor_gone(struct agent *a, struct frame_in *in, const struct agent_frame *f);
void monitor_link_ready(struct agent *a);
void monitor_link_lost(struct agent *a);
void monitor_client_gone(struct agent *a, int client);
