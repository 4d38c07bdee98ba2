// What envd is told at its start: the command line and, below it, a JSON file. Called by main; knows the
// values' shapes, not what they are for.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"
#include "common/log.h"
#include "net/ipam.h"
#include "proto/name.h"

#define CONFIG_PATH_CAP   512
#define CONFIG_ADMINS_MAX 32

struct config {
    char state[CONFIG_PATH_CAP];  // the folder of everything that lasts
    char run[CONFIG_PATH_CAP];    // the folder of the sockets: envd.sock, priv.sock
    char kernel[CONFIG_PATH_CAP]; // the cell kernel's file
    bool has_user;                // to become, when started as root
    uid_t uid;
    gid_t gid;
    struct ipam_pool pool;
    char network[IPAM_TEXT_CAP];     // the pool as text
    uid_t admins[CONFIG_ADMINS_MAX]; // besides root
    size_t n_admins;
    uint32_t log_kib;         // of each environment's log
    uint32_t log_kib_per_s;   // what an environment may print
    uint32_t image_mib_max;   // of one upload
    uint32_t journal_mib_max; // of messages on disk
    uint32_t journal_segment_kib;
    uint32_t attempts_max;     // at one message before it is a dead letter
    uint32_t dead_letters_max; // kept of each environment
    uint32_t boot_timeout_ms;  // for the agent's hello, in a cell
    uint32_t linux_boot_timeout_ms;
    bool stop_environments;   // at SIGTERM
    char host_name[NAME_CAP]; // of this host among others; "" where the machine's is none
    struct config_broker {
        char host[CONFIG_PATH_CAP]; // "": there is no broker
        uint16_t port;              // 0: the default
        char vhost[CONFIG_PATH_CAP];
        bool tls;
        char queues[16]; // auto, classic or quorum
        char password_file[CONFIG_PATH_CAP], ca[CONFIG_PATH_CAP], cert[CONFIG_PATH_CAP], key[CONFIG_PATH_CAP];
    } broker;
    enum log_level log_level;
};

enum config_outcome { CONFIG_RUN = 0, CONFIG_HELP = 1, CONFIG_VERSION = 2 };

// Reads the command line and the file that it names; what the command line says wins. An enum config_outcome,
// or -errno with a sentence that names the option, or the file and the member.
int config_read(int argc, char **argv, struct config *ret, struct err *err);
// The host and port of amqp[s]://HOST[:PORT][/VHOST]. 0 or -EINVAL; never a user, whose name is the host's.
int config_read_broker(const char *url, struct config_broker *ret, struct err *err);
// What --help prints.
extern const char config_help[];
