// Owns writing a tree as an ext4 file system with libext2fs: the empty file system, then inodes, contents and
// folders. Called by build.c. Deterministic: no clock, no random numbers, sorted entries.
#include "image/ext4.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <ext2fs/ext2fs.h>

#include "common/cleanup.h"
#include "image/ext4_internal.h"

#define BLOCK           4096u
#define BYTES_PER_INODE 16384u
#define INODES_SPARE    4096u
#define INODE_BYTES     256u
#define MIB             (1ULL << 20)
#define SIZE_SMALLEST   (16 * MIB)
#define FIRST_INODE     11
#define DISK_TIME       1577836800 // instead of the clock; in the past for everybody, or e2fsck complains

// Fixed: no two environments see each other's disks, and the same input shall give the same digest.
static const unsigned char disk_uuid[16] = {0x6e, 0x76, 0x64, 0x69, 0x6d, 0x61, 0x47, 0x65,
                                            0x80, 0x00, 0x65, 0x78, 0x74, 0x34, 0x00, 0x01};

int ext4_fail(struct err *err, errcode_t code, const char *what)
{
    if (code == EXT2_ET_BLOCK_ALLOC_FAIL || code == EXT2_ET_INODE_ALLOC_FAIL ||
        code == EXT2_ET_DIR_NO_SPACE || code == EXT2_ET_TOOSMALL)
        return err_set(err, -ENOSPC, "the disk is too small for what is to be in it (see --size)");
    if (code == EXT2_ET_NO_MEMORY)
        return err_set(err, -ENOMEM, "no memory to write a disk");
    int rc = code > 0 && code < 4096 ? -(int)code : -EIO; // libext2fs passes errno on
    return err_set(err, rc, "%s: %s", what, error_message(code));
}

// --- how large ---

struct sum {
    uint64_t blocks, inodes;
};

static void sum_inode(struct sum *sum, const struct tree_inode *inode);

static void sum_child(const struct tree_node *node, void *arg)
{
    struct sum *sum = arg;
    if (node->inode->n_links == 1 || node->inode->number == 0)
        sum_inode(sum, node->inode);
    // A hard link is counted with its first name only, which gets a number that the writer replaces.
    node->inode->number = node->inode->n_links > 1;
}

static void sum_inode(struct sum *sum, const struct tree_inode *inode)
{
    sum->inodes++;
    // Contents, extent blocks (one for each 340 extents of 1 block at worst), attributes, long links.
    sum->blocks += inode->content.n_data + inode->content.n_data / 64 + (inode->xattrs != NULL) +
                   (inode->target && strlen(inode->target) >= 60);
    if (S_ISDIR(inode->mode)) {
        sum->blocks += 1 + inode->n_children / 12; // names as long as they may be
        tree_each(inode, sum_child, sum);
    }
}

static void clear_numbers(const struct tree_node *node, void *arg)
{
    node->inode->number = 0;
    if (S_ISDIR(node->inode->mode))
        tree_each(node->inode, clear_numbers, arg);
}

static struct sum sum_tree(const struct tree *t)
{
    struct sum sum = {0};
    tree_each(t->root, clear_numbers, NULL);
    sum_inode(&sum, t->root);
    tree_each(t->root, clear_numbers, NULL);
    return sum;
}

static uint64_t inode_count(const struct sum *sum, uint64_t size)
{
    uint64_t n = sum->inodes + sum->inodes / 4 + INODES_SPARE;
    return n > size / BYTES_PER_INODE ? n : size / BYTES_PER_INODE;
}

static uint64_t journal_blocks(uint64_t size)
{
    int n = ext2fs_default_journal_size(size / BLOCK);
    return n > 0 ? (uint64_t)n : 1024;
}

static uint64_t size_min(const struct sum *sum)
{
    uint64_t bytes = sum->blocks * BLOCK, inodes;
    bytes += bytes / 64 + 4 * MIB; // bitmaps, descriptors and copies of them
    inodes = sum->inodes + sum->inodes / 4 + INODES_SPARE;
    bytes += inodes * INODE_BYTES;
    bytes += journal_blocks(bytes) * BLOCK;
    bytes = (bytes + MIB - 1) / MIB * MIB;
    return bytes < SIZE_SMALLEST ? SIZE_SMALLEST : bytes;
}

uint64_t ext4_size_min(const struct tree *t)
{
    struct sum sum = sum_tree(t);
    return size_min(&sum);
}

uint64_t ext4_size_default(const struct tree *t)
{
    struct sum sum = sum_tree(t);
    uint64_t used = size_min(&sum), size = used + used / 4 + 64 * MIB;
    size += inode_count(&sum, size) * INODE_BYTES - sum.inodes * INODE_BYTES;
    return (size + MIB - 1) / MIB * MIB;
}

// --- the empty file system ---

static void choose_features(struct ext2_super_block *param)
{
    ext2fs_set_feature_filetype(param);
    ext2fs_set_feature_sparse_super(param);
    ext2fs_set_feature_large_file(param);
    ext2fs_set_feature_huge_file(param);
    ext2fs_set_feature_dir_nlink(param);
    ext2fs_set_feature_extra_isize(param);
    ext2fs_set_feature_xattr(param);
    ext2fs_set_feature_dir_index(param);
    ext2fs_set_feature_resize_inode(param); // a larger disk can be grown into while it is mounted
    ext2fs_set_feature_extents(param);
    ext2fs_set_feature_flex_bg(param);
    ext2fs_set_feature_64bit(param);
    ext2fs_set_feature_metadata_csum(param);
}

static errcode_t initialize(struct ext4_writer *w, const struct sum *sum, uint64_t size)
{
    struct ext2_super_block param = {.s_rev_level = EXT2_DYNAMIC_REV,
                                     .s_log_block_size = 2,
                                     .s_log_cluster_size = 2,
                                     .s_inode_size = INODE_BYTES,
                                     .s_log_groups_per_flex = 4};
    uint64_t inodes = inode_count(sum, size);
    choose_features(&param);
    ext2fs_blocks_count_set(&param, size / BLOCK);
    param.s_inodes_count = inodes > UINT32_MAX ? UINT32_MAX : (uint32_t)inodes;
    errcode_t code = ext2fs_initialize(w->path, EXT2_FLAG_64BITS, &param, unix_io_manager, &w->fs);
    if (code)
        return code;
    struct ext2_super_block *super = w->fs->super;
    w->fs->now = DISK_TIME;
    memcpy(super->s_uuid, disk_uuid, sizeof disk_uuid);
    memcpy(super->s_hash_seed, disk_uuid, sizeof disk_uuid);
    super->s_def_hash_version = EXT2_HASH_HALF_MD4;
    super->s_flags |= EXT2_FLAGS_UNSIGNED_HASH;
    super->s_mkfs_time = super->s_lastcheck = super->s_wtime = DISK_TIME;
    super->s_creator_os = EXT2_OS_LINUX;
    super->s_max_mnt_count = -1;
    super->s_default_mount_opts = EXT2_DEFM_XATTR_USER | EXT2_DEFM_ACL;
    super->s_min_extra_isize = super->s_want_extra_isize =
        sizeof(struct ext2_inode_large) - EXT2_GOOD_OLD_INODE_SIZE;
    super->s_checksum_type = EXT2_CRC32C_CHKSUM;
    ext2fs_init_csum_seed(w->fs);
    return 0;
}

// The file is all zeros: the inode tables need not be written, by nobody.
static void mark_tables_zeroed(ext2_filsys fs)
{
    for (dgrp_t i = 0; i < fs->group_desc_count; i++) {
        ext2fs_bg_flags_set(fs, i, EXT2_BG_INODE_ZEROED);
        ext2fs_group_desc_csum_set(fs, i);
    }
    ext2fs_mark_super_dirty(fs);
}

static errcode_t reserve_inodes(ext2_filsys fs)
{
    for (ext2_ino_t i = EXT2_BAD_INO; i < FIRST_INODE; i++)
        if (i != EXT2_ROOT_INO)
            ext2fs_inode_alloc_stats2(fs, i, +1, 0);
    ext2fs_inode_alloc_stats2(fs, EXT2_ROOT_INO, +1, 1);
    ext2fs_mark_ib_dirty(fs);
    return ext2fs_update_bb_inode(fs, NULL);
}

static int make_empty(struct ext4_writer *w, const struct sum *sum, uint64_t size, struct err *err)
{
    errcode_t code = initialize(w, sum, size);
    if (code == 0)
        code = ext2fs_allocate_tables(w->fs);
    if (code == 0)
        mark_tables_zeroed(w->fs);
    if (code == 0)
        code = reserve_inodes(w->fs);
    if (code == 0)
        code = ext2fs_create_resize_inode(w->fs);
    if (code == 0)
        code = ext2fs_add_journal_inode(w->fs, (blk_t)journal_blocks(size),
                                        EXT2_MKJOURNAL_NO_MNT_CHECK | EXT2_MKJOURNAL_LAZYINIT);
    return code ? ext4_fail(err, code, "make a file system") : 0;
}

// --- the whole ---

// e2fsck wants it, and puts there what it saves.
static int add_lost_found(struct tree *t, struct err *err)
{
    if (tree_find(t, "lost+found", false))
        return 0;
    struct tree_inode *inode = tree_inode_new(S_IFDIR | 0700);
    return inode ? tree_put(t, "lost+found", inode, err) : err_set(err, -ENOMEM, "no memory for a folder");
}

int ext4_write(struct tree *t, const struct spool *s, const struct ext4_options *options, int fd,
               struct err *err)
{
    struct ext4_writer w = {.spool = s, .options = options, .err = err};
    int rc = add_lost_found(t, err);
    if (rc < 0)
        return rc;
    struct sum sum = sum_tree(t);
    uint64_t size = options->size_bytes ? options->size_bytes / BLOCK * BLOCK : ext4_size_default(t);
    if (size < size_min(&sum))
        return err_set(err, -ENOSPC, "what is to be in the disk needs at least %llu MiB (see --size)",
                       (unsigned long long)(size_min(&sum) >> 20));
    if (ftruncate(fd, 0) < 0 || ftruncate(fd, (off_t)size) < 0)
        return err_errno(err, -errno, "make room for the disk");
    snprintf(w.path, sizeof w.path, "/proc/self/fd/%d", fd);
    rc = make_empty(&w, &sum, size, err);
    if (rc == 0)
        rc = ext4_write_tree(&w, t->root);
    errcode_t code = rc == 0 ? ext2fs_close_free(&w.fs) : 0;
    if (w.fs)
        ext2fs_free(w.fs);
    tree_each(t->root, clear_numbers, NULL);
    return code ? ext4_fail(err, code, "write the disk") : rc;
}
