// A program that attacks: one attack by name, for some seconds, against its own virtual machine's devices,
// log, network and message link. What the host must do about each is in the script `story` beside this file.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "env/env.h"
#include "rings.h"

enum { DEVICE_NET = 1, DEVICE_CONSOLE = 3, DEVICE_RNG = 4, DEVICE_VSOCK = 19 };

static uint64_t random_state = 88172645463325252ull;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static void fill_random(void *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        ((volatile uint8_t *)data)[i] = (uint8_t)next_random();
}

static double deadline;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

// True until the attack's time is over. Reads the clock page, makes no system call into what was destroyed.
static int go_on(void)
{
    return now() < deadline;
}

static void kick_everything(void)
{
    for (uint32_t d = 0; d < BOOT->n_devices && d < CELL_DEVICES_MAX; d++)
        for (uint32_t q = 0; q < BOOT->devices[d].n_queues && q < CELL_QUEUES_MAX; q++)
            raw_kick((int)d, q);
}

// Random bytes all over every virtqueue.
static void attack_rings(void)
{
    size_t bytes = 0;
    for (uint32_t d = 0; d < BOOT->n_devices && d < CELL_DEVICES_MAX; d++)
        bytes += BOOT->devices[d].n_queues * CELL_QUEUE_STRIDE;
    while (go_on()) {
        fill_random((void *)(uintptr_t)CELL_QUEUES_GPA, bytes);
        kick_everything();
    }
}

// Well-formed rings whose descriptors lie: loops, addresses outside memory, lengths that overflow.
static void attack_descriptors(void)
{
    static const struct raw_desc lies[] = {
        {0, 4096, DESC_NEXT, 64},                    // loop of one
        {UINT64_MAX - 100, 4096, 0, 0},              // sum overflows
        {0xd0000000, 4096, 0, 0},                    // a device's registers
        {1ull << 40, 4096, DESC_WRITE, 0},           // no memory there
        {0x200000, UINT32_MAX, 0, 0},                // longer than memory
        {0x200000, 0, 0, 0},                         // nothing
        {0x200000, 64, DESC_NEXT | DESC_WRITE, 200}, // next outside the table
        {0x1000, 4096, DESC_WRITE, 0},               // the page tables, in the device's hands
    };
    while (go_on())
        for (uint32_t d = 0; d < BOOT->n_devices && d < CELL_DEVICES_MAX; d++)
            for (uint32_t q = 0; q < BOOT->devices[d].n_queues && q < CELL_QUEUES_MAX; q++) {
                volatile struct raw_desc *table = raw_table((int)d, q);
                struct raw_desc lie = lies[next_random() % (sizeof lies / sizeof lies[0])];
                table[64].gpa = lie.gpa;
                table[64].len = lie.len;
                table[64].flags = lie.flags;
                table[64].next = lie.next;
                raw_submit((int)d, q, 64);
            }
}

// Random accesses to the devices' registers, and to where no device is.
static void attack_registers(void)
{
    while (go_on()) {
        uintptr_t at = CELL_MMIO_GPA + (next_random() % ((CELL_DEVICES_MAX + 2) * CELL_MMIO_STRIDE) & ~3u);
        if (next_random() & 1)
            *(volatile uint32_t *)at = (uint32_t)next_random();
        else
            (void)*(volatile uint32_t *)at;
    }
}

// Random bytes over the page that envvm and the kernel share, the clock left alone for our own deadline.
static void attack_shared_page(void)
{
    uint8_t *page = (uint8_t *)(uintptr_t)CELL_SHARED_GPA;
    size_t skip = offsetof(struct cell_shared, pending);
    while (go_on()) {
        fill_random(page + skip, 4096 - skip);
        __asm__ volatile("outl %%eax, $0x60" : : "a"(0)); // the idle port
    }
}

struct vsock_header {
    uint64_t src_cid, dst_cid;
    uint32_t src_port, dst_port, len;
    uint16_t type, op;
    uint32_t flags, buf_alloc, fwd_cnt;
} __attribute__((packed));

// Packets whose every field may lie.
static void attack_vsock(void)
{
    int device = raw_device(DEVICE_VSOCK);
    static uint8_t packet[4096];
    while (go_on()) {
        struct vsock_header *h = (struct vsock_header *)packet;
        fill_random(packet, sizeof packet);
        h->src_cid = 3;
        h->dst_cid = 2;
        h->type = next_random() % 8 ? 1 : (uint16_t)next_random();
        h->op = (uint16_t)(next_random() % 9);
        h->dst_port = next_random() % 2 ? 1024 : (uint32_t)next_random();
        h->src_port = 5000 + (uint32_t)(next_random() % 40);
        h->len = next_random() % 4 ? (uint32_t)(next_random() % 4000) : (uint32_t)next_random();
        raw_send(device, 1, packet, (uint32_t)(next_random() % sizeof packet));
    }
}

// Connections of our own to the host's agent port, on which we talk nonsense.
static void attack_frames(void)
{
    int device = raw_device(DEVICE_VSOCK);
    static struct {
        struct vsock_header h;
        uint8_t data[1024];
    } packet;
    for (uint32_t port = 7000; go_on(); port++) {
        packet.h = (struct vsock_header){.src_cid = 3,
                                         .dst_cid = 2,
                                         .src_port = port,
                                         .dst_port = 1024,
                                         .type = 1,
                                         .op = 1,
                                         .buf_alloc = 65536};
        raw_send(device, 1, &packet, sizeof packet.h);
        usleep(2000);
        packet.h.op = 5;
        packet.h.len = sizeof packet.data;
        for (int i = 0; i < 8; i++) {
            fill_random(packet.data, sizeof packet.data);
            if (i == 0) { // a header that is plausible but for its length
                memset(packet.data, 0, 12);
                packet.data[4] = (uint8_t)(1 + next_random() % 20);
                packet.data[next_random() % 4] = 0x7f;
            }
            raw_send(device, 1, &packet, sizeof packet);
            usleep(500);
        }
    }
}

// Frames with other people's addresses, as fast as the device takes them.
static void attack_network(void)
{
    int device = raw_device(DEVICE_NET);
    static uint8_t frame[32][12 + 600];
    for (unsigned i = 0; go_on(); i++) {
        uint8_t *f = frame[i % 32];
        fill_random(f + 12, sizeof frame[0] - 12);
        if (i % 3 == 0)
            memset(f + 12, 0xff, 6); // broadcast
        f[12 + 12] = 8;
        f[12 + 13] = (uint8_t)(i % 2 ? 0 : 6); // IPv4 or ARP
        raw_send(device, 1, f, 12 + 60 + (uint32_t)(next_random() % 500));
    }
}

static void attack_log(void)
{
    char line[512];
    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = '\n';
    line[10] = 27; // an escape sequence for the reader's terminal
    line[11] = '[';
    while (go_on())
        if (write(1, line, sizeof line) < 0)
            return;
}

// Messages to everybody, faster than anybody reads them.
static void attack_messages(void)
{
    struct env *env;
    if (env_open(&env) < 0)
        return;
    unsigned accepted = 0, refused = 0;
    static char body[4096];
    while (go_on()) {
        struct env_outgoing m = {.to = "calm", .subject = "flood", .body = body, .body_len = sizeof body};
        int rc = env_send(env, &m, NULL);
        if (rc == 0)
            accepted++;
        else
            refused++;
    }
    printf("hostile: %u accepted, %u refused\n", accepted, refused);
    env_close(env);
}

// Agent frames that are none, to our own agent.
static void attack_agent(void)
{
    while (go_on()) {
        struct env *env;
        if (env_open(&env) < 0)
            return;
        uint8_t junk[256];
        fill_random(junk, sizeof junk);
        if (write(env_fd(env), junk, sizeof junk) < 0)
            usleep(1000);
        env_close(env);
    }
}

static void attack_ports(void)
{
    for (uint16_t port = 0; port < 0x400 && go_on(); port++)
        if (port < 0x60 || port >= 0x74)
            __asm__ volatile("outl %%eax, %%dx" : : "a"(0x12345678), "d"(port));
}

static void attack_null(void)
{
    volatile int *nowhere =
        (volatile int *)(next_random() & 0); // hidden from the compiler, which knows better
    *nowhere = 1;                            // NOLINT: a fault is what we want
}

static void attack_page_tables(void)
{
    memset((void *)(uintptr_t)0x1000, 0xff, 4096);
}

static void attack_undefined(void)
{
    __asm__ volatile("ud2");
}

static void attack_halt(void)
{
    __asm__ volatile("hlt");
}

static void attack_kernel_code(void)
{
    fill_random((void *)(uintptr_t)CELL_KERNEL_GPA, 0x10000);
    (void)getppid();
}

static void attack_spin(void)
{
    while (go_on())
        ;
}

static const struct {
    const char *name;
    void (*run)(void);
} attacks[] = {
    {"rings", attack_rings},         {"descriptors", attack_descriptors},
    {"registers", attack_registers}, {"shared", attack_shared_page},
    {"vsock", attack_vsock},         {"frames", attack_frames},
    {"network", attack_network},     {"log", attack_log},
    {"messages", attack_messages},   {"agent", attack_agent},
    {"ports", attack_ports},         {"null", attack_null},
    {"tables", attack_page_tables},  {"undefined", attack_undefined},
    {"halt", attack_halt},           {"kernel", attack_kernel_code},
    {"spin", attack_spin},
};

int main(int argc, char **argv)
{
    double seconds = argc > 2 ? atof(argv[2]) : 1;
    for (size_t i = 0; argc > 1 && i < sizeof attacks / sizeof attacks[0]; i++) {
        if (strcmp(argv[1], attacks[i].name) != 0)
            continue;
        printf("hostile: %s\n", argv[1]);
        fflush(stdout);
        deadline = now() + seconds;
        attacks[i].run();
        printf("hostile: %s is over\n", argv[1]);
        return 0;
    }
    fprintf(stderr, "usage: hostile ATTACK SECONDS\n");
    return 2;
}
