// Two layers from one archive: any bytes give a tree whose counts are right, or a reason.
#include <stdlib.h>

#include "image/layer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void count(const struct tree_node *node, void *arg)
{
    ++*(uint64_t *)arg;
    if (node->inode->children)
        tree_each(node->inode, count, arg);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tree t;
    struct spool s;
    struct err err = {""};
    uint64_t n = 0;
    setenv("TMPDIR", "/dev/shm", 0);
    if (spool_open(&s, 1 << 20, &err) < 0 || tree_open(&t, 1000, &err) < 0)
        abort();
    for (int layer = 0; layer < 2; layer++) {
        struct archive *a;
        if (layer_open_memory(data, size, &a, &err) < 0)
            break;
        t.layer++;
        err.text[0] = '\0';
        if (layer_read(a, true, &t, &s, &err) < 0 && !err.text[0])
            abort();
        archive_read_free(a);
    }
    tree_each(t.root, count, &n);
    if (n != t.n_nodes || n > 1000)
        abort();
    tree_close(&t);
    spool_close(&s);
    return 0;
}
