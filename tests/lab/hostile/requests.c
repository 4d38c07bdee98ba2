// The attacks on one kind of device each: requests whose rings are right. Called by main.c.
#include "guest.h"

#define CONFIG    0x100u
#define BLK_RO    (1ull << 5)
#define SECTOR    512u
#define HEADER    buffer // of a request
#define DATA      (buffer + 4096)
#define STATUS    (buffer + 256) // of a disk's request
#define UNTOUCHED 0xee

enum { IOERR = 1, UNSUPP = 2, OK = 0, BREAKS = 0x100, ANY };
enum { IN = 0, OUT = 1, FLUSH = 4, GET_ID = 8, DISCARD = 11, ZEROES = 13 };

static void put(void *at, uint64_t value, unsigned bytes)
{
    __builtin_memcpy(at, &value, bytes);
}

static bool start(const struct device *d, unsigned queue)
{
    __builtin_memset(buffer, 0, 8192);
    return device_start(d, queue, d->features);
}

// ---- disks ----

struct request {
    const char *name;
    uint32_t type;
    uint64_t sector;
    uint32_t len; // of the data
    bool writable;
    int ends;
    bool behind; // the sector counts from the disk's end
    struct {
        uint64_t sector;
        uint32_t n, flags;
    } segment;
};

static const struct request requests[] = {
    {"a read behind the disk", IN, 0, SECTOR, true, .ends = IOERR, .behind = true},
    {"a read across the disk's end", IN, ~0ull, 2 * SECTOR, true, .ends = IOERR, .behind = true},
    {"a read from the last sector there could be", IN, ~0ull, SECTOR, true, .ends = IOERR},
    {"a read whose offset overflows", IN, 1ull << 55, SECTOR, true, .ends = IOERR},
    {"a read of half a sector", IN, 0, SECTOR / 2, true, .ends = IOERR},
    {"a read into a readable buffer", IN, 0, SECTOR, false, .ends = IOERR},
    {"a read of no request's type", 0x1234, 0, SECTOR, true, .ends = UNSUPP},
    {"a write behind the disk", OUT, 0, SECTOR, false, .ends = IOERR, .behind = true},
    {"a write whose offset overflows", OUT, (1ull << 55) + 1, SECTOR, false, .ends = IOERR},
    {"a write from a writable buffer", OUT, 0, SECTOR, true, .ends = IOERR},
    {"an id of a wrong size", GET_ID, 0, 19, true, .ends = IOERR},
    {"a discard behind the disk", DISCARD, 0, 16, false, .ends = IOERR, .segment = {~0ull >> 9, 8, 0}},
    {"a discard of nothing", DISCARD, 0, 16, false, .ends = IOERR, .segment = {0, 0, 0}},
    {"a discard of all there could be", DISCARD, 0, 16, false, .ends = IOERR, .segment = {0, 0xffffffff, 0}},
    {"a discard with flags", DISCARD, 0, 16, false, .ends = UNSUPP, .segment = {0, 1, 0xff}},
    {"a discard of half a range", DISCARD, 0, 8, false, .ends = IOERR, .segment = {0, 1, 0}},
    {"zeroes behind the disk", ZEROES, 0, 16, false, .ends = IOERR, .segment = {1ull << 54, 8, 1}},
    {"a flush with data", FLUSH, 0, SECTOR, true, .ends = IOERR},
};

// What a disk answers where it is read-only or lacks the verb.
static bool as_expected(const struct device *d, const struct request *r, uint8_t status)
{
    const bool lacks = (d->features & BLK_RO) && r->type != IN && r->type != GET_ID;
    return status == r->ends || (lacks && (status == IOERR || status == UNSUPP));
}

static void lay_out(const struct device *d, const struct request *r)
{
    const uint64_t capacity = mmio_read(d->gpa + CONFIG) | (uint64_t)mmio_read(d->gpa + CONFIG + 4) << 32;
    put(HEADER, r->type, 4);
    put(HEADER + 8, r->behind ? capacity + r->sector : r->sector, 8);
    __builtin_memcpy(DATA, &r->segment, sizeof r->segment);
    *STATUS = UNTOUCHED;
    rings.desc[0] = (struct desc){(uint64_t)HEADER, 16, DESC_NEXT, 1};
    rings.desc[1] =
        (struct desc){(uint64_t)DATA, r->len, (uint16_t)(DESC_NEXT | (r->writable ? DESC_WRITE : 0)), 2};
    rings.desc[2] = (struct desc){(uint64_t)STATUS, 1, DESC_WRITE, 0};
}

bool disk_reads(const struct device *d)
{
    static const struct request honest = {"a read", IN, 0, SECTOR, true, .ends = OK};
    if (!start(d, 0))
        return false;
    lay_out(d, &honest);
    device_offer(d, 0);
    return device_uses(d, 1) && __atomic_load_n(STATUS, __ATOMIC_ACQUIRE) == OK;
}

static void attack_framing(const struct device *d)
{
    static const struct {
        const char *name;
        struct desc desc[2];
    } frames[] = {
        {"a request shorter than its header",
         {{(uint64_t)HEADER, 15, DESC_NEXT, 1}, {(uint64_t)STATUS, 1, DESC_WRITE, 0}}},
        {"a request without a status", {{(uint64_t)HEADER, 16, 0, 0}}},
        {"a request that is only writable", {{(uint64_t)HEADER, 16, DESC_WRITE, 0}}},
    };
    for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++) {
        const bool started = start(d, 0);
        __builtin_memcpy(rings.desc, frames[i].desc, sizeof frames[i].desc);
        device_offer(d, 0);
        attack_ended(d, frames[i].name, started && device_breaks(d));
    }
}

// What a read puts over its own queue, header and status, the device must not care about.
static void attack_own_queue(const struct device *d)
{
    const uint64_t places[] = {(uint64_t)&rings.desc, (uint64_t)&rings.avail, (uint64_t)&rings.used,
                               (uint64_t)HEADER};
    static const struct request read = {"", IN, 0, 4096, true, .ends = OK};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        const bool started = start(d, 0);
        lay_out(d, &read);
        rings.desc[1].addr = places[i] & ~4095ull;
        rings.desc[1].len = 4096;
        device_offer(d, 0);
        for (unsigned n = 0; n < 200; n++)
            device_kick(d, 0);
        attack_ended(d, "a read over its own queue", started);
    }
}

// Resets while requests are on their way; the buffers are the guest's again at once.
static void attack_in_flight(const struct device *d)
{
    static const struct request read = {"", IN, 0, 32768, true, .ends = OK};
    bool ok = true;
    for (unsigned turn = 0; turn < 20 && ok; turn++) {
        ok = start(d, 0);
        lay_out(d, &read);
        rings.avail.idx = (uint16_t)(QUEUE_SIZE - 1); // the same chain again and again
        device_kick(d, 0);
        for (uint32_t i = draw() % 8; i > 0; i--)
            (void)device_status(d);
        ok &= device_reset(d);
    }
    attack_ended(d, "resets while requests run", ok);
}

static void attack_disk(const struct device *d)
{
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        const bool started = start(d, 0);
        lay_out(d, &requests[i]);
        device_offer(d, 0);
        const bool used = device_uses(d, 1);
        attack_ended(d, requests[i].name,
                     started && used &&
                         as_expected(d, &requests[i], __atomic_load_n(STATUS, __ATOMIC_ACQUIRE)));
    }
    attack_framing(d);
    attack_own_queue(d);
    attack_in_flight(d);
}

// ---- one request of the driver's bytes ----

static void send(const struct device *d, const char *name, unsigned queue, struct desc desc, int ends)
{
    rings.desc[0] = desc;
    device_offer(d, queue);
    attack_ended(d, name, ends == BREAKS ? device_breaks(d) : device_uses(d, 1));
}

static void attack_balloon(const struct device *d)
{
    static const uint32_t pages[] = {MEMORY_BYTES / 4096, 0xffffffff, HOLE_GPA / 4096, HIGH_GPA / 4096,
                                     0x80000000};
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        start(d, 0);
        put(HEADER, pages[i], 4);
        send(d, "a page that is not memory", 0, (struct desc){(uint64_t)HEADER, 4, 0, 0}, BREAKS);
    }
    start(d, 0);
    send(d, "half a page number", 0, (struct desc){(uint64_t)HEADER, 6, 0, 0}, BREAKS);
    start(d, 0);
    send(d, "page numbers to be written", 0, (struct desc){(uint64_t)HEADER, 4, DESC_WRITE, 0}, BREAKS);
    start(d, 0);
    put(HEADER, (uint64_t)&rings.used / 4096, 4);
    rings.desc[0] = (struct desc){(uint64_t)HEADER, 4, 0, 0};
    device_offer(d, 0);
    attack_ended(d, "the page of its own queue", true);
    // Reports: a range that is memory, one that is the queue itself, others.
    start(d, 4);
    send(d, "a report of 32 MiB", 4, (struct desc){16u << 20, 32u << 20, DESC_WRITE, 0}, ANY);
    start(d, 4);
    rings.desc[0] = (struct desc){(uint64_t)&rings, sizeof rings, DESC_WRITE, 0};
    device_offer(d, 4);
    attack_ended(d, "a report of its own queue", true);
    start(d, 4);
    send(d, "a report to be read", 4, (struct desc){(uint64_t)DATA, 4096, 0, 0}, BREAKS);
    start(d, 4);
    send(d, "a report of what is not memory", 4, (struct desc){MEMORY_BYTES, 4096, DESC_WRITE, 0}, BREAKS);
    start(d, 4);
    send(d, "a report of the devices", 4, (struct desc){MMIO_GPA, 4096, DESC_WRITE, 0}, BREAKS);
}

// struct virtio_net_hdr_v1, then a frame that is IPv4 and TCP when `tcp`.
static void attack_net(const struct device *d)
{
    static const struct {
        const char *name;
        uint8_t flags, gso_type;
        uint16_t hdr_len, gso_size, csum_start, csum_offset;
        uint32_t len;
        int ends;
    } frames[] = {
        {"a checksum behind the frame", 1, 0, 0, 0, 0xffff, 0xffff, 76, ANY},
        {"a checksum over the addresses", 1, 0, 0, 0, 14, 2, 76, ANY},
        {"a checksum whose place overflows", 1, 0, 0, 0, 0xfffe, 4, 76, ANY},
        {"segments of one byte", 1, 1, 54, 1, 34, 16, 60000, ANY},
        {"segments of no bytes", 1, 1, 54, 0, 34, 16, 60000, ANY},
        {"segments of no known type", 1, 0x7f, 54, 1400, 34, 16, 60000, ANY},
        {"segments of the other protocol", 1, 4, 54, 1400, 34, 16, 60000, ANY},
        {"a header longer than the frame", 1, 1, 0xffff, 1400, 34, 16, 3000, ANY},
        {"flags that nobody knows", 0xfe, 0, 0, 0, 0, 0, 76, ANY},
        {"a frame of one byte", 0, 0, 0, 0, 0, 0, 13, ANY},
        {"a frame longer than any", 0, 0, 0, 0, 0, 0, 65500, ANY},
        {"a frame shorter than its header", 0, 0, 0, 0, 0, 0, 11, BREAKS},
    };
    static const uint8_t tcp[] = {2, 0, 0,    0, 0, 1,  2, 0, 0, 0, 0,  2,
                                  8, 0, 0x45, 0, 0, 60, 0, 0, 0, 0, 64, 6};
    for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++) {
        start(d, 1);
        HEADER[0] = frames[i].flags;
        HEADER[1] = frames[i].gso_type;
        __builtin_memcpy(HEADER + 2, &frames[i].hdr_len, 8);
        __builtin_memcpy(HEADER + 12, tcp, sizeof tcp);
        HEADER[12 + 14 + 20 + 12] = 0x50; // a TCP header of 20 bytes
        send(d, frames[i].name, 1, (struct desc){(uint64_t)HEADER, frames[i].len, 0, 0}, frames[i].ends);
    }
    start(d, 1);
    send(d, "a frame to be written", 1, (struct desc){(uint64_t)HEADER, 100, DESC_WRITE, 0}, BREAKS);
}

// struct virtio_vsock_hdr: u64 cids, u32 ports, u32 len, u16 type, u16 op, u32 flags, buf_alloc, fwd_cnt.
static void attack_vsock(const struct device *d)
{
    static const struct {
        const char *name;
        uint64_t from, to;
        uint32_t from_port, to_port, len;
        uint16_t type, op;
        uint32_t flags, room, taken;
        uint32_t bytes;
        int ends;
    } packets[] = {
        {"a length that is not there", 3, 2, 1, 1024, 0xffffffff, 1, 5, 0, 4096, 0, 44, ANY},
        {"a length longer than the packet", 3, 2, 1, 1024, 100, 1, 1, 0, 4096, 0, 60, ANY},
        {"no known type", 3, 2, 1, 1024, 0, 0xffff, 1, 0, 4096, 0, 44, ANY},
        {"no known operation", 3, 2, 1, 1024, 0, 1, 0xffff, 0, 4096, 0, 44, ANY},
        {"another guest's address", 99, 2, 1, 1024, 0, 1, 1, 0, 4096, 0, 44, ANY},
        {"another host's address", 3, 0xffffffffffffffff, 1, 1024, 0, 1, 1, 0, 4096, 0, 44, ANY},
        {"data on no connection", 3, 2, 7, 7, 16, 1, 5, 0, 4096, 0, 60, ANY},
        {"credit that was not given", 3, 2, 7, 7, 0, 1, 6, 0, 0, 0xffffffff, 44, ANY},
        {"the end of no connection", 3, 2, 7, 7, 0, 1, 4, 0xffffffff, 0, 0, 44, ANY},
        {"a packet shorter than its header", 3, 2, 1, 1024, 0, 1, 1, 0, 4096, 0, 43, BREAKS},
    };
    for (size_t i = 0; i < sizeof packets / sizeof packets[0]; i++) {
        start(d, 1);
        __builtin_memcpy(HEADER, &packets[i].from, 44); // as laid out above, up to `taken`
        send(d, packets[i].name, 1, (struct desc){(uint64_t)HEADER, packets[i].bytes, 0, 0}, packets[i].ends);
    }
    start(d, 1);
    __builtin_memcpy(HEADER, &packets[7].from, 44);
    put(HEADER + 20, 1024, 4);
    put(HEADER + 30, 1, 2);
    send(d, "a connection that takes nothing", 1, (struct desc){(uint64_t)HEADER, 44, 0, 0}, ANY);
}

static void attack_rng(const struct device *d)
{
    const uint64_t places[] = {(uint64_t)&rings.desc, (uint64_t)&rings.avail, (uint64_t)&rings.used};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        start(d, 0);
        rings.desc[0] = (struct desc){places[i], 64, DESC_WRITE, 0};
        device_offer(d, 0);
        for (unsigned n = 0; n < 200; n++)
            device_kick(d, 0);
        attack_ended(d, "random numbers over its own queue", true);
    }
    start(d, 0);
    rings.desc[0] = (struct desc){16u << 20, 32u << 20, DESC_WRITE, 0};
    device_offer(d, 0);
    attack_ended(d, "32 MiB of random numbers", true);
}

void attack_by_requests(const struct device *d)
{
    static const struct {
        uint32_t id;
        void (*attack)(const struct device *d);
    } kinds[] = {{ID_BLK, attack_disk},
                 {ID_BALLOON, attack_balloon},
                 {ID_NET, attack_net},
                 {ID_VSOCK, attack_vsock},
                 {ID_RNG, attack_rng}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (kinds[i].id == d->id)
            kinds[i].attack(d);
}
