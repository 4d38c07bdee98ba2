// The hostile guest's own small world: freestanding, 64-bit, one vCPU, memory mapped one to one, interrupts
// off. Shared by its files; what it does is in main.c.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEMORY_BYTES (64ull << 20) // what the story gives it
#define MMIO_GPA     0xd0000000ull
#define HOLE_GPA     0xc0000000ull
#define APIC_GPA     0xfee00000ull
#define HIGH_GPA     0x100000000ull // there is no memory from here on

// ---- machine.c ----

uint32_t mmio_read(uint64_t gpa);
void mmio_write(uint64_t gpa, uint32_t value);
void port_write(uint16_t port, uint8_t value);
void print(const char *text);
void print_number(uint64_t n);
// True when the kernel command line has the word.
bool told(const char *word);
uint32_t draw(void); // a pseudo-random number; the same ones in every run
void wild_ports(void);
void wild_memory(void);

// ---- virtio.c ----

enum { ID_NET = 1, ID_BLK = 2, ID_CONSOLE = 3, ID_RNG = 4, ID_BALLOON = 5, ID_VSOCK = 19 };
enum { REG_QUEUE_SEL = 0x30, REG_QUEUE_SIZE = 0x38, REG_READY = 0x44, REG_NOTIFY = 0x50, REG_STATUS = 0x70 };
enum { REG_DESC = 0x80, REG_AVAIL = 0x90, REG_USED = 0xa0 };
enum { STATUS_ACK = 1, STATUS_DRIVER = 2, STATUS_OK = 4, STATUS_FEATURES_OK = 8, STATUS_NEEDS_RESET = 64 };
enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 };

#define QUEUE_SIZE       64u
#define TABLE_SIZE       100u
#define FEATURE_INDIRECT (1ull << 28)
#define FEATURE_VERSION  (1ull << 32)
#define BUFFER_BYTES     65536u

struct desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
};

struct avail {
    uint16_t flags, idx, ring[QUEUE_SIZE], used_event;
};

struct used {
    uint16_t flags, idx;
    struct {
        uint32_t id, len;
    } ring[QUEUE_SIZE];
    uint16_t avail_event;
};

// One queue's rings at a time, and what it names.
struct rings {
    struct desc desc[QUEUE_SIZE];
    struct avail avail __attribute__((aligned(4096)));
    struct used used __attribute__((aligned(4096)));
} __attribute__((aligned(4096)));

extern struct rings rings;
extern struct desc table[TABLE_SIZE]; // an indirect one
extern uint8_t buffer[BUFFER_BYTES];

struct device {
    uint64_t gpa;
    uint32_t id;
    uint64_t features; // offered
    unsigned queue;    // where its requests go
    const char *name;
};

// Finds the devices; returns how many.
size_t devices_find(struct device *ret, size_t cap);
uint8_t device_status(const struct device *d);
// True when the device takes a reset.
bool device_reset(const struct device *d);
// From reset to FEATURES_OK. False: it does not come up.
bool device_agree(const struct device *d, uint64_t features);
void queue_place(const struct device *d, unsigned queue, uint32_t size, uint64_t desc, uint64_t avail,
                 uint64_t used);
// From reset to DRIVER_OK, with empty rings on the queue.
bool device_start(const struct device *d, unsigned queue, uint64_t features);
void device_kick(const struct device *d, unsigned queue);
// Makes the chain that starts at descriptor 0 available and kicks.
void device_offer(const struct device *d, unsigned queue);
// Waits, seconds at most.
bool device_breaks(const struct device *d);
bool device_uses(const struct device *d, uint16_t used_idx); // or breaks

// ---- attacks ----

extern unsigned n_attacks, n_failed;
// Counts an attack; prints it when it did not end as it should. Then the device must come back, and a disk
// must read.
void attack_ended(const struct device *d, const char *what, bool as_it_should);

void attack_registers(const struct device *d);
void attack_queues(const struct device *d);
void attack_rings(const struct device *d);
void attack_at_random(const struct device *d);
void attack_by_requests(const struct device *d);
// A well-formed read of the first sector.
bool disk_reads(const struct device *d);
