// Counts what arrives.
#include "samples.h"

#include "common/io.h"

void samples_begin(struct samples *s, unsigned seconds)
{
    *s = (struct samples){.every = 1};
    s->start_ns = io_monotonic_ns() + SAMPLES_WARM_UP_NS;
    s->end_ns = s->start_ns + seconds * 1000000000ull;
}

// Every second one is enough from now on.
static void thin_out(struct samples *s)
{
    for (size_t i = 0; i < s->n_latencies / 2; i++)
        s->latencies[i] = s->latencies[2 * i];
    s->n_latencies /= 2;
    s->every *= 2;
}

void samples_add(struct samples *s, uint64_t sent_ns, uint64_t now_ns)
{
    if (now_ns < s->start_ns || now_ns >= s->end_ns)
        return;
    size_t slice = (now_ns - s->start_ns) / SAMPLES_SLICE_NS;
    if (slice < SAMPLES_SLICES_MAX)
        s->slices[slice]++;
    if (s->n_arrived++ % s->every != 0)
        return;
    if (s->n_latencies == SAMPLES_MAX)
        thin_out(s);
    s->latencies[s->n_latencies++] = now_ns - sent_ns;
}

void samples_print(const struct samples *s, FILE *out)
{
    size_t n_slices = (s->end_ns - s->start_ns) / SAMPLES_SLICE_NS;
    for (size_t i = 0; i < n_slices && i < SAMPLES_SLICES_MAX; i++)
        fprintf(out, "throughput %llu\n",
                (unsigned long long)(s->slices[i] * (1000000000ull / SAMPLES_SLICE_NS)));
    for (size_t i = 0; i < s->n_latencies; i++)
        fprintf(out, "latency %llu\n", (unsigned long long)s->latencies[i]);
}
