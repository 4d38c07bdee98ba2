// Owns what belongs to an image and where it comes from. Called by the verb image.
#include "image/build.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "image/ext4.h"

#define COPY_CHUNK (1u << 18)
#define ROOT_WORDS "root=/dev/vda rootfstype=ext4 rw"

// --- kernel and initrd of the tree ---

struct newest {
    const char *prefix; // "vmlinuz-"
    char name[TREE_NAME_MAX + 1];
};

static void look(const struct tree_node *node, void *arg)
{
    struct newest *n = arg;
    size_t len = strlen(n->prefix);
    if (strncmp(node->name, n->prefix, len) == 0 && !S_ISDIR(node->inode->mode) &&
        strverscmp(node->name, n->name) > 0)
        strcpy(n->name, node->name);
}

static struct tree_inode *find_file(const struct tree *t, const char *path)
{
    struct tree_inode *inode = tree_find(t, path, true);
    return inode && S_ISREG(inode->mode) && inode->content.size > 0 ? inode : NULL;
}

// The newest kernel below /boot; *ret_version is what follows its prefix.
static struct tree_inode *find_kernel(const struct tree *t, char ret_version[TREE_NAME_MAX + 1])
{
    static const char *const others[] = {"boot/vmlinuz", "vmlinuz", "boot/bzImage"};
    const struct tree_inode *boot = tree_find(t, "boot", true);
    struct newest kernel = {.prefix = "vmlinuz-"};
    char path[TREE_NAME_MAX + 16];
    ret_version[0] = '\0';
    if (boot && S_ISDIR(boot->mode))
        tree_each(boot, look, &kernel);
    if (kernel.name[0]) {
        strcpy(ret_version, kernel.name + strlen(kernel.prefix));
        snprintf(path, sizeof path, "boot/%s", kernel.name);
        return find_file(t, path);
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        struct tree_inode *found = find_file(t, others[i]);
        if (found)
            return found;
    }
    return NULL;
}

// The initrd of that kernel, by the names that distributions give it.
static struct tree_inode *find_initrd(const struct tree *t, const char *version)
{
    static const char *const formats[] = {"boot/initrd.img-%s", "boot/initramfs-%s.img", "boot/initramfs-%s",
                                          "boot/initrd-%s"};
    static const char *const others[] = {"boot/initrd.img", "initrd.img", "boot/initramfs.img"};
    char path[TREE_NAME_MAX + 32];
    struct tree_inode *found = NULL;
    for (size_t i = 0; version[0] && !found && i < sizeof formats / sizeof formats[0]; i++) {
        int prefix = (int)(strchr(formats[i], '%') - formats[i]);
        snprintf(path, sizeof path, "%.*s%s%s", prefix, formats[i], version, formats[i] + prefix + 2);
        found = find_file(t, path);
    }
    for (size_t i = 0; !found && i < sizeof others / sizeof others[0]; i++)
        found = find_file(t, others[i]);
    return found;
}

static int extract(const struct spool *s, const struct tree_inode *inode, struct err *err)
{
    _cleanup_close_ int fd = spool_temporary_file(err);
    _cleanup_free_ char *chunk = malloc(COPY_CHUNK);
    ssize_t n = 0;
    if (fd < 0 || !chunk)
        return fd < 0 ? fd : err_set(err, -ENOMEM, "no memory to copy a file");
    for (uint64_t at = 0; (n = spool_read(s, &inode->content, at, chunk, COPY_CHUNK)) > 0; at += (uint64_t)n)
        if (pwrite(fd, chunk, (size_t)n, (off_t)at) != n)
            return err_errno(err, -EIO, "write a temporary file");
    return n < 0 ? err_errno(err, (int)n, "read a temporary file") : take_fd(&fd);
}

// --- parts ---

static int add_file(struct linux_image *image, enum manifest_part part, const char *path, struct err *err)
{
    struct stat st;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_errno(err, -errno, "open %s", path);
    if (!S_ISREG(st.st_mode) || st.st_size == 0)
        return err_set(err, -EINVAL, "%s is no file with a %s in it", path, manifest_part_name(part));
    return linux_image_set(image, part, take_fd(&fd), err);
}

static int add_from_tree(struct linux_image *image, enum manifest_part part, const struct spool *s,
                         const struct tree_inode *inode, struct err *err)
{
    int fd = extract(s, inode, err);
    return fd < 0 ? fd : linux_image_set(image, part, fd, err);
}

static int add_boot_files(const struct build_options *o, const struct tree *t, const struct spool *s,
                          struct linux_image *image, struct err *err)
{
    char version[TREE_NAME_MAX + 1] = "";
    const struct tree_inode *kernel = t ? find_kernel(t, version) : NULL;
    const struct tree_inode *initrd = t && !o->kernel ? find_initrd(t, version) : NULL;
    int rc = 0;
    if (o->kernel_elsewhere)
        return 0;
    if (o->kernel)
        rc = add_file(image, MANIFEST_KERNEL, o->kernel, err);
    else if (kernel)
        rc = add_from_tree(image, MANIFEST_KERNEL, s, kernel, err);
    else
        rc = err_set(
            err, -ENOENT,
            "there is no kernel in the source's /boot: container images have none. Give --kernel FILE "
            "and --initrd FILE, or --kernel-from IMAGE to take those of another image");
    if (rc == 0 && o->initrd)
        rc = add_file(image, MANIFEST_INITRD, o->initrd, err);
    else if (rc == 0 && initrd)
        rc = add_from_tree(image, MANIFEST_INITRD, s, initrd, err);
    return rc;
}

static int add_disk(const struct build_options *o, struct tree *t, const struct spool *s,
                    struct linux_image *image, struct err *err)
{
    struct ext4_options options = {.size_bytes = o->size_bytes, .progress = o->progress, .arg = o->arg};
    _cleanup_close_ int fd = spool_temporary_file(err);
    if (fd < 0)
        return fd;
    int rc = ext4_write(t, s, &options, fd, err);
    return rc < 0 ? rc : linux_image_set(image, MANIFEST_DISK, take_fd(&fd), err);
}

static int build_with_disk(const struct build_options *o, struct linux_image *image, struct err *err)
{
    struct tree t;
    struct spool s;
    int rc = source_read(o->source, &o->limits, &t, &s, err);
    if (rc == 0)
        rc = add_boot_files(o, &t, &s, image, err);
    if (rc == 0)
        rc = add_disk(o, &t, &s, image, err);
    tree_close(&t);
    spool_close(&s);
    return rc;
}

// A disk is the root file system, unless the words say otherwise.
static int set_cmdline(const struct build_options *o, struct manifest *m, struct err *err)
{
    const char *words = o->cmdline ? o->cmdline : "";
    bool says_root = strncmp(words, "root=", 5) == 0 || strstr(words, " root=");
    const char *root = o->source && !says_root ? ROOT_WORDS : "";
    int n = snprintf(m->cmdline, sizeof m->cmdline, "%s%s%s", root, *root && *words ? " " : "", words);
    if (n < 0 || (size_t)n >= sizeof m->cmdline)
        return err_set(err, -EINVAL, "the command line has more than %d bytes", MANIFEST_CMDLINE_MAX);
    return 0;
}

int build_image(const struct build_options *o, struct linux_image *ret, struct err *err)
{
    struct linux_image image;
    linux_image_init(&image);
    int rc = set_cmdline(o, &image.manifest, err);
    if (rc == 0)
        rc = o->source ? build_with_disk(o, &image, err) : add_boot_files(o, NULL, NULL, &image, err);
    if (rc < 0)
        linux_image_done(&image);
    else
        *ret = image;
    return rc;
}
