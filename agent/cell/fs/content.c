// See content.h.
#include "fs/content.h"

#include <linux/errno.h>

#include "base/string.h"
#include "mem/heap.h"
#include "mem/pages.h"

#define FILE_BYTES_MAX (1ull << 40)

static size_t pages_in_files;

int64_t content_read(const struct node *node, uint64_t offset, void *out, size_t n)
{
    if (offset >= node->size_bytes)
        return 0;
    if (n > node->size_bytes - offset)
        n = node->size_bytes - offset;
    if (node->data) {
        memcpy(out, node->data + offset, n);
        return (int64_t)n;
    }
    uint8_t *p = out;
    for (size_t done = 0; done < n;) {
        size_t block = (offset + done) / PAGES_SIZE, within = (offset + done) % PAGES_SIZE;
        size_t part = PAGES_SIZE - within < n - done ? PAGES_SIZE - within : n - done;
        const uint8_t *page = block < node->n_blocks ? node->blocks[block] : NULL;
        if (page)
            memcpy(p + done, page + within, part);
        else
            memset(p + done, 0, part);
        done += part;
    }
    return (int64_t)n;
}

// Makes room for n block pointers.
static int grow_blocks(struct node *node, size_t n)
{
    if (n <= node->n_blocks)
        return 0;
    size_t want = n > node->n_blocks * 2 ? n : node->n_blocks * 2;
    uint8_t **blocks = heap_resize(node->blocks, want * sizeof *blocks);
    if (!blocks)
        return -ENOSPC;
    memset(blocks + node->n_blocks, 0, (want - node->n_blocks) * sizeof *blocks);
    node->blocks = blocks;
    node->n_blocks = want;
    return 0;
}

static uint8_t *block_for_write(struct node *node, size_t block)
{
    if (grow_blocks(node, block + 1) < 0)
        return NULL;
    if (!node->blocks[block] && pages_in_files < pages_total() / 2) {
        node->blocks[block] = (uint8_t *)pages_alloc(1);
        pages_in_files += node->blocks[block] != NULL;
    }
    return node->blocks[block];
}

static int64_t write_blocks(struct node *node, uint64_t offset, const uint8_t *data, size_t n)
{
    size_t done = 0;
    while (done < n) {
        size_t block = (offset + done) / PAGES_SIZE, within = (offset + done) % PAGES_SIZE;
        size_t part = PAGES_SIZE - within < n - done ? PAGES_SIZE - within : n - done;
        uint8_t *page = block_for_write(node, block);
        if (!page)
            break;
        memcpy(page + within, data + done, part);
        done += part;
    }
    return done || !n ? (int64_t)done : -ENOSPC;
}

// Copies the archive's bytes into memory.
static int make_own(struct node *node)
{
    const uint8_t *data = node->data;
    uint64_t size = node->size_bytes;
    if (!data)
        return 0;
    node->data = NULL;
    if (write_blocks(node, 0, data, size) == (int64_t)size)
        return 0;
    content_free(node);
    node->data = data;
    node->size_bytes = size;
    return -ENOSPC;
}

int64_t content_write(struct node *node, uint64_t offset, const void *data, size_t n)
{
    if (offset > FILE_BYTES_MAX || n > FILE_BYTES_MAX - offset)
        return -EFBIG;
    int rc = make_own(node);
    if (rc < 0)
        return rc;
    int64_t done = write_blocks(node, offset, data, n);
    if (done > 0 && offset + (uint64_t)done > node->size_bytes)
        node->size_bytes = offset + (uint64_t)done;
    return done;
}

static void free_blocks_from(struct node *node, size_t first)
{
    for (size_t i = first; i < node->n_blocks; i++) {
        if (!node->blocks[i])
            continue;
        pages_free((uintptr_t)node->blocks[i], 1);
        pages_in_files--;
        node->blocks[i] = NULL;
    }
}

int content_resize(struct node *node, uint64_t size_bytes)
{
    if (size_bytes > FILE_BYTES_MAX)
        return -EFBIG;
    int rc = size_bytes ? make_own(node) : 0;
    if (rc < 0)
        return rc;
    if (size_bytes == 0)
        node->data = NULL;
    if (size_bytes < node->size_bytes) {
        free_blocks_from(node, (size_bytes + PAGES_SIZE - 1) / PAGES_SIZE);
        // What grows back later must read as zeros.
        size_t block = size_bytes / PAGES_SIZE, within = size_bytes % PAGES_SIZE;
        if (within && block < node->n_blocks && node->blocks[block])
            memset(node->blocks[block] + within, 0, PAGES_SIZE - within);
    }
    node->size_bytes = size_bytes;
    return 0;
}

void content_free(struct node *node)
{
    free_blocks_from(node, 0);
    heap_free(node->blocks);
    node->blocks = NULL;
    node->n_blocks = 0;
    node->data = NULL;
    node->size_bytes = 0;
}
