// Fuzzes balloon requests (program.h). HOST: a new target. Whatever the guest says, a page next to its memory
// stays as it is.
#include "virtio/balloon.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "program.h"

#define GUARD_BYTES 4096u
#define ALL_BYTES   (DRIVER_MEMORY_BYTES + 2 * GUARD_BYTES)
#define MARK        0x5a

static struct virtio_balloon *balloon;

static void host(uint8_t what, const uint8_t *bytes, uint8_t n)
{
    (void)bytes;
    virtio_balloon_set_target(balloon, (uint32_t)what << 8 | n);
}

// Guest memory between two guards, which a wrong discard would clear. Mapped once, returned as zeroes.
static uint8_t *map_guarded(struct driver *driver)
{
    static uint8_t *all;
    if (!all) {
        all = mmap(NULL, ALL_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (all == MAP_FAILED)
            abort();
        memset(all, MARK, GUARD_BYTES);
        memset(all + GUARD_BYTES + DRIVER_MEMORY_BYTES, MARK, GUARD_BYTES);
    }
    if (madvise(all + GUARD_BYTES, DRIVER_MEMORY_BYTES, MADV_DONTNEED) < 0)
        abort();
    driver->memory.hva = all + GUARD_BYTES;
    return all;
}

static void check_guards(const uint8_t *all)
{
    for (size_t i = 0; i < GUARD_BYTES; i++)
        if (all[i] != MARK || all[GUARD_BYTES + DRIVER_MEMORY_BYTES + i] != MARK)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct driver driver;
    struct err err;
    driver_init(&driver);
    uint8_t *const own = driver.memory.hva;
    const uint8_t *all = map_guarded(&driver);
    if (virtio_balloon_new(&balloon, &driver.machine, &err) < 0)
        abort();
    driver_attach(&driver, virtio_balloon_device(balloon));
    program_run(&driver, data, size, host);
    check_guards(all);
    virtio_balloon_free(balloon);
    driver.memory.hva = own;
    driver_done(&driver);
    return 0;
}
