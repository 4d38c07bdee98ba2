// envvm's control socket (SOCK_SEQPACKET, descriptor 3 of envvm): one datagram per message, descriptors by SCM_RIGHTS.
// envpriv sends CONFIG, then the other end is envd's. envvm trusts the host; the host trusts nothing that envvm says.
//
// A datagram is: u16 type, u16 zero, payload.
//
//   type     direction     payload, descriptors
//   CONFIG   envpriv>envvm see struct vmctl_config; descriptors in this order:
//                            cell:  /dev/kvm, tap, kernel, program, log, [archive]
//                            linux: /dev/kvm, tap, kernel, log, [initrd], then of each disk its file, or, of an overlay,
//                                   the image and the overlay
//   QUERY    envd>envvm    empty; envvm answers with its present STATE and LOG
//   QUIT     envd>envvm    empty; the VM ends at once, state exited, reason "stopped by the host"
//   STATE    envvm>envd    u8 state (enum vmctl_state), u8 cause (enum vmctl_cause), i32 code, str reason.
//                          Sent on every change and as the answer to QUERY; after EXITED or FAILED envvm ends
//   STREAM   envvm>envd    u32 guest port, u32 host port; one descriptor: a SOCK_STREAM socket that is the guest's vsock
//                          connection. The guest connected; closing the descriptor resets its connection
//   LOG      envvm>envd    u64 total: bytes ever written to the log ring (logring.h). A hint, coalesced
//   PAUSE    envd>envvm    empty; vCPUs and devices stand still, then STATE says paused
//   RESUME   envd>envvm    empty; they go on, then STATE says running
//   CONSOLE  envd>envvm    empty; asks for the live console
//            envvm>envd    empty; one descriptor: a SOCK_STREAM socket, raw bytes both ways, output from now on. There is
//                          one at a time: a newer one ends the older. Without the descriptor: there is no console to have
//   RESIZE   envd>envvm    u16 columns, u16 rows: the console's size
//   BALLOON  envd>envvm    u32 target in MiB: the guest is asked to make do with this much
//   STATS    envd>envvm    empty; envvm answers STATS_IS
//   STATS_IS envvm>envd    u64 each: struct vmctl_stats in its order
//
// When nobody reads, envvm keeps the newest STATE and LOG, refuses guests' further connections after 16 pending, and
// never blocks.
#pragma once

#include "proto/name.h"
#include "proto/wire.h"

#define VMCTL_VERSION         2
#define VMCTL_FD              3 // in envvm
#define VMCTL_STATM_FD        4 // in envvm: its own /proc/self/statm. Without it, rss_bytes is 0
#define VMCTL_DATAGRAM_MAX    (192u << 10)
#define VMCTL_CONFIG_MAX      (160u << 10)
#define VMCTL_FDS_MAX         21 // linux: kvm, tap, kernel, log, initrd, two of each disk
#define VMCTL_VCPUS_MAX       16
#define VMCTL_DISKS_MAX       8
#define VMCTL_DISK_ID_MAX     20
#define VMCTL_CMDLINE_MAX     2047
#define VMCTL_ARGS_MAX        256          // argv and environment, each
#define VMCTL_ARGS_BYTES_MAX  (128u << 10) // both together, with their NULs
#define VMCTL_REASON_MAX      511
#define VMCTL_MEMORY_MIN_MIB  8
#define VMCTL_MEMORY_MAX_MIB  (3u << 10)   // cells stay below the MMIO hole at 3 GiB
#define VMCTL_LINUX_MEMORY_MIN_MIB 32
#define VMCTL_LINUX_MEMORY_MAX_MIB (1u << 20)

enum vmctl_type {
    VMCTL_CONFIG = 1,
    VMCTL_QUERY = 2,
    VMCTL_QUIT = 3,
    VMCTL_STATE = 4,
    VMCTL_STREAM = 5,
    VMCTL_LOG = 6,
    VMCTL_PAUSE = 7,
    VMCTL_RESUME = 8,
    VMCTL_CONSOLE = 9,
    VMCTL_RESIZE = 10,
    VMCTL_BALLOON = 11,
    VMCTL_STATS = 12,
    VMCTL_STATS_IS = 13,
    VMCTL_TYPE_COUNT
};

enum vmctl_kind {
    VMCTL_KIND_CELL = 0,  // one program on the cell kernel
    VMCTL_KIND_LINUX = 1, // a stock kernel
    VMCTL_KIND_COUNT
};

enum vmctl_state {
    VMCTL_BOOTING = 1, // configured, the vCPU not yet entered
    VMCTL_RUNNING = 2, // the guest runs
    VMCTL_EXITED = 3,  // the guest ended by itself: code is the program's exit status, or QUIT
    VMCTL_FAILED = 4,  // something ended it: reason says what, code is 0
    VMCTL_PAUSED = 5,  // vCPUs and devices stand still
};

// Why a VM failed or ended; the words are in vmctl_cause_name() and end up in the environment's status as `reason.code`.
enum vmctl_cause {
    VMCTL_CAUSE_NONE = 0,
    VMCTL_CAUSE_CONFIG = 1,        // the configuration is not acceptable
    VMCTL_CAUSE_PROGRAM = 2,       // the program is not one that can be loaded
    VMCTL_CAUSE_KVM = 3,           // KVM refused or broke
    VMCTL_CAUSE_MEMORY = 4,        // no memory
    VMCTL_CAUSE_GUEST_FAULT = 5,   // the program faulted: the reason has vector, address and registers
    VMCTL_CAUSE_TRIPLE_FAULT = 6,  // the guest shut itself down
    VMCTL_CAUSE_INTERNAL = 7,      // KVM_EXIT_INTERNAL_ERROR and exits nobody expects
    VMCTL_CAUSE_HOST = 8,          // envvm could not be started in its jail: said by envpriv's child in envvm's place
    VMCTL_CAUSE_POWEROFF = 9,      // linux, with EXITED: the guest powered itself off
    VMCTL_CAUSE_REBOOT = 10,       // linux, with EXITED: the guest asked for a restart
    VMCTL_CAUSE_PANIC = 11,        // the guest's kernel panicked: the reason has its last console line
    VMCTL_CAUSE_HANG = 12,         // the guest stands still for good: no vCPU will ever run again
    VMCTL_CAUSE_COUNT
};

enum vmctl_disk_flag { VMCTL_DISK_READ_ONLY = 1, VMCTL_DISK_OVERLAY = 2 }; // one of them, or none: a raw volume

struct vmctl_disk {
    uint8_t flags;
    struct wire_view id; // at most VMCTL_DISK_ID_MAX bytes: /dev/disk/by-id/virtio-<id>
    uint64_t bytes;      // of a new overlay (an empty file, which envvm makes one): the disk's size, 0 = the image's
    uint64_t requests_per_s, bytes_per_s; // 0 = unlimited
};

struct vmctl_config {
    struct wire_view tenant, name; // for the log and for HELLO texts
    enum vmctl_kind kind;
    uint8_t n_vcpus;               // 1..VMCTL_VCPUS_MAX; a cell has 1
    uint32_t memory_mib;           // VMCTL_MEMORY_MIN_MIB..VMCTL_MEMORY_MAX_MIB, or those of LINUX
    uint8_t mac[6];
    uint32_t ipv4, gateway; // host order; 0 = none
    uint8_t prefix;
    uint32_t log_bytes_per_s; // 0 = unlimited
    uint32_t log_burst_bytes;
    uint64_t net_packets_per_s, net_bits_per_s; // each way; 0 = unlimited
    uint16_t n_args; // at least 1: argv[0]; a linux guest may have none
    struct wire_view args[VMCTL_ARGS_MAX];
    uint16_t n_env; // "KEY=value"
    struct wire_view env[VMCTL_ARGS_MAX];
    // Of VMCTL_KIND_LINUX only.
    struct wire_view cmdline; // words behind envvm's own; at most VMCTL_CMDLINE_MAX bytes, no control characters
    bool has_initrd;
    uint8_t n_disks; // in the order of the guest's: vda, vdb, …
    struct vmctl_disk disks[VMCTL_DISKS_MAX];
};

struct vmctl_stats {
    uint64_t cpu_ns; // of the vCPU threads
    uint64_t rss_bytes; // of the guest's memory: what the host has given so far
    uint64_t guest_memory_bytes, balloon_bytes;
    uint64_t net_rx_bytes, net_rx_packets, net_rx_dropped; // to the guest
    uint64_t net_tx_bytes, net_tx_packets, net_tx_dropped;
    uint64_t disk_reads, disk_writes, disk_read_bytes, disk_write_bytes, disk_flushes; // all disks
    uint64_t disk_errors;     // requests that the host could not fulfil: the guest saw an I/O error
    uint64_t disk_last_errno; // why it could not the last time; 0: there was none
};

struct vmctl_message {
    enum vmctl_type type;
    union {
        struct {
            enum vmctl_state state;
            enum vmctl_cause cause;
            int32_t code;
            struct wire_view reason;
        } state;
        struct {
            uint32_t guest_port, host_port;
        } stream;
        uint64_t log_total;
        struct {
            uint16_t columns, rows;
        } resize;
        uint32_t balloon_target_mib;
        struct vmctl_stats stats;
    };
};

// The config alone (it is what SPAWN carries as vm_config): u16 version, then the fields in the order of the struct;
// args and env are u16 count, then a str each; kind, n_vcpus, has_initrd, n_disks and flags are u8. What is linux's only is
// there for that kind only.
bool vmctl_config_read(const void *data, size_t len, struct vmctl_config *ret, struct wire_error *ret_error);
void vmctl_config_write(struct wire_writer *w, const struct vmctl_config *c);
// Any message but CONFIG, whose payload is a bare vmctl_config.
bool vmctl_read(const void *datagram, size_t len, struct vmctl_message *ret, struct wire_error *ret_error);
void vmctl_write(struct wire_writer *w, const struct vmctl_message *m);
// The type of a datagram, or 0 when it is too short or unknown.
enum vmctl_type vmctl_type_of(const void *datagram, size_t len);
const char *vmctl_state_name(enum vmctl_state s);
const char *vmctl_cause_name(enum vmctl_cause c);
