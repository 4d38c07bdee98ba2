// envd and envpriv: typed requests on a SOCK_SEQPACKET Unix socket, one datagram per message, descriptors by SCM_RIGHTS.
// envpriv trusts nothing it reads here. Hosted only by envd and envpriv.
//
// A datagram is: u16 type, u16 zero, u32 tag, payload. The requester chooses tag, the answer repeats it; events have 0.
//
//   type        direction        payload, descriptors                                            answer
//   HELLO       envd>envpriv     u16 version                                                     HELLO_OK
//   HELLO_OK    envpriv>envd     u16 version, str instance, str kvm ("pvm"|"hw"|"none"), str kvm_detail,
//                                str cgroup ("v1"|"v2"|"none")
//   NET_UP      envd>envpriv     u16 net, u32 gateway, u8 prefix: make the tenant's bridge (idempotent)   OK|FAIL
//   NET_DOWN    envd>envpriv     u16 net: remove it; refused while a VM is on it                          OK|FAIL
//   SPAWN       envd>envpriv     id vm, str tenant, str name, u8 kind, u64 memory_max, u32 cpu_weight,
//                                u32 cpu_percent, u32 pids_max, u16 net, 6 bytes mac, u32 ipv4,
//                                bytes vm_config (vmctl.h, for envvm); descriptors, in this order: of a cell
//                                kernel, program, log[, archive]; of kind linux kernel, log[, initrd], then
//                                the files of its disks                                          SPAWN_OK|FAIL
//   SPAWN_OK    envpriv>envd     id vm, u32 pid, u32 uid; descriptor: the control socket of the VM (vmctl.h)
//   KILL        envd>envpriv     id vm: SIGKILL                                                  OK|FAIL
//   FORGET      envd>envpriv     id vm: the exit was taken note of; drop the record              OK|FAIL
//   LIST        envd>envpriv     empty                                        LIST_ENTRY per VM, then OK
//   LIST_ENTRY  envpriv>envd     id vm, str tenant, str name, u32 pid, u32 uid, u8 exited, i32 wait_status;
//                                descriptor: the control socket, if still open
//   EXITED      envpriv>envd     id vm, i32 wait_status (event; also reported by LIST until FORGET)
//   OK          envpriv>envd     empty
//   FAIL        envpriv>envd     u32 errno, str text: what happened, why, what to try
//
// IPv4 addresses are u32 in host order on the wire (10.0.0.1 = 0x0a000001). `net` is the tenant's network index,
// 0..4095. Link names are made by envpriv: bridge "ev<instance>b<net>", tap "ev<instance>t<slot>".
#pragma once

#include "proto/name.h"
#include "proto/wire.h"

#define PRIVCTL_VERSION      2
#define PRIVCTL_DATAGRAM_MAX (256u << 10)
#define PRIVCTL_FDS_MAX      19
#define PRIVCTL_NET_MAX      4096
#define PRIVCTL_TEXT_MAX     511
#define PRIVCTL_INSTANCE_MAX 4
#define PRIVCTL_CPU_PERCENT_MAX 100000u

enum privctl_type {
    PRIVCTL_HELLO = 1,
    PRIVCTL_HELLO_OK = 2,
    PRIVCTL_NET_UP = 3,
    PRIVCTL_NET_DOWN = 4,
    PRIVCTL_SPAWN = 5,
    PRIVCTL_SPAWN_OK = 6,
    PRIVCTL_KILL = 7,
    PRIVCTL_FORGET = 8,
    PRIVCTL_LIST = 9,
    PRIVCTL_LIST_ENTRY = 10,
    PRIVCTL_EXITED = 11,
    PRIVCTL_OK = 12,
    PRIVCTL_FAIL = 13,
    PRIVCTL_TYPE_COUNT
};

enum privctl_kind { PRIVCTL_KIND_CELL = 0, PRIVCTL_KIND_LINUX = 1, PRIVCTL_KIND_COUNT };

struct privctl_spawn {
    struct id vm;
    char tenant[NAME_CAP];
    char name[NAME_CAP];
    enum privctl_kind kind;
    uint64_t memory_max_bytes; // of guest and monitor together
    uint32_t cpu_weight;       // 1..10000, cgroup v2 meaning
    uint32_t cpu_percent;      // of one CPU, up to PRIVCTL_CPU_PERCENT_MAX; 0: as much as there is
    uint32_t pids_max;
    uint16_t net;
    uint8_t mac[6];
    uint32_t ipv4;
    struct wire_view vm_config;
};

struct privctl_message {
    enum privctl_type type;
    uint32_t tag;
    union {
        uint16_t version; // HELLO
        struct {
            uint16_t version;
            struct wire_view instance, kvm, kvm_detail, cgroup;
        } hello_ok;
        struct {
            uint16_t net;
            uint32_t gateway;
            uint8_t prefix;
        } net; // NET_UP, NET_DOWN (net only)
        struct privctl_spawn spawn;
        struct {
            struct id vm;
            uint32_t pid, uid;
        } spawn_ok;
        struct id vm; // KILL, FORGET
        struct {
            struct id vm;
            char tenant[NAME_CAP];
            char name[NAME_CAP];
            uint32_t pid, uid;
            bool exited;
            int32_t wait_status;
        } entry; // LIST_ENTRY, EXITED (vm and wait_status only)
        struct {
            uint32_t error;
            struct wire_view text;
        } fail;
    };
};

// How many descriptors a message of this type must carry (SPAWN: 2 to 19, by its kind; LIST_ENTRY: 0 or 1).
void privctl_fds_allowed(enum privctl_type type, size_t *ret_min, size_t *ret_max);
// Total decoder: validates names, ranges and that no byte is left over.
bool privctl_read(const void *datagram, size_t len, struct privctl_message *ret, struct wire_error *ret_error);
void privctl_write(struct wire_writer *w, const struct privctl_message *m);
const char *privctl_type_name(enum privctl_type type);
