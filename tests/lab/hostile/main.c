// A guest that lies, for tests/lab/linux_hostile: it programs its devices' registers itself, checks that each
// lie ends in DEVICE_NEEDS_RESET or in a refused request and that the device comes back from a reset, and
// prints how many did. Then it ends, as its command line says: off (default), triple, halt, loop. Without
// "attack" it only ends.
#include "guest.h"

#define DEVICES_MAX 16u
#define SLEEP_PORT  0x600u
#define SLEEP_S5    0x34u

unsigned n_attacks, n_failed;

void run(void);

void attack_ended(const struct device *d, const char *what, bool as_it_should)
{
    const uint8_t status = device_status(d);
    const bool back = d->id == ID_BLK ? disk_reads(d) : device_start(d, d->queue, d->features);
    n_attacks++;
    if (as_it_should && back)
        return;
    n_failed++;
    print("FAIL ");
    print(d->name);
    print(": ");
    print(what);
    print(as_it_should ? ": does not come back" : ": status ");
    print_number(status);
    print("\n");
}

static void attack_all(void)
{
    struct device devices[DEVICES_MAX];
    const size_t n = devices_find(devices, DEVICES_MAX);
    wild_memory();
    for (size_t i = 0; i < n; i++) {
        const unsigned before = n_attacks;
        attack_registers(&devices[i]);
        attack_queues(&devices[i]);
        attack_rings(&devices[i]);
        attack_by_requests(&devices[i]);
        attack_at_random(&devices[i]);
        device_reset(&devices[i]);
        print_number(n_attacks - before);
        print(" attacks on ");
        print(devices[i].name);
        print("\n");
    }
    wild_ports();
    print("\n"); // the serial port's data register was one of them
    print_number(n);
    print(" devices, ");
    print_number(n_attacks);
    print(" attacks, ");
    print_number(n_failed);
    print(" failed\n");
}

void run(void)
{
    static const struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) no_handlers;
    print("hostile: up\n");
    if (told("attack"))
        attack_all();
    if (told("end=triple"))
        __asm__ volatile("lidt %0\n\tud2" : : "m"(no_handlers));
    if (told("end=halt"))
        for (;;)
            __asm__ volatile("cli\n\thlt");
    if (told("end=loop"))
        for (;;)
            ;
    port_write(SLEEP_PORT, SLEEP_S5);
}
