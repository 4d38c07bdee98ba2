// Fuzzes entropy requests (program.h), with a rate limit.
#include "virtio/rng.h"

#include <stdlib.h>

#include "program.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct driver driver;
    struct err err;
    struct virtio_rng *rng;
    driver_init(&driver);
    if (virtio_rng_new(&rng, &driver.machine, 1u << 20, &err) < 0)
        abort();
    driver_attach(&driver, virtio_rng_device(rng));
    program_run(&driver, data, size, NULL);
    virtio_rng_free(rng);
    driver_done(&driver);
    return 0;
}
