// Fuzzes what another host tells about a message's stages: whatever is read is a story with every stage once,
// each host's in its own order, and comes back the same when it is written again.
#include <stdlib.h>
#include <string.h>

#include "remote/trace_map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_story(const struct remote_trace_host *hosts)
{
    static struct remote_trace_line lines[2 * TRACE_ANSWER_STAGES];
    size_t next[2] = {0, 0};
    size_t n = trace_merge(hosts, 2, lines);
    if (n != hosts[0].n_stages + hosts[1].n_stages)
        abort();
    for (size_t i = 0; i < n; i++)
        if (lines[i].host > 1 || lines[i].stage != next[lines[i].host]++)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t again[TRACE_ANSWER_CAP];
    struct remote_trace_host hosts[2] = {0};
    size_t first = size > 0 ? data[0] * (size - 1) / 255 : 0; // of two answers
    if (size == 0)
        return 0;
    bool one = trace_read(data + 1, first, &hosts[0]);
    bool other = trace_read(data + 1 + first, size - 1 - first, &hosts[1]);
    if (one && (trace_write(&hosts[0], again) != first || memcmp(again + 10, data + 11, first - 10) != 0))
        abort();
    trace_compare_clocks(&hosts[1], hosts[0].now_us, hosts[0].now_us + size);
    if (one || other)
        check_story(hosts);
    free(hosts[0].stages);
    free(hosts[1].stages);
    return 0;
}
