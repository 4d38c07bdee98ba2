// What the spec of an environment may say, for each kind, and reading it. Called by env/ and api/; no
// transactions, no HTTP.
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "proto/vmctl.h"
#include "json/fields.h"

#define SPEC_VOLUMES_MAX (VMCTL_DISKS_MAX - 1) // beside the root disk

enum env_kind { ENV_KIND_CELL, ENV_KIND_LINUX, ENV_KIND_COUNT };
enum env_mailbox { ENV_MAILBOX_DEFAULT, ENV_MAILBOX_HOST, ENV_MAILBOX_QUEUE };
enum env_restart { ENV_RESTART_NEVER, ENV_RESTART_ON_FAILURE, ENV_RESTART_ALWAYS };

struct env_volume {
    const char *name;
    uint32_t size_mib;
};

// Fields of a spec, with defaults for what it does not say. Strings are the document's.
struct env_spec {
    enum env_kind kind;
    uint32_t memory_mib;
    uint32_t cpu_weight;
    enum env_restart restart;
    enum env_mailbox mailbox; // DEFAULT: QUEUE where there is a broker
    bool run;
    uint64_t net_packets_per_s, net_bits_per_s; // each way; 0: unlimited
    // Of a cell.
    const char *program; // "sha256:…", or NULL
    const char *archive; // or NULL
    const char *argv0;   // or NULL: the environment's name
    const json_t *args;  // after argv[0]: array of strings, or NULL
    const json_t *env;   // object of strings, or NULL
    // Of kind linux.
    const char *image;   // "sha256:…" of a Linux image, or NULL
    const char *cmdline; // words behind the image's, or NULL
    uint32_t vcpus;      // 0: of a cell
    uint32_t disk_mib;   // of the root disk; 0: as large as the image's
    uint32_t watchdog_s; // 0: off
    size_t n_volumes;
    struct env_volume volumes[SPEC_VOLUMES_MAX];
    uint64_t disk_requests_per_s, disk_bytes_per_s; // of each disk; 0: unlimited
};

// Every member of every kind, for json_check(); which of them a kind has is spec_check()'s.
#define SPEC_N_FIELDS 18
extern const struct json_field spec_fields[SPEC_N_FIELDS];

// The spec (checked against spec_fields) against what its kind has: 0, or -EINVAL and *fault filled, pointer
// from the environment's document on ("/spec/program").
int spec_check(const json_t *spec, struct json_fault *fault);
// A view into the document of an environment, which was checked when it was made.
void doc_read_spec(const json_t *environment, struct env_spec *ret);
// "cell", "linux"; "never", …
const char *env_kind_name(enum env_kind kind);
const char *env_restart_name(enum env_restart restart);
// The sum of its volumes' sizes.
uint64_t spec_volumes_mib(const struct env_spec *spec);
