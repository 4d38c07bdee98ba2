// Owns the broker's URL. Called by config.c.
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

static int refuse(const char *url, struct err *err)
{
    return err_set(err, -EINVAL,
                   "broker: %s: must be amqp://HOST[:PORT][,HOST[:PORT]]...[/VHOST] or amqps://..., without "
                   "user and password",
                   url);
}

static bool copy(char *out, size_t cap, const char *from, size_t len)
{
    if (len == 0 || len >= cap)
        return false;
    memcpy(out, from, len);
    out[len] = '\0';
    return true;
}

static bool read_port(const char *text, size_t len, uint16_t *ret)
{
    char digits[6];
    if (!copy(digits, sizeof digits, text, len) || strspn(digits, "0123456789") != len)
        return false;
    unsigned long port = strtoul(digits, NULL, 10);
    if (port == 0 || port > UINT16_MAX)
        return false;
    *ret = (uint16_t)port;
    return true;
}

// The virtual host as URLs write it: %2f is a slash.
static bool read_vhost(const char *text, char *out, size_t cap)
{
    size_t n = 0;
    for (; *text; text++) {
        unsigned value = (unsigned char)*text;
        if (*text == '%' && (!isxdigit((unsigned char)text[1]) || !isxdigit((unsigned char)text[2]) ||
                             sscanf(text + 1, "%2x", &value) != 1 || value == 0))
            return false;
        text += *text == '%' ? 2 : 0;
        if (n + 1 >= cap)
            return false;
        out[n++] = (char)value;
    }
    out[n] = '\0';
    return true;
}

// HOST[:PORT] of len bytes, which must have no user. An IPv6 address is in brackets, so that its colons are
// not the port's.
static bool read_host(const char *text, size_t len, struct config_broker *b)
{
    char part[CONFIG_PATH_CAP];
    if (!copy(part, sizeof part, text, len) || strchr(part, '@'))
        return false;
    bool bracketed = part[0] == '[';
    size_t host_len = strcspn(part, bracketed ? "]" : ":");
    const char *after = part + host_len + (bracketed && part[host_len] == ']');
    b->port = 0;
    if ((bracketed && part[host_len] != ']') ||
        !copy(b->host, sizeof b->host, part + bracketed, host_len - bracketed))
        return false;
    return *after == '\0' || (*after == ':' && read_port(after + 1, strlen(after + 1), &b->port));
}

int config_read_broker(const char *url, struct config_broker *ret, struct err *err)
{
    struct config_broker b = *ret;
    b.tls = strncmp(url, "amqps://", 8) == 0;
    if (!b.tls && strncmp(url, "amqp://", 7) != 0)
        return refuse(url, err);
    const char *hosts = url + (b.tls ? 8 : 7);
    size_t authority = strcspn(hosts, "/"), at = 0, n = 0;
    const char *vhost = hosts[authority] == '/' ? hosts + authority + 1 : "";
    for (; at <= authority; n++) {
        size_t len = strcspn(hosts + at, ",/");
        if (!read_host(hosts + at, len, &b))
            return refuse(url, err);
        at += len + 1;
    }
    if (n > 1) { // the link takes such a list as it is
        b.port = 0;
        if (!copy(b.host, sizeof b.host, hosts, authority))
            return refuse(url, err);
    }
    if (!read_vhost(vhost, b.vhost, sizeof b.vhost))
        return refuse(url, err);
    *ret = b;
    return 0;
}
