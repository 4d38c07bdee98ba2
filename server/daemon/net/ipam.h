// Addresses: the pool, each tenant's /24 out of it, each environment's address and MAC. Pure arithmetic;
// which numbers are taken is the store's to say (env/objects.c). Called by env/ and api/.
//
// Tenant number n (0, 1, …) has the n-th /24 of the pool; .1 is the host's end of its bridge, environments
// have .2 to .254. IPv4 addresses are u32 in host order.
#pragma once

#include <stdint.h>

#include "common/err.h"

#define IPAM_HOST_MIN 2
#define IPAM_HOST_MAX 254
#define IPAM_PREFIX   24
#define IPAM_TEXT_CAP 20 // "255.255.255.255/24" and NUL
#define IPAM_MAC_CAP  18

struct ipam_pool {
    uint32_t base;  // first address
    uint8_t prefix; // 12..24
};

// Parses "10.77.0.0/16". -EINVAL with a sentence: not a network, host bits set, not 12..24 long.
int ipam_pool_parse(const char *text, struct ipam_pool *ret, struct err *err);
// How many tenants the pool has room for: 1..4096.
uint32_t ipam_tenants_max(const struct ipam_pool *pool);
uint32_t ipam_subnet(const struct ipam_pool *pool, uint32_t net);
uint32_t ipam_gateway(const struct ipam_pool *pool, uint32_t net);
uint32_t ipam_address(const struct ipam_pool *pool, uint32_t net, uint32_t host);
// Locally administered unicast, unique where the address is: 02:65 and the four bytes of the address.
void ipam_mac(uint32_t ipv4, uint8_t ret_mac[6]);

void ipam_format_ipv4(uint32_t ipv4, char out[IPAM_TEXT_CAP]);
void ipam_format_mac(const uint8_t mac[6], char out[IPAM_MAC_CAP]);
