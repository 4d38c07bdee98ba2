// Owns the parsing of sizes on envctl's command line.
#include "size.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool size_parse_mib(const char *text, uint32_t *ret_mib)
{
    static const struct {
        const char *suffix;
        uint64_t mib;
    } units[] = {{"", 1}, {"M", 1}, {"MiB", 1}, {"G", 1024}, {"GiB", 1024}};
    char *end;
    errno = 0;
    if (text[0] < '0' || text[0] > '9')
        return false;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno != 0 || n > (16u << 20))
        return false;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(end, units[i].suffix) != 0)
            continue;
        *ret_mib = (uint32_t)(n * units[i].mib);
        return n * units[i].mib <= (16u << 20);
    }
    return false;
}
