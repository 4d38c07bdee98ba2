// What a load measures: messages that arrived in each tenth of a second, and how long some of them took. Used
// by every load, so that all subjects are counted alike.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define SAMPLES_WARM_UP_NS 1000000000ull
#define SAMPLES_SLICE_NS   500000000ull // long enough for a busy broker to deliver something
#define SAMPLES_SLICES_MAX 1000
#define SAMPLES_MAX        200000

struct samples {
    uint64_t start_ns; // end of the warm-up
    uint64_t end_ns;
    uint64_t slices[SAMPLES_SLICES_MAX];
    uint64_t n_arrived;
    uint64_t latencies[SAMPLES_MAX];
    size_t n_latencies;
    uint32_t every; // one of so many is kept; grows when there are many
};

void samples_begin(struct samples *s, unsigned seconds);
// A message that was sent at sent_ns arrived at now_ns.
void samples_add(struct samples *s, uint64_t sent_ns, uint64_t now_ns);
// Lines "throughput MESSAGES-PER-S", one a slice, and "latency NS".
void samples_print(const struct samples *s, FILE *out);
