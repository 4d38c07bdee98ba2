// Builds the tree at the first look-up: the archive's entries, then what every cell has. An archive that is
// damaged gives what comes before the damage, and a complaint.
#include "base/string.h"
#include "fs/abi.h"
#include "fs/cpio.h"
#include "fs/tree_private.h"

#include "proto/agent.h"

static struct {
    const void *data;
    size_t len;
    const char *error;
} archive;

void tree_init(const void *data, size_t len)
{
    archive.data = data;
    archive.len = len;
    archive.error = NULL;
}

const char *tree_archive_error(void)
{
    return archive.error;
}

// The next component of path from *pos, empty ones and "." skipped. False at the end.
static bool next_part(const char *path, size_t len, size_t *pos, const char **ret, size_t *ret_len)
{
    for (;;) {
        while (*pos < len && path[*pos] == '/')
            ++*pos;
        if (*pos == len)
            return false;
        size_t start = *pos;
        while (*pos < len && path[*pos] != '/')
            ++*pos;
        *ret = path + start;
        *ret_len = *pos - start;
        if (*ret_len != 1 || **ret != '.')
            return true;
    }
}

// The node for path below the root, made with its directories when missing. path must outlive the tree. NULL:
// no memory, or a path that climbs, is too long, or leads through something that is no directory.
static struct node *make_path(const char *path, size_t len, enum node_kind kind, unsigned permissions)
{
    struct node *at = tree_root();
    const char *part = NULL, *next = NULL;
    size_t part_len = 0, next_len = 0, pos = 0;
    bool more = next_part(path, len, &pos, &part, &part_len);
    while (more) {
        more = next_part(path, len, &pos, &next, &next_len);
        if (at->kind != NODE_DIRECTORY || part_len > TREE_NAME_MAX ||
            (part_len == 2 && !memcmp(part, "..", 2)))
            return NULL;
        struct node *child = tree_child(at, part, part_len);
        if (!child)
            child = tree_add(at, part, part_len, more ? NODE_DIRECTORY : kind, more ? 0755 : permissions);
        if (!child)
            return NULL;
        at = child;
        part = next;
        part_len = next_len;
    }
    return at;
}

static bool kind_of_mode(uint32_t mode, enum node_kind *ret)
{
    static const struct {
        uint32_t type;
        enum node_kind kind;
    } kinds[] = {{MODE_DIRECTORY, NODE_DIRECTORY}, {MODE_FILE, NODE_FILE}, {MODE_SYMLINK, NODE_SYMLINK}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if ((mode & MODE_TYPE) == kinds[i].type) {
            *ret = kinds[i].kind;
            return true;
        }
    return false; // devices, FIFOs and sockets of an archive mean nothing here
}

static bool same_file(const struct cpio_entry *a, const struct cpio_entry *b)
{
    return a->ino == b->ino && a->dev_major == b->dev_major && a->dev_minor == b->dev_minor;
}

// newc gives the data of hard links with the last of them; the earlier ones follow one another right before
// it. `first` is the reader before the run's first entry.
static void share_data(struct cpio_reader first, const struct cpio_entry *with_data)
{
    struct cpio_entry e;
    while (cpio_next(&first, &e) == 1 && same_file(&e, with_data)) {
        struct node *node = make_path(e.name, e.name_len, NODE_FILE, e.mode);
        if (node && node->kind == NODE_FILE) {
            node->data = with_data->data;
            node->size_bytes = with_data->size_bytes;
        }
    }
}

static void add_archive(void)
{
    struct cpio_reader r, run_start;
    struct cpio_entry e, previous = {.n_links = 0};
    cpio_reader_init(&r, archive.data, archive.len);
    run_start = r;
    for (;;) {
        struct cpio_reader before = r;
        int rc = cpio_next(&r, &e);
        if (rc < 0)
            archive.error = r.error;
        if (rc <= 0)
            return;
        if (e.n_links < 2 || previous.n_links < 2 || !same_file(&e, &previous))
            run_start = before;
        previous = e;
        enum node_kind kind;
        if (!kind_of_mode(e.mode, &kind))
            continue;
        struct node *node = make_path(e.name, e.name_len, kind, e.mode);
        if (!node) {
            archive.error = "an entry was left out: no memory, or a name that is not below the root";
            continue;
        }
        node->permissions = e.mode & 07777;
        node->mtime_ns = (uint64_t)e.mtime_s * 1000000000u;
        if (node->kind != kind || kind == NODE_DIRECTORY)
            continue;
        node->data = e.data;
        node->size_bytes = e.size_bytes;
        if (kind == NODE_FILE && e.n_links > 1 && e.size_bytes) {
            share_data(run_start, &e);
            previous.n_links = 0;
        }
    }
}

static void add_device(const char *path, enum node_device device)
{
    struct node *node = make_path(path, strlen(path), NODE_DEVICE, 0666);
    if (!node)
        return;
    node->kind = NODE_DEVICE;
    node->device = (uint8_t)device;
}

// The node after n in the tree below top, parents first; NULL at the end.
static struct node *next_below(const struct node *top, struct node *n)
{
    if (n->first)
        return n->first;
    while (n != top && !n->next)
        n = n->parent;
    return n == top ? NULL : n->next;
}

// Everything below a directory of the archive that is to be writable becomes so. Not recursive: an archive
// may be deep.
static void make_writable(struct node *top)
{
    for (struct node *n = top; n; n = next_below(top, n))
        n->writable = true;
}

static void add_writable(const char *path, unsigned permissions)
{
    struct node *node = make_path(path, strlen(path), NODE_DIRECTORY, permissions);
    if (node && node->kind == NODE_DIRECTORY)
        make_writable(node);
}

void tree_build(void)
{
    if (archive.len)
        add_archive();
    add_device("/dev/null", DEVICE_NULL);
    add_device("/dev/zero", DEVICE_ZERO);
    add_device("/dev/full", DEVICE_FULL);
    add_device("/dev/random", DEVICE_RANDOM);
    add_device("/dev/urandom", DEVICE_RANDOM);
    add_device("/dev/stdin", DEVICE_STDIN);
    add_device("/dev/stdout", DEVICE_STDOUT);
    add_device("/dev/stderr", DEVICE_STDERR);
    add_device("/dev/tty", DEVICE_TTY);
    struct node *socket = make_path(AGENT_SOCKET_PATH, strlen(AGENT_SOCKET_PATH), NODE_SOCKET, 0666);
    if (socket)
        socket->kind = NODE_SOCKET;
    add_writable("/tmp", 01777);
    add_writable("/dev/shm", 01777);
    add_writable("/run", 0755);
    make_path("/proc/self", strlen("/proc/self"), NODE_DIRECTORY, 0555);
}
