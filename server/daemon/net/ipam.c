// Owns the arithmetic of addresses. Called by env/ and api/; must not know where taken numbers are kept.
#include "net/ipam.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX_MIN 12 // 4096 tenants: what envpriv can number

int ipam_pool_parse(const char *text, struct ipam_pool *ret, struct err *err)
{
    char address[INET_ADDRSTRLEN];
    const char *slash = strchr(text, '/');
    struct in_addr parsed;
    if (!slash || (size_t)(slash - text) >= sizeof address)
        return err_set(err, -EINVAL, "\"%s\" is not a network: write it like 10.77.0.0/16", text);
    snprintf(address, sizeof address, "%.*s", (int)(slash - text), text);
    char *end;
    errno = 0;
    long prefix = strtol(slash + 1, &end, 10);
    if (inet_pton(AF_INET, address, &parsed) != 1 || errno != 0 || end == slash + 1 || *end != '\0')
        return err_set(err, -EINVAL, "\"%s\" is not a network: write it like 10.77.0.0/16", text);
    if (prefix < PREFIX_MIN || prefix > IPAM_PREFIX)
        return err_set(err, -EINVAL,
                       "\"%s\": the prefix must be from /%d to /%d, for each tenant takes a /%d", text,
                       PREFIX_MIN, IPAM_PREFIX, IPAM_PREFIX);
    uint32_t base = ntohl(parsed.s_addr);
    uint32_t mask = ~0u << (32 - prefix);
    if ((base & ~mask) != 0)
        return err_set(err, -EINVAL, "\"%s\" has bits set behind its prefix", text);
    *ret = (struct ipam_pool){.base = base, .prefix = (uint8_t)prefix};
    return 0;
}

uint32_t ipam_tenants_max(const struct ipam_pool *pool)
{
    return 1u << (IPAM_PREFIX - pool->prefix);
}

uint32_t ipam_subnet(const struct ipam_pool *pool, uint32_t net)
{
    return pool->base + (net << (32 - IPAM_PREFIX));
}

uint32_t ipam_gateway(const struct ipam_pool *pool, uint32_t net)
{
    return ipam_subnet(pool, net) + 1;
}

uint32_t ipam_address(const struct ipam_pool *pool, uint32_t net, uint32_t host)
{
    return ipam_subnet(pool, net) + host;
}

void ipam_mac(uint32_t ipv4, uint8_t ret_mac[6])
{
    ret_mac[0] = 0x02;
    ret_mac[1] = 0x65;
    for (int i = 0; i < 4; i++)
        ret_mac[2 + i] = (uint8_t)(ipv4 >> (24 - 8 * i));
}

void ipam_format_ipv4(uint32_t ipv4, char out[IPAM_TEXT_CAP])
{
    snprintf(out, IPAM_TEXT_CAP, "%u.%u.%u.%u", ipv4 >> 24, (ipv4 >> 16) & 255, (ipv4 >> 8) & 255,
             ipv4 & 255);
}

void ipam_format_mac(const uint8_t mac[6], char out[IPAM_MAC_CAP])
{
    snprintf(out, IPAM_MAC_CAP, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
             mac[5]);
}
