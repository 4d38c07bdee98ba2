// Owns the configuration of this process. Called by main; the sender is envpriv, which is trusted, so the
// checks are there to say what is wrong rather than to defend.
#include "config.h"

#include <errno.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "common/io.h"

#define DATAGRAM_HEADER 4u
#define MISC_MAJOR      10u
#define KVM_MINOR       232u
#define TUN_MINOR       200u

enum kind { KIND_KVM, KIND_TAP, KIND_FILE, KIND_DISK };

static bool is_kind(const struct stat *st, enum kind kind)
{
    if (kind == KIND_FILE)
        return S_ISREG(st->st_mode);
    if (kind == KIND_DISK)
        return S_ISREG(st->st_mode) || S_ISBLK(st->st_mode);
    const unsigned minor_wanted = kind == KIND_KVM ? KVM_MINOR : TUN_MINOR;
    return S_ISCHR(st->st_mode) && major(st->st_rdev) == MISC_MAJOR && minor(st->st_rdev) == minor_wanted;
}

// What a descriptor of CONFIG should be, and where it goes.
struct row {
    const char *what;
    enum kind kind;
    int *slot;
};

// In the order of proto/vmctl.h. Returns how many rows; the last n_optional of them may be absent.
static size_t expect_cell(struct config *c, struct row rows[VMCTL_FDS_MAX], size_t *ret_optional)
{
    const struct row cell[] = {
        {"/dev/kvm", KIND_KVM, &c->kvm_fd},
        {"a tap (/dev/net/tun)", KIND_TAP, &c->tap_fd},
        {"the kernel, a regular file", KIND_FILE, &c->kernel_fd},
        {"the program, a regular file", KIND_FILE, &c->program_fd},
        {"the log, a regular file", KIND_FILE, &c->log_fd},
        {"the archive, a regular file", KIND_FILE, &c->archive_fd},
    };
    memcpy(rows, cell, sizeof cell);
    *ret_optional = 1;
    return ARRAY_LEN(cell);
}

static size_t expect_linux(struct config *c, struct row rows[VMCTL_FDS_MAX], size_t *ret_optional)
{
    const struct row guest[] = {
        {"/dev/kvm", KIND_KVM, &c->kvm_fd},
        {"a tap (/dev/net/tun)", KIND_TAP, &c->tap_fd},
        {"the kernel, a regular file", KIND_FILE, &c->kernel_fd},
        {"the log, a regular file", KIND_FILE, &c->log_fd},
    };
    memcpy(rows, guest, sizeof guest);
    size_t n = ARRAY_LEN(guest);
    if (c->vm.has_initrd)
        rows[n++] = (struct row){"the initial RAM disk, a regular file", KIND_FILE, &c->initrd_fd};
    for (size_t i = 0; i < c->vm.n_disks; i++) {
        rows[n++] = (struct row){"a disk, a file or a block device", KIND_DISK, &c->disk_fds[i][0]};
        if (c->vm.disks[i].flags & VMCTL_DISK_OVERLAY)
            rows[n++] = (struct row){"an overlay, a regular file", KIND_FILE, &c->disk_fds[i][1]};
    }
    *ret_optional = 0;
    return n;
}

// Takes the descriptors over, all of them, and looks at each.
static int take_fds(struct config *c, const int *fds, size_t n, struct err *err)
{
    struct row rows[VMCTL_FDS_MAX];
    size_t n_optional;
    const size_t n_rows = c->vm.kind == VMCTL_KIND_LINUX ? expect_linux(c, rows, &n_optional)
                                                         : expect_cell(c, rows, &n_optional);
    for (size_t i = 0; i < n && i < n_rows; i++)
        *rows[i].slot = fds[i];
    if (n > n_rows || n < n_rows - n_optional)
        return err_set(err, -EINVAL, "CONFIG came with %zu descriptors, %zu%s are needed", n,
                       n_rows - n_optional, n_optional ? " or one more" : "");
    for (size_t i = 0; i < n; i++) {
        struct stat st;
        if (fstat(fds[i], &st) < 0)
            return err_errno(err, -errno, "look at descriptor %zu of CONFIG", i);
        if (!is_kind(&st, rows[i].kind))
            return err_set(err, -EINVAL, "descriptor %zu of CONFIG is not %s", i, rows[i].what);
    }
    return 0;
}

static int parse(struct config *config, size_t len, struct err *err)
{
    if (vmctl_type_of(config->datagram, len) != VMCTL_CONFIG)
        return err_set(err, -EPROTO, "the first datagram is not CONFIG");
    struct wire_error wrong;
    const uint8_t *payload = (const uint8_t *)config->datagram + DATAGRAM_HEADER;
    if (!vmctl_config_read(payload, len - DATAGRAM_HEADER, &config->vm, &wrong))
        return err_set(err, -EPROTO, "CONFIG at byte %zu: %s", wrong.offset, wrong.what);
    return 0;
}

// Without one, descriptors of CONFIG take its number.
static int find_statm(void)
{
    struct statfs fs;
    const bool is_there = fstatfs(VMCTL_STATM_FD, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
    return is_there ? VMCTL_STATM_FD : -1;
}

int config_receive(struct config *config, int control_fd, struct err *err)
{
    *config = (struct config){.kvm_fd = -1,
                              .tap_fd = -1,
                              .kernel_fd = -1,
                              .program_fd = -1,
                              .log_fd = -1,
                              .archive_fd = -1,
                              .initrd_fd = -1,
                              .statm_fd = find_statm()};
    memset(config->disk_fds, -1, sizeof config->disk_fds);
    config->datagram = malloc(VMCTL_DATAGRAM_MAX); // only what is used gets touched
    if (!config->datagram)
        return err_errno(err, -ENOMEM, "receive CONFIG");
    int fds[VMCTL_FDS_MAX];
    size_t n_fds = ARRAY_LEN(fds);
    ssize_t len = io_recv_fds(control_fd, config->datagram, VMCTL_DATAGRAM_MAX, fds, &n_fds);
    if (len == 0)
        return err_set(err, -EPIPE, "the control socket was closed before CONFIG came");
    if (len < 0)
        return err_errno(err, (int)len, "receive CONFIG on descriptor %d", control_fd);
    int rc = parse(config, (size_t)len, err);
    return rc < 0 ? rc : take_fds(config, fds, n_fds, err);
}

size_t config_fds(const struct config *config, int ret[CONFIG_FDS])
{
    const int fds[] = {config->kvm_fd, config->tap_fd,     config->kernel_fd, config->program_fd,
                       config->log_fd, config->archive_fd, config->initrd_fd, config->statm_fd};
    size_t n = ARRAY_LEN(fds);
    memcpy(ret, fds, sizeof fds);
    for (size_t i = 0; i < VMCTL_DISKS_MAX; i++) {
        ret[n++] = config->disk_fds[i][0];
        ret[n++] = config->disk_fds[i][1];
    }
    return n;
}

static void close_slot(int *fd)
{
    cleanup_close(fd);
    *fd = -1;
}

void config_close_files(struct config *config)
{
    close_slot(&config->kernel_fd);
    close_slot(&config->program_fd);
    close_slot(&config->archive_fd);
    close_slot(&config->initrd_fd);
}

void config_done(struct config *config)
{
    config_close_files(config);
    close_slot(&config->kvm_fd);
    close_slot(&config->tap_fd);
    close_slot(&config->log_fd);
    close_slot(&config->statm_fd);
    for (size_t i = 0; i < VMCTL_DISKS_MAX; i++) {
        close_slot(&config->disk_fds[i][0]);
        close_slot(&config->disk_fds[i][1]);
    }
    free(config->datagram);
    config->datagram = NULL;
}
