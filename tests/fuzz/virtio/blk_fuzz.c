// Fuzzes block requests (program.h) on an overlay over an image, both in memory. HOST: what & 1: the image is
// cut to n * 64 bytes under the device; else it is restored.
#include "virtio/blk.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "block/overlay.h"
#include "program.h"

#define IMAGE_BYTES 24576u
#define DISK_BYTES  32768u

static int image;

static void host(uint8_t what, const uint8_t *bytes, uint8_t n)
{
    (void)bytes;
    if (ftruncate(image, what & 1 ? (off_t)n * 64 : (off_t)IMAGE_BYTES) < 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct driver driver;
    struct err err;
    struct virtio_blk *blk;
    struct block_backend *disk;
    image = memfd_create("image", MFD_CLOEXEC);
    int file = memfd_create("overlay", MFD_CLOEXEC);
    if (image < 0 || file < 0 || ftruncate(image, IMAGE_BYTES) < 0)
        abort();
    struct block_overlay_options options = {.base_fd = image, .file_fd = file};
    if (block_overlay_format(&options, DISK_BYTES, 0, &err) < 0 ||
        block_overlay_open(&disk, &options, &err) < 0)
        abort();
    driver_init(&driver);
    if (virtio_blk_new(&blk, &driver.machine, &(struct virtio_blk_options){.backend = disk, .id = "fuzz"},
                       &err) < 0)
        abort();
    driver_attach(&driver, virtio_blk_device(blk));
    program_run(&driver, data, size, host);
    virtio_blk_free(blk);
    driver_done(&driver);
    block_close(disk);
    close(file);
    close(image);
    return 0;
}
