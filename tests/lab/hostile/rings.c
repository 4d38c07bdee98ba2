// The attacks that every device sees: registers, where queues are, what is in them. Called by main.c.
#include "guest.h"

#define ALL_FEATURES (d->features)
#define KICKS        600u
#define RESETS       100u
#define RANDOM_TURNS 40u

// ---- registers ----

static void touch(uint64_t gpa)
{
    const uint64_t value = (uint64_t)draw() << 32 | draw();
    uint64_t ignored;
    switch (draw() % 4) {
    case 0:
        __asm__ volatile("movb %b0, (%1)" : : "r"(value), "r"(gpa) : "memory");
        __asm__ volatile("movb (%1), %b0" : "=r"(ignored) : "r"(gpa) : "memory");
        break;
    case 1:
        __asm__ volatile("movw %w0, (%1)" : : "r"(value), "r"(gpa) : "memory");
        __asm__ volatile("movw (%1), %w0" : "=r"(ignored) : "r"(gpa) : "memory");
        break;
    case 2:
        __asm__ volatile("movl %k0, (%1)" : : "r"(value), "r"(gpa) : "memory");
        __asm__ volatile("movl (%1), %k0" : "=r"(ignored) : "r"(gpa) : "memory");
        break;
    default:
        __asm__ volatile("movq %0, (%1)" : : "r"(value), "r"(gpa) : "memory");
        __asm__ volatile("movq (%1), %0" : "=r"(ignored) : "r"(gpa) : "memory");
        break;
    }
}

void attack_registers(const struct device *d)
{
    static const uint32_t nonsense[] = {0xff,          0xffffffff, STATUS_OK,
                                        STATUS_DRIVER, 0x10,       STATUS_ACK | STATUS_OK};
    for (size_t i = 0; i < sizeof nonsense / sizeof nonsense[0]; i++) {
        device_reset(d);
        mmio_write(d->gpa + REG_STATUS, nonsense[i]);
        attack_ended(d, "a status that no driver writes", device_status(d) & STATUS_NEEDS_RESET);
    }
    // Bits taken back, and features that were never offered.
    const bool ready = device_agree(d, ALL_FEATURES);
    mmio_write(d->gpa + REG_STATUS, STATUS_ACK);
    attack_ended(d, "a status that goes back", ready && (device_status(d) & STATUS_NEEDS_RESET));
    attack_ended(d, "features that were not offered", !device_agree(d, ~0ull));
    attack_ended(d, "no features at all", !device_agree(d, 0));
    for (uint64_t at = 0; at < 0x400; at += 1 + draw() % 4)
        touch(d->gpa + at);
    attack_ended(d, "registers of every width, anywhere", true);
    bool resets = true;
    for (unsigned i = 0; i < RESETS; i++)
        resets &= device_reset(d);
    attack_ended(d, "many resets", resets);
}

// ---- where a queue is ----

static void place_wrongly(const struct device *d, uint64_t gpa)
{
    for (unsigned part = 0; part < 3; part++) {
        const bool agreed = device_agree(d, ALL_FEATURES);
        queue_place(d, d->queue, QUEUE_SIZE, part == 0 ? gpa : (uint64_t)&rings.desc,
                    part == 1 ? gpa : (uint64_t)&rings.avail, part == 2 ? gpa : (uint64_t)&rings.used);
        attack_ended(d, "a queue at a wrong address", agreed && (device_status(d) & STATUS_NEEDS_RESET));
    }
}

void attack_queues(const struct device *d)
{
    static const uint64_t places[] = {MEMORY_BYTES, MEMORY_BYTES - 16, HOLE_GPA,      MMIO_GPA,
                                      APIC_GPA,     HIGH_GPA,          HIGH_GPA - 16, 1ull << 63,
                                      ~0ull - 15,   ~0ull - 4095,      ~0ull,         0x200001};
    static const uint32_t sizes[] = {0, 3, 63, 65, 32768, 65535, 65536, 0xffffffff};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        place_wrongly(d, places[i]);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const bool agreed = device_agree(d, ALL_FEATURES);
        queue_place(d, d->queue, sizes[i], (uint64_t)&rings.desc, (uint64_t)&rings.avail,
                    (uint64_t)&rings.used);
        attack_ended(d, "a queue of a wrong size", agreed && (device_status(d) & STATUS_NEEDS_RESET));
    }
    // A queue that the device does not have, and notifications for what is not there, ready or not.
    const bool agreed = device_agree(d, ALL_FEATURES);
    queue_place(d, 77, QUEUE_SIZE, (uint64_t)&rings.desc, (uint64_t)&rings.avail, (uint64_t)&rings.used);
    attack_ended(d, "a queue that is not there", agreed && mmio_read(d->gpa + REG_READY) == 0);
    const bool started = device_start(d, d->queue, ALL_FEATURES);
    for (unsigned i = 0; i < KICKS; i++)
        device_kick(d, i % 8 == 0 ? draw() : i % 8);
    attack_ended(d, "a storm of notifications", started && !(device_status(d) & STATUS_NEEDS_RESET));
}

// ---- what is in it ----

#define BUFFER ((uint64_t)buffer)
#define TABLE  ((uint64_t)table)

static const struct {
    const char *name;
    struct desc desc[3], table[3];
    uint16_t head, idx; // idx 0: one chain, as it should be
    bool without_indirect;
} lies[] = {
    {"an index that jumps", .idx = 1000},
    {"an index that goes back", .idx = 0xffff},
    {"a head beyond the queue", .head = QUEUE_SIZE},
    {"a head far beyond the queue", .head = 0xffff},
    {"a next beyond the queue", .desc = {{BUFFER, 64, DESC_NEXT, QUEUE_SIZE}}},
    {"a next far beyond the queue", .desc = {{BUFFER, 64, DESC_NEXT, 0xffff}}},
    {"a descriptor that is its own next", .desc = {{BUFFER, 64, DESC_NEXT, 0}}},
    {"a loop of two", .desc = {{BUFFER, 64, DESC_NEXT, 1}, {BUFFER, 64, DESC_NEXT, 0}}},
    {"an empty descriptor", .desc = {{BUFFER, 0, 0, 0}}},
    {"a buffer behind memory", .desc = {{MEMORY_BYTES, 64, 0, 0}}},
    {"a buffer across the end of memory", .desc = {{MEMORY_BYTES - 8, 64, 0, 0}}},
    {"a buffer in the hole", .desc = {{HOLE_GPA, 64, 0, 0}}},
    {"a buffer over the registers", .desc = {{MMIO_GPA, 256, DESC_WRITE, 0}}},
    {"a buffer above 4 GiB", .desc = {{HIGH_GPA, 64, 0, 0}}},
    {"a buffer that wraps around", .desc = {{~0ull - 7, 64, DESC_WRITE, 0}}},
    {"a buffer at the last byte", .desc = {{~0ull, 1, 0, 0}}},
    {"a buffer of 4 GiB", .desc = {{BUFFER, 0xffffffff, 0, 0}}},
    {"a readable buffer behind a writable one",
     .desc = {{BUFFER, 64, DESC_WRITE | DESC_NEXT, 1}, {BUFFER, 64, 0, 0}}},
    {"an indirect table of no length", .desc = {{TABLE, 0, DESC_INDIRECT, 0}}},
    {"an indirect table of a wrong length", .desc = {{TABLE, 15, DESC_INDIRECT, 0}}},
    {"an indirect table of 4 GiB", .desc = {{TABLE, 0xfffffff0, DESC_INDIRECT, 0}}},
    {"an indirect table in the hole", .desc = {{HOLE_GPA, 16, DESC_INDIRECT, 0}}},
    {"an indirect table that wraps around", .desc = {{~0ull - 15, 32, DESC_INDIRECT, 0}}},
    {"an indirect table with a next",
     .desc = {{TABLE, 16, DESC_INDIRECT | DESC_NEXT, 1}, {BUFFER, 64, 0, 0}}},
    {"an indirect table in an indirect table", .desc = {{TABLE, 16, DESC_INDIRECT, 0}},
     .table = {{TABLE, 16, DESC_INDIRECT, 0}}},
    {"an indirect table that loops", .desc = {{TABLE, 48, DESC_INDIRECT, 0}},
     .table = {{BUFFER, 64, DESC_NEXT, 0}}},
    {"an indirect table with a next beyond it", .desc = {{TABLE, 16, DESC_INDIRECT, 0}},
     .table = {{BUFFER, 64, DESC_NEXT, 1}, {BUFFER, 64, 0, 0}}},
    {"an indirect table that was not agreed on", .desc = {{TABLE, 16, DESC_INDIRECT, 0}},
     .table = {{BUFFER, 64, 0, 0}}, .without_indirect = true},
    {"the queue as its own indirect table",
     .desc = {{(uint64_t)&rings, sizeof rings.desc, DESC_INDIRECT, 0}}},
};

void attack_rings(const struct device *d)
{
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        const bool started = device_start(
            d, d->queue, lies[i].without_indirect ? ALL_FEATURES & ~FEATURE_INDIRECT : ALL_FEATURES);
        __builtin_memcpy(rings.desc, lies[i].desc, sizeof lies[i].desc);
        __builtin_memcpy(table, lies[i].table, sizeof lies[i].table);
        rings.avail.ring[0] = lies[i].head;
        rings.avail.idx = lies[i].idx ? lies[i].idx : 1;
        device_kick(d, d->queue);
        attack_ended(d, lies[i].name, started && device_breaks(d));
    }
    // More than 4 GiB in all, of memory that is there.
    const bool started = device_start(d, d->queue, ALL_FEATURES);
    rings.desc[0] = (struct desc){TABLE, sizeof table, DESC_INDIRECT, 0};
    for (uint16_t i = 0; i < TABLE_SIZE; i++)
        table[i] = (struct desc){0, (uint32_t)MEMORY_BYTES, (uint16_t)(i < TABLE_SIZE - 1 ? DESC_NEXT : 0),
                                 (uint16_t)(i + 1)};
    device_offer(d, d->queue);
    attack_ended(d, "a chain of more than 4 GiB", started && device_breaks(d));
}

// ---- at random ----

static uint64_t draw_address(void)
{
    static const uint64_t edges[] = {0x1000,   MEMORY_BYTES - 64, MEMORY_BYTES, HOLE_GPA,
                                     MMIO_GPA, HIGH_GPA,          ~0ull - 63};
    const uint32_t n = draw();
    // Mostly the buffer: nothing but lies would end at the first.
    return n % 8 < 6 ? BUFFER + draw() % 1024 : edges[n / 8 % (sizeof edges / sizeof edges[0])];
}

static struct desc draw_desc(const struct device *d)
{
    static const uint32_t lengths[] = {1, 16, 44, 64, 512, 4096, 65536, 0xffffffff};
    const uint32_t n = draw(), kinds = n % 4 || d->id == ID_CONSOLE ? 4 : 8; // a console's would fill the log
    return (struct desc){draw_address(), lengths[n / 4 % kinds], (uint16_t)(n >> 8 & (n >> 16 & 1 ? 3 : 7)),
                         (uint16_t)(n >> 20 & 63)};
}

// The device may break or serve: it must come back from a reset, at any moment.
void attack_at_random(const struct device *d)
{
    bool ok = true;
    for (unsigned turn = 0; turn < RANDOM_TURNS && ok; turn++) {
        const unsigned queue = draw() % 3 ? d->queue : draw() % 2;
        ok = device_start(d, queue, ALL_FEATURES);
        for (unsigned i = 0; i < QUEUE_SIZE; i++) {
            rings.desc[i] = draw_desc(d);
            table[i] = draw_desc(d);
            rings.avail.ring[i] = (uint16_t)(draw() % 66);
        }
        for (unsigned i = 0; i < 256; i += 4)
            *(volatile uint32_t *)(void *)(buffer + i) = draw() % 4 ? draw() % 8 : draw();
        for (unsigned kicks = 1 + draw() % 4; kicks > 0; kicks--) {
            rings.avail.idx = (uint16_t)(rings.avail.idx + draw() % 24);
            device_kick(d, queue);
        }
    }
    attack_ended(d, "requests at random", ok);
}
