// See figures.h. proc(5).
#include "figures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>

#include "common/io.h"

uint64_t figures_parse_meminfo(const char *text, const char *name)
{
    size_t len = strlen(name);
    while (*text) {
        if (strncmp(text, name, len) == 0 && text[len] == ':')
            return strtoull(text + len + 1, NULL, 10) * 1024;
        const char *end = strchr(text, '\n');
        if (!end)
            break;
        text = end + 1;
    }
    return 0;
}

bool figures_parse_loadavg(const char *text, uint32_t *ret_load1_milli, uint32_t *ret_processes)
{
    unsigned whole, hundredths, processes;
    if (sscanf(text, "%u.%2u %*s %*s %*u/%u", &whole, &hundredths, &processes) != 3 || whole > 4000000)
        return false;
    *ret_load1_milli = whole * 1000 + hundredths * 10;
    *ret_processes = processes;
    return true;
}

static bool read_text(const char *path, char *text, size_t cap)
{
    ssize_t n = io_read_file(path, text, cap - 1);
    text[n > 0 ? n : 0] = '\0';
    return n > 0;
}

void figures_read(struct agent_stats *ret)
{
    char text[8192];
    struct statvfs fs;
    struct timespec up;
    *ret = (struct agent_stats){0};
    if (read_text("/proc/meminfo", text, sizeof text)) {
        ret->mem_total = figures_parse_meminfo(text, "MemTotal");
        ret->mem_available = figures_parse_meminfo(text, "MemAvailable");
        ret->swap_used = figures_parse_meminfo(text, "SwapTotal") - figures_parse_meminfo(text, "SwapFree");
    }
    if (read_text("/proc/loadavg", text, sizeof text))
        figures_parse_loadavg(text, &ret->load1_milli, &ret->processes);
    if (statvfs("/", &fs) == 0) {
        ret->disk_total = (uint64_t)fs.f_blocks * fs.f_frsize;
        ret->disk_free = (uint64_t)fs.f_bavail * fs.f_frsize;
    }
    if (clock_gettime(CLOCK_BOOTTIME, &up) == 0)
        ret->uptime_ns = (uint64_t)up.tv_sec * 1000000000u + (uint64_t)up.tv_nsec;
}
