// Names of kernel objects (links, tables, cgroups): made here only, so that cleaning up can recognise its own
// by exact form and touches nothing else.
//
//   bridge of network N   ev<instance>b<N>       filter tables   envd_<instance>
//   tap of slot N         ev<instance>t<N>       cgroups         envd-<instance>/<vm id>
#pragma once

#include <net/if.h>
#include <stdbool.h>

#define INSTANCE_LEN   4
#define TABLE_NAME_CAP 16

struct instance {
    char text[INSTANCE_LEN + 1]; // always four of a-z and 0-9, so that no instance's names begin another's
};

bool instance_parse(const char *s, struct instance *ret);
// The instance of a run folder: a hash of its real path.
struct instance instance_of_folder(const char *real_path);
// Where the instance's user ids begin when nobody says otherwise. Each instance has UIDS_PER_INSTANCE of its
// own, above the ranges that systemd gives to containers (0x00080000..0x6fffffff) and below 2^31.
unsigned instance_uid_base(const struct instance *i);

void name_bridge(const struct instance *i, unsigned net, char ret[IFNAMSIZ]);
void name_tap(const struct instance *i, unsigned slot, char ret[IFNAMSIZ]);
// "ev<instance>": what all links of the instance begin with, and no others.
void name_link_prefix(const struct instance *i, char ret[IFNAMSIZ]);
void name_table(const struct instance *i, char ret[TABLE_NAME_CAP]);
// True for exactly the names that name_bridge() and name_tap() make for this instance.
bool name_is_our_link(const struct instance *i, const char *link);
