// Owns putting inodes, contents, links, attributes and folders into an open file system. Called by ext4.c.
// Folders are written whole, in one go: their entries are all known, which adding one by one would make
// quadratic.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "image/ext4_internal.h"

#define BLOCK     4096u
#define CHUNK     (1u << 18)
#define FAST_LINK 60
#define LINKS_MAX 65000 // above, a folder's count of links is 1 (dir_nlink)
#define DIR_TAIL  12u   // a block's checksum

// --- numbers ---

struct numbering {
    struct ext4_writer *w;
    errcode_t code;
    ext2_ino_t next;
};

static void number_child(const struct tree_node *node, void *arg)
{
    struct numbering *n = arg;
    struct tree_inode *inode = node->inode;
    if (n->code || inode->number)
        return;
    if (n->next > n->w->fs->super->s_inodes_count) {
        n->code = EXT2_ET_INODE_ALLOC_FAIL;
        return;
    }
    inode->number = n->next++;
    ext2fs_inode_alloc_stats2(n->w->fs, inode->number, +1, S_ISDIR(inode->mode));
    if (S_ISDIR(inode->mode))
        tree_each(inode, number_child, n);
}

// --- one inode ---

static void put_time(uint32_t *seconds, uint32_t *extra, int64_t s, uint32_t ns)
{
    *seconds = (uint32_t)s;
    // Two bits continue the seconds, which are signed; the rest are nanoseconds.
    *extra = (ns << 2) | (uint32_t)(((s - (int32_t)(uint32_t)s) >> 32) & 3);
}

static void put_owner_and_times(const struct tree_inode *from, struct ext2_inode_large *to)
{
    to->i_mode = (uint16_t)from->mode;
    to->i_uid = (uint16_t)from->uid;
    to->i_gid = (uint16_t)from->gid;
    ext2fs_set_i_uid_high(*to, from->uid >> 16);
    ext2fs_set_i_gid_high(*to, from->gid >> 16);
    to->i_extra_isize = sizeof *to - EXT2_GOOD_OLD_INODE_SIZE;
    put_time(&to->i_mtime, &to->i_mtime_extra, from->mtime_s, from->mtime_ns);
    put_time(&to->i_atime, &to->i_atime_extra, from->mtime_s, from->mtime_ns);
    put_time(&to->i_ctime, &to->i_ctime_extra, from->mtime_s, from->mtime_ns);
    put_time(&to->i_crtime, &to->i_crtime_extra, from->mtime_s, from->mtime_ns);
}

static void put_device(const struct tree_inode *from, struct ext2_inode_large *to)
{
    if (from->major < 256 && from->minor < 256)
        to->i_block[0] = from->major * 256 + from->minor;
    else
        to->i_block[1] = (from->minor & 0xff) | (from->major << 8) | ((from->minor & ~0xffu) << 12);
}

// Contents that lie in blocks: made empty here, with an extent tree.
static errcode_t make_inode(struct ext4_writer *w, const struct tree_inode *from, uint64_t size,
                            uint32_t n_links, bool has_blocks)
{
    struct ext2_inode_large inode = {0};
    put_owner_and_times(from, &inode);
    inode.i_links_count = (uint16_t)(n_links > LINKS_MAX ? 1 : n_links);
    ext2fs_inode_size_set(w->fs, (struct ext2_inode *)&inode, size);
    if (S_ISCHR(from->mode) || S_ISBLK(from->mode))
        put_device(from, &inode);
    if (S_ISLNK(from->mode) && !has_blocks)
        memcpy(inode.i_block, from->target, size);
    if (has_blocks) {
        ext2_extent_handle_t handle;
        inode.i_flags |= EXT4_EXTENTS_FL;
        errcode_t code = ext2fs_extent_open2(w->fs, from->number, (struct ext2_inode *)&inode, &handle);
        if (code)
            return code;
        ext2fs_extent_free(handle);
    }
    return ext2fs_write_inode_full(w->fs, from->number, (struct ext2_inode *)&inode, sizeof inode);
}

static errcode_t put_xattrs(struct ext4_writer *w, const struct tree_inode *inode)
{
    struct ext2_xattr_handle *handle;
    if (!inode->xattrs)
        return 0;
    errcode_t code = ext2fs_xattrs_open(w->fs, inode->number, &handle);
    if (code)
        return code;
    code = ext2fs_xattrs_read(handle);
    for (const struct tree_xattr *x = inode->xattrs; x && code == 0; x = x->next)
        code = ext2fs_xattr_set(handle, x->name, x->value, x->len);
    errcode_t closed = ext2fs_xattrs_close(&handle);
    return code ? code : closed;
}

// --- contents ---

static errcode_t write_run(struct ext4_writer *w, ext2_file_t file, uint64_t at, const char *data, size_t len)
{
    unsigned int n;
    errcode_t code = ext2fs_file_llseek(file, at, EXT2_SEEK_SET, NULL);
    while (code == 0 && len > 0) {
        code = ext2fs_file_write(file, data, (unsigned int)len, &n);
        data += n;
        len -= n;
        w->written += n;
    }
    return code;
}

// Blocks of zeros stay holes.
static errcode_t write_chunk(struct ext4_writer *w, ext2_file_t file, uint64_t at, const char *data,
                             size_t len)
{
    size_t begin = 0;
    errcode_t code = 0;
    for (size_t i = 0; i <= len && code == 0; i += BLOCK) {
        size_t n = i < len ? (len - i < BLOCK ? len - i : BLOCK) : 0;
        if (n > 0 && !spool_is_zero(data + i, n))
            continue;
        size_t end = i < len ? i : len;
        if (end > begin)
            code = write_run(w, file, at + begin, data + begin, end - begin);
        begin = i + BLOCK;
    }
    if (code == 0 && begin < len)
        code = write_run(w, file, at + begin, data + begin, len - begin);
    return code;
}

static int copy_content(struct ext4_writer *w, ext2_file_t file, const struct spool_range *range)
{
    _cleanup_free_ char *chunk = malloc(CHUNK);
    errcode_t code = chunk ? 0 : EXT2_ET_NO_MEMORY;
    uint64_t at = 0;
    while (code == 0 && (at = spool_next_data(w->spool, range, at)) < range->size) {
        at = at / BLOCK * BLOCK;
        ssize_t n = spool_read(w->spool, range, at, chunk, CHUNK);
        if (n < 0)
            return err_errno(w->err, (int)n, "read a temporary file");
        code = write_chunk(w, file, at, chunk, (size_t)n);
        at += (uint64_t)n;
        if (w->options->progress)
            w->options->progress(w->options->arg, w->written);
    }
    return code ? ext4_fail(w->err, code, "write a file") : 0;
}

static int write_file(struct ext4_writer *w, const struct tree_inode *inode)
{
    ext2_file_t file;
    if (inode->content.n_data == 0)
        return 0;
    errcode_t code = ext2fs_file_open(w->fs, inode->number, EXT2_FILE_WRITE, &file);
    if (code)
        return ext4_fail(w->err, code, "write a file");
    int rc = copy_content(w, file, &inode->content);
    code = ext2fs_file_close(file);
    return rc == 0 && code ? ext4_fail(w->err, code, "write a file") : rc;
}

static errcode_t write_long_link(struct ext4_writer *w, const struct tree_inode *inode)
{
    ext2_file_t file;
    errcode_t code = ext2fs_file_open(w->fs, inode->number, EXT2_FILE_WRITE, &file);
    if (code)
        return code;
    code = write_run(w, file, 0, inode->target, strlen(inode->target));
    errcode_t closed = ext2fs_file_close(file);
    return code ? code : closed;
}

// --- folders ---

struct folder {
    struct ext4_writer *w;
    const struct tree_inode *inode;
    ext2_ino_t parent;
    char block[BLOCK];
    size_t used;                 // of the block
    struct ext2_dir_entry *last; // in the block; takes what is left
    uint64_t n_blocks;
    uint32_t n_folders;
    errcode_t code;
};

static int type_of(mode_t mode)
{
    return S_ISREG(mode)    ? EXT2_FT_REG_FILE
           : S_ISDIR(mode)  ? EXT2_FT_DIR
           : S_ISLNK(mode)  ? EXT2_FT_SYMLINK
           : S_ISCHR(mode)  ? EXT2_FT_CHRDEV
           : S_ISBLK(mode)  ? EXT2_FT_BLKDEV
           : S_ISFIFO(mode) ? EXT2_FT_FIFO
                            : EXT2_FT_UNKNOWN;
}

static void flush_block(struct folder *f)
{
    blk64_t at = 0;
    if (f->code || !f->last)
        return;
    unsigned int len;
    ext2fs_get_rec_len(f->w->fs, f->last, &len);
    f->code = ext2fs_set_rec_len(f->w->fs, len + (unsigned)(BLOCK - DIR_TAIL - f->used), f->last);
    ext2fs_initialize_dirent_tail(f->w->fs, EXT2_DIRENT_TAIL(f->block, BLOCK));
    if (!f->code)
        f->code = ext2fs_bmap2(f->w->fs, f->inode->number, NULL, NULL, BMAP_ALLOC, f->n_blocks, NULL, &at);
    if (!f->code)
        f->code = ext2fs_write_dir_block4(f->w->fs, at, f->block, 0, f->inode->number);
    f->n_blocks++;
    f->used = 0;
    f->last = NULL;
    memset(f->block, 0, sizeof f->block);
}

static void add_entry(struct folder *f, const char *name, ext2_ino_t number, mode_t mode)
{
    size_t name_len = strlen(name), len = (8 + name_len + 3) / 4 * 4;
    if (f->used + len > BLOCK - DIR_TAIL)
        flush_block(f);
    struct ext2_dir_entry *entry = (struct ext2_dir_entry *)(void *)(f->block + f->used);
    entry->inode = number;
    ext2fs_dirent_set_name_len(entry, (int)name_len);
    ext2fs_dirent_set_file_type(entry, type_of(mode));
    memcpy(entry->name, name, name_len);
    if (!f->code)
        f->code = ext2fs_set_rec_len(f->w->fs, (unsigned)len, entry);
    f->used += len;
    f->last = entry;
}

static void add_child(const struct tree_node *node, void *arg)
{
    struct folder *f = arg;
    f->n_folders += S_ISDIR(node->inode->mode);
    add_entry(f, node->name, node->inode->number, node->inode->mode);
}

static void count_folders(const struct tree_node *node, void *arg)
{
    *(uint32_t *)arg += S_ISDIR(node->inode->mode);
}

// The inode says how long it is before its blocks are there; their number is known only afterwards.
static errcode_t finish_folder(struct folder *f)
{
    struct ext2_inode inode;
    errcode_t code = ext2fs_read_inode(f->w->fs, f->inode->number, &inode);
    if (code)
        return code;
    code = ext2fs_inode_size_set(f->w->fs, &inode, f->n_blocks * BLOCK);
    return code ? code : ext2fs_write_inode(f->w->fs, f->inode->number, &inode);
}

static int write_folder(struct ext4_writer *w, const struct tree_inode *inode, ext2_ino_t parent)
{
    _cleanup_free_ struct folder *f = calloc(1, sizeof *f);
    uint32_t n_folders = 0;
    if (!f)
        return err_set(w->err, -ENOMEM, "no memory to write a folder");
    *f = (struct folder){.w = w, .inode = inode, .parent = parent};
    tree_each(inode, count_folders, &n_folders);
    f->code = make_inode(w, inode, 0, 2 + n_folders, true);
    add_entry(f, ".", inode->number, S_IFDIR);
    add_entry(f, "..", parent, S_IFDIR);
    tree_each(inode, add_child, f);
    flush_block(f);
    if (!f->code)
        f->code = finish_folder(f);
    return f->code ? ext4_fail(w->err, f->code, "write a folder") : 0;
}

// --- everything ---

struct below {
    struct ext4_writer *w;
    ext2_ino_t parent;
    size_t path_len;
    int rc;
};

static int write_inode(struct ext4_writer *w, struct tree_inode *inode, ext2_ino_t parent);

static int write_other(struct ext4_writer *w, const struct tree_inode *inode)
{
    uint64_t size = S_ISLNK(inode->mode)   ? strlen(inode->target)
                    : S_ISREG(inode->mode) ? inode->content.size
                                           : 0;
    bool is_long = S_ISLNK(inode->mode) && size >= FAST_LINK;
    errcode_t code = make_inode(w, inode, size, inode->n_links, S_ISREG(inode->mode) || is_long);
    if (code == 0 && is_long)
        code = write_long_link(w, inode);
    if (code)
        return ext4_fail(w->err, code, "write an inode");
    return S_ISREG(inode->mode) ? write_file(w, inode) : 0;
}

static void write_child(const struct tree_node *node, void *arg)
{
    struct below *b = arg;
    struct ext4_writer *w = b->w;
    if (b->rc < 0)
        return;
    snprintf(w->path_now + b->path_len, sizeof w->path_now - b->path_len, "/%s", node->name);
    b->rc = write_inode(w, node->inode, b->parent);
}

static int write_inode(struct ext4_writer *w, struct tree_inode *inode, ext2_ino_t parent)
{
    if (inode->written) // written already, under another name
        return 0;
    inode->written = true;
    int rc = S_ISDIR(inode->mode) ? write_folder(w, inode, parent) : write_other(w, inode);
    errcode_t code = rc == 0 ? put_xattrs(w, inode) : 0;
    if (code)
        rc = ext4_fail(w->err, code, "write its attributes");
    if (rc < 0)
        return rc == -ENOSPC ? rc : err_wrap(w->err, rc, "%s", w->path_now);
    if (!S_ISDIR(inode->mode))
        return 0;
    struct below b = {.w = w, .parent = inode->number, .path_len = strlen(w->path_now)};
    tree_each(inode, write_child, &b);
    return b.rc;
}

static void clear_written(const struct tree_node *node, void *arg)
{
    node->inode->written = false;
    if (S_ISDIR(node->inode->mode))
        tree_each(node->inode, clear_written, arg);
}

int ext4_write_tree(struct ext4_writer *w, struct tree_inode *root)
{
    struct numbering n = {.w = w, .next = EXT2_FIRST_INO(w->fs->super)};
    root->number = EXT2_ROOT_INO;
    // lost+found first: its number is expected to be the first.
    number_child(tree_child(root, "lost+found"), &n);
    tree_each(root, number_child, &n);
    if (n.code)
        return ext4_fail(w->err, n.code, "number the files");
    root->written = false;
    tree_each(root, clear_written, NULL);
    return write_inode(w, root, EXT2_ROOT_INO);
}
