// See special.h.
#include "fs/special.h"

#include <asm/fcntl.h>
#include <linux/errno.h>

#include "base/kernel.h"
#include "base/random.h"
#include "base/string.h"
#include "drivers/console.h"
#include "drivers/rng.h"
#include "fs/abi.h"
#include "fs/file.h"
#include "fs/tree.h"

static int64_t read_nothing(struct file *file, void *out, size_t n, uint64_t *pos)
{
    (void)file, (void)out, (void)n, (void)pos;
    return 0;
}

static int64_t read_zeros(struct file *file, void *out, size_t n, uint64_t *pos)
{
    (void)file, (void)pos;
    memset(out, 0, n);
    return (int64_t)n;
}

static int64_t read_random(struct file *file, void *out, size_t n, uint64_t *pos)
{
    (void)file, (void)pos;
    rng_request();
    random_bytes(out, n);
    return (int64_t)n;
}

static int64_t write_nowhere(struct file *file, const void *data, size_t n, uint64_t *pos)
{
    (void)file, (void)data, (void)pos;
    return (int64_t)n;
}

static int64_t write_full(struct file *file, const void *data, size_t n, uint64_t *pos)
{
    (void)file, (void)data, (void)n, (void)pos;
    return -ENOSPC;
}

static int64_t write_random(struct file *file, const void *data, size_t n, uint64_t *pos)
{
    (void)file, (void)pos;
    random_stir(data, n);
    return (int64_t)n;
}

static int64_t write_log(struct file *file, const void *data, size_t n, uint64_t *pos)
{
    (void)file, (void)pos;
    console_write(data, n);
    return (int64_t)n;
}

static const struct file_ops empty_ops = {
    .read = read_nothing, .write = write_nowhere, .mode = MODE_CHARACTER | 0666};
static const struct file_ops log_ops = {.write = write_log, .mode = MODE_FIFO | 0600};
static const struct file_ops zero_ops = {
    .read = read_zeros, .write = write_nowhere, .mode = MODE_CHARACTER | 0666};
static const struct file_ops full_ops = {
    .read = read_zeros, .write = write_full, .mode = MODE_CHARACTER | 0666};
static const struct file_ops random_ops = {
    .read = read_random, .write = write_random, .mode = MODE_CHARACTER | 0666};

static const struct file_ops *const device_ops[] = {
    [DEVICE_NULL] = &empty_ops,    [DEVICE_ZERO] = &zero_ops,   [DEVICE_FULL] = &full_ops,
    [DEVICE_RANDOM] = &random_ops, [DEVICE_STDIN] = &empty_ops, [DEVICE_STDOUT] = &log_ops,
    [DEVICE_STDERR] = &log_ops,    [DEVICE_TTY] = NULL,
};

struct file *special_standard_file(size_t n)
{
    static struct file standard[3];
    // A reference is the kernel's, so that they are never freed.
    if (!standard[n].ops)
        standard[n] =
            (struct file){.ops = n ? &log_ops : &empty_ops, .n_refs = 1, .flags = n ? O_WRONLY : O_RDONLY};
    file_ref(&standard[n]);
    return &standard[n];
}

int special_open(struct node *node, uint32_t flags, struct file **ret)
{
    const struct file_ops *ops = node->device < ARRAY_LEN(device_ops) ? device_ops[node->device] : NULL;
    if (!ops)
        return -ENXIO;
    struct file *file = file_new(ops, flags, node, NULL);
    if (!file)
        return -ENOMEM;
    *ret = file;
    return 0;
}
