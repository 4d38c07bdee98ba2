// Owns the configuration of this process. Called by main; the sender is envpriv, which is trusted, so the
// checks are there to say what is wrong rather than to defend.
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "common/io.h"

#define DATAGRAM_HEADER 4u
#define MISC_MAJOR      10u
#define KVM_MINOR       232u
#define TUN_MINOR       200u

enum kind { KIND_KVM, KIND_TAP, KIND_FILE };

static bool is_kind(const struct stat *st, enum kind kind)
{
    if (kind == KIND_FILE)
        return S_ISREG(st->st_mode);
    const unsigned minor_wanted = kind == KIND_KVM ? KVM_MINOR : TUN_MINOR;
    return S_ISCHR(st->st_mode) && major(st->st_rdev) == MISC_MAJOR && minor(st->st_rdev) == minor_wanted;
}

// In the order of proto/vmctl.h.
static const struct {
    const char *what;
    enum kind kind;
} kinds[] = {
    {"/dev/kvm", KIND_KVM},
    {"a tap (/dev/net/tun)", KIND_TAP},
    {"the kernel, a regular file", KIND_FILE},
    {"the program, a regular file", KIND_FILE},
    {"the log, a regular file", KIND_FILE},
    {"the archive, a regular file", KIND_FILE},
};

static int check_fds(const int *fds, size_t n, struct err *err)
{
    if (n < ARRAY_LEN(kinds) - 1 || n > ARRAY_LEN(kinds))
        return err_set(err, -EINVAL, "CONFIG came with %zu descriptors, %zu or %zu are needed", n,
                       ARRAY_LEN(kinds) - 1, ARRAY_LEN(kinds));
    for (size_t i = 0; i < n; i++) {
        struct stat st;
        if (fstat(fds[i], &st) < 0)
            return err_errno(err, -errno, "look at descriptor %zu of CONFIG", i);
        if (!is_kind(&st, kinds[i].kind))
            return err_set(err, -EINVAL, "descriptor %zu of CONFIG is not %s", i, kinds[i].what);
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

int config_receive(struct config *config, int control_fd, struct err *err)
{
    *config = (struct config){
        .kvm_fd = -1, .tap_fd = -1, .kernel_fd = -1, .program_fd = -1, .log_fd = -1, .archive_fd = -1};
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
    int *const slots[] = {&config->kvm_fd,     &config->tap_fd, &config->kernel_fd,
                          &config->program_fd, &config->log_fd, &config->archive_fd};
    for (size_t i = 0; i < n_fds && i < ARRAY_LEN(slots); i++)
        *slots[i] = fds[i];
    int rc = check_fds(fds, n_fds, err);
    return rc < 0 ? rc : parse(config, (size_t)len, err);
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
}

void config_done(struct config *config)
{
    config_close_files(config);
    close_slot(&config->kvm_fd);
    close_slot(&config->tap_fd);
    close_slot(&config->log_fd);
    free(config->datagram);
    config->datagram = NULL;
}
