// What to run: the CONFIG datagram and the descriptors that came with it. Called by main, once, first.
#pragma once

#include "common/err.h"
#include "proto/vmctl.h"

struct config {
    int kvm_fd, tap_fd, kernel_fd, program_fd, log_fd;
    int archive_fd;         // -1: none
    struct vmctl_config vm; // views into datagram
    void *datagram;
};

// Waits for the CONFIG datagram on control_fd and checks that the descriptors are of the kinds they should
// be. 0 or -errno; config_done() is due in both cases.
int config_receive(struct config *config, int control_fd, struct err *err);
// Closes the files that are loaded by now: their pages stay mapped.
void config_close_files(struct config *config);
// Closes the descriptors and frees the datagram.
void config_done(struct config *config);
