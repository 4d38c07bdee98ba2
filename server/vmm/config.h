// What to run: the CONFIG datagram and the descriptors that came with it. Called by main, once, first.
#pragma once

#include "common/err.h"
#include "proto/vmctl.h"

#define CONFIG_FDS (8 + 2 * VMCTL_DISKS_MAX)

struct config {
    // -1: none, of what this kind of machine does not have
    int kvm_fd, tap_fd, kernel_fd, program_fd, log_fd;
    int archive_fd, initrd_fd;
    int disk_fds[VMCTL_DISKS_MAX][2]; // an overlay's: the image, the overlay. Others: the file
    int statm_fd;                     // VMCTL_STATM_FD, or -1
    struct vmctl_config vm;           // views into datagram
    void *datagram;
};

// Waits for the CONFIG datagram on control_fd and checks that the descriptors are of the kinds they should
// be. 0 or -errno; config_done() is due in both cases.
int config_receive(struct config *config, int control_fd, struct err *err);
// Stores all descriptors of a configuration, -1 among them, in ret; returns how many.
size_t config_fds(const struct config *config, int ret[CONFIG_FDS]);
// Closes the files that are loaded by now: their pages stay mapped.
void config_close_files(struct config *config);
// Closes the descriptors and frees the datagram.
void config_done(struct config *config);
