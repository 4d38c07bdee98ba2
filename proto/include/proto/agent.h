// The agent protocol: frames between a program and its agent (AF_UNIX stream, AGENT_SOCKET_PATH, in a Linux guest and in
// a cell alike) and between the agent and the host (vsock stream to AGENT_VSOCK_PORT of CID 2). Freestanding.
//
// A frame is a 12-byte header and a payload:
//
//     0      4      6      8     12
//     | len  | type | zero | tag | payload (len bytes)
//       u32    u16    u16    u32
//
// len is at most AGENT_FRAME_MAX. The requester chooses tag; an answer carries the same tag; unsolicited frames have tag
// 0. Anything malformed, out of direction or out of order ends the connection: there is no resynchronisation.
//
//   type          direction                  payload                                    answer
//   HELLO         program>agent, agent>host  u16 min, u16 max version, u32 capabilities, str software   HELLO_OK|REJECT
//   HELLO_OK      agent>program, host>agent  u16 version, u32 capabilities, str tenant, str name,
//                                            u32 body_max, u64 realtime_ns
//   REJECT        agent>program, host>agent  str reason; then the connection closes
//   SEND          program>agent>host         envelope                                   RECEIPT
//   RECEIPT       host>agent>program         u8 code (receipt.h), id, str detail
//   DELIVER       host>agent>program         envelope (from is true: the host set it)   ACK or RELEASE, by id
//   ACK           program>agent>host         id: processed, never deliver it again
//   RELEASE       program>agent>host         id: not processed, deliver it again (agent: its program went away)
//   CREDIT        program>agent>host         u32 n: n more DELIVER frames are welcome; a sender of DELIVER never exceeds
//                                            the sum. Replies to one's own calls need no credit, and the agent
//                                            acknowledges them: an ACK from the program is ignored
//   REGISTER      program>agent>host         str service                                RESULT
//   UNREGISTER    program>agent>host         str service                                RESULT
//   RESULT        host>agent>program         u8 code (receipt.h), str detail
//   CLOCK         program>agent>host         empty                                      CLOCK_IS
//   CLOCK_IS      host>agent>program         u64 realtime_ns
//   SHUTDOWN      host>agent>program         u32 grace_ms, str reason: finish and exit
//   PING          host>agent                 empty                                      PONG, same tag
//   PONG          agent>host                 empty
//   CONFIGURE     host>agent                 str host name, u32 ipv4, u8 prefix, u32 gateway, u16 mtu,
//                                            6 bytes mac: set up the NIC that has it, now or when it appears    RESULT
//   OPEN          host>agent                 id token, u8 kind: open a session's stream, see ATTACH             RESULT
//   ATTACH        agent>host                 id token
//   STATS         host>agent                 empty                                      STATS_IS
//   STATS_IS      agent>host                 u64 mem_total, mem_available, swap_used, disk_total, disk_free (of /),
//                                            u32 load1_milli, u32 processes, u64 uptime_ns
//   RESUMED       host>agent                 u64 realtime_ns: the machine stood still; set the clock
//   MONITOR       program>agent>host         str address of an environment: tell when it goes away       RESULT
//   UNMONITOR     program>agent>host         str address, as in MONITOR                                  RESULT
//   GONE          host>agent>program         str address, as in MONITOR, u8 certainty, str reason. With MONITOR's tag: it
//                                            was away when that came, or went since the agent asked before; else tag 0
//   DEFER         agent>host                 id, u32 delay_ms, u8 tried: RELEASE, but not to be delivered again before;
//                                            not tried (0): nobody serves it, which is not the message's fault
//
// What an agent can beyond messages it says by capability bits in its HELLO to the host: CONFIGURE, OPEN, STATS and
// RESUMED go only to agents with their bit. A host answers ATTACH by no frame of this protocol: after OPEN the agent
// connects another vsock stream to AGENT_VSOCK_PORT whose first frame, instead of HELLO, is ATTACH with OPEN's token;
// everything after it is proto/session.h.
//
// What a host, and so an agent, can for the other side it says by capability bits in HELLO_OK: MONITOR and UNMONITOR go
// only to hosts and agents with AGENT_CAN_MONITOR, DEFER only to hosts with AGENT_CAN_DEFER. A monitor stands until
// UNMONITOR or its program's end and tells of every time that the environment goes away; the agent asks for it again
// when it has a new link. Deferred messages are delivered at once when the agent registers a service.
//
// At least once, and not twice: after a lost link the host delivers again what was not acknowledged. The agent drops what
// a program still has, and acknowledges at once what one has acknowledged: a message is its id and its sender. SENDs
// whose RECEIPT was lost the agent sends again, in order, with the same ids.
//
// HELLO is the first frame in its direction, HELLO_OK or REJECT the first in the other. A connection that says nothing
// for AGENT_HELLO_TIMEOUT_MS is closed.
#pragma once

#include "proto/envelope.h"
#include "proto/receipt.h"

#define AGENT_VERSION          1
#define AGENT_SOCKET_PATH      "/run/env/agent.sock"
#define AGENT_VSOCK_HOST_CID   2u
#define AGENT_VSOCK_GUEST_CID  3u
#define AGENT_VSOCK_PORT       1024u
#define AGENT_HEADER_LEN       12
#define AGENT_FRAME_MAX        (ENVELOPE_BODY_MAX + ENVELOPE_OVERHEAD_MAX)
#define AGENT_HELLO_TIMEOUT_MS 5000
#define AGENT_CREDIT_MAX       (1u << 20) // a sum above this is a protocol error
#define AGENT_SOFTWARE_MAX     63
#define AGENT_REASON_MAX       255 // of GONE
#define AGENT_DEFER_MAX_MS     (3600u * 1000)
#define AGENT_DETAIL_MAX       511

// Capability bits in an agent's HELLO to its host.
#define AGENT_CAP_SESSION   1u // OPEN, and so exec and copy
#define AGENT_CAP_CONFIGURE 2u
#define AGENT_CAP_STATS     4u
#define AGENT_CAP_CLOCK     8u // RESUMED; it also sets the guest's clock from HELLO_OK

// Capability bits in HELLO_OK.
#define AGENT_CAN_MONITOR 1u
#define AGENT_CAN_DEFER   2u

// Whether a monitored environment is known to have gone, or its host is not reachable.
enum agent_certainty { AGENT_GONE_CERTAIN = 0, AGENT_GONE_UNKNOWN = 1, AGENT_CERTAINTY_COUNT };

enum agent_session_kind { AGENT_SESSION_EXEC = 0, AGENT_SESSION_COPY = 1, AGENT_SESSION_KIND_COUNT };

enum agent_frame_type {
    AGENT_HELLO = 1,
    AGENT_HELLO_OK = 2,
    AGENT_REJECT = 3,
    AGENT_SEND = 4,
    AGENT_RECEIPT = 5,
    AGENT_DELIVER = 6,
    AGENT_ACK = 7,
    AGENT_RELEASE = 8,
    AGENT_CREDIT = 9,
    AGENT_REGISTER = 10,
    AGENT_UNREGISTER = 11,
    AGENT_RESULT = 12,
    AGENT_CLOCK = 13,
    AGENT_CLOCK_IS = 14,
    AGENT_SHUTDOWN = 15,
    AGENT_PING = 16,
    AGENT_PONG = 17,
    AGENT_CONFIGURE = 18,
    AGENT_OPEN = 19,
    AGENT_ATTACH = 20,
    AGENT_STATS = 21,
    AGENT_STATS_IS = 22,
    AGENT_RESUMED = 23,
    AGENT_MONITOR = 24,
    AGENT_UNMONITOR = 25,
    AGENT_GONE = 26,
    AGENT_DEFER = 27,
    AGENT_FRAME_TYPE_COUNT
};

struct agent_header {
    uint32_t len_bytes;
    enum agent_frame_type type;
    uint32_t tag;
};

struct agent_configure {
    struct wire_view hostname; // a valid name
    uint32_t ipv4;             // host byte order: 10.0.0.2 is 0x0a000002; 0: no address
    uint32_t gateway;          // 0: no default route
    uint8_t prefix;            // 0..32
    uint16_t mtu;              // 0: leave it
    uint8_t mac[6];
};

struct agent_stats {
    uint64_t mem_total, mem_available, swap_used; // bytes
    uint64_t disk_total, disk_free;               // bytes, of the root file system
    uint32_t load1_milli;                         // load average of a minute, in thousandths
    uint32_t processes;
    uint64_t uptime_ns;
};

// One decoded frame. Views point into the payload that was decoded.
struct agent_frame {
    enum agent_frame_type type;
    uint32_t tag;
    union {
        struct {
            uint16_t version_min, version_max;
            uint32_t capabilities;
            struct wire_view software;
        } hello;
        struct {
            uint16_t version;
            uint32_t capabilities;
            struct wire_view tenant, name;
            uint32_t body_max;
            uint64_t realtime_ns;
        } hello_ok;
        struct {
            struct wire_view reason;
        } reject;
        struct envelope envelope; // SEND, DELIVER
        struct {
            enum receipt_code code;
            struct id id; // zero in RESULT
            struct wire_view detail;
        } receipt;    // RECEIPT, RESULT
        struct id id; // ACK, RELEASE
        uint32_t credit;
        struct wire_view service; // REGISTER, UNREGISTER: a valid name
        uint64_t realtime_ns;     // CLOCK_IS, RESUMED
        struct {
            uint32_t grace_ms;
            struct wire_view reason;
        } shutdown;
        struct agent_configure configure;
        struct {
            struct id token;
            enum agent_session_kind kind; // OPEN only
        } session;                        // OPEN, ATTACH
        struct agent_stats stats;         // STATS_IS
        struct wire_view address;         // MONITOR, UNMONITOR: a valid address of an environment
        struct {
            struct wire_view address;
            enum agent_certainty certainty;
            struct wire_view reason;
        } gone;
        struct {
            struct id id;
            uint32_t delay_ms;
            bool tried;
        } defer;
    };
};

// Decodes a header. Returns NULL, or what is wrong with it.
const char *agent_header_read(const uint8_t raw[AGENT_HEADER_LEN], struct agent_header *ret);
// Decodes the payload that belongs to h (h->len_bytes bytes). False with *ret_error filled.
bool agent_frame_read(const struct agent_header *h, const void *payload, struct agent_frame *ret,
                      struct wire_error *ret_error);
// Appends header and payload to w.
void agent_frame_write(struct wire_writer *w, const struct agent_frame *f);
size_t agent_frame_size(const struct agent_frame *f);
const char *agent_frame_type_name(enum agent_frame_type type);
