// Writes the seed corpora of proto/'s fuzz targets: every sample of the unit tests, and the smallest wrong
// variants of each (one byte less, one more, one bit wrong). Run by the target fuzz_seeds; the result is
// committed.
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../../unit/proto/samples.h"
#include "proto/logring.h"

static const char *root;

static void write_seed(const char *corpus, const char *name, const void *data, size_t len)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", root, corpus);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/%s/%s", root, corpus, name);
    for (char *p = path + strlen(root); *p; p++)
        *p = (char)tolower(*p);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, len, f) != len || fclose(f) != 0) {
        perror(path);
        exit(1);
    }
}

static void write_samples(const char *corpus, bool (*next)(size_t i, struct sample *ret))
{
    static struct sample s;
    char name[64];
    for (size_t i = 0; next(i, &s); i++) {
        snprintf(name, sizeof name, "%zu-%s", i, s.name);
        write_seed(corpus, name, s.data, s.len);
    }
    next(1, &s);
    write_seed(corpus, "cut", s.data, s.len - 1);
    s.data[s.len] = 0;
    write_seed(corpus, "trailing", s.data, s.len + 1);
    s.data[0] ^= 0x80;
    write_seed(corpus, "wrong-start", s.data, s.len);
    write_seed(corpus, "empty", "", 0);
}

static void write_logrings(void)
{
    static const struct {
        const char *name;
        struct logring ring;
        uint64_t from, n;
    } rings[] = {
        {"fresh", {4096, 0, 0}, 0, 0},
        {"wrapped", {4096, 10000, 3}, 8000, 200},
        {"largest", {LOGRING_CAPACITY_MAX, UINT64_MAX, UINT64_MAX}, UINT64_MAX, LOGRING_CAPACITY_MAX},
        {"no-capacity", {0, 0, 0}, 1, 1},
        {"rubbish-behind", {4096, 0, 0}, 0, 0},
    };
    for (size_t i = 0; i < sizeof rings / sizeof rings[0]; i++) {
        uint8_t raw[49] = {0};
        struct wire_writer w;
        logring_header_write(&rings[i].ring, raw);
        wire_writer_init(&w, raw + 32, 16);
        wire_write_u64(&w, rings[i].from);
        wire_write_u64(&w, rings[i].n);
        raw[48] = 1;
        write_seed("proto_logring", rings[i].name, raw,
                   strcmp(rings[i].name, "rubbish-behind") == 0 ? 49 : 48);
    }
}

static void write_names(void)
{
    static const struct {
        const char *name, *text;
    } names[] = {
        {"name", "web-1"},
        {"remote", "acme/web"},
        {"service", ":logs"},
        {"remote-service", "ops/:logs"},
        {"double-slash", "a//b"},
        {"empty-service", "a/:"},
        {"upper", "A/b"},
        {"subject", "db.query_A-9"},
        {"subject-17-tokens", "1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17"},
        {"id", "01234567-89ab-7def-8000-00000000000f"},
        {"id-upper", "01234567-89AB-7DEF-8000-00000000000F"},
        {"utf8", "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\xa7"},
        {"overlong", "\xe0\x80\x80"},
        {"surrogate", "\xed\xa0\x80"},
        {"empty", ""},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        write_seed("proto_name", names[i].name, names[i].text, strlen(names[i].text));
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s CORPUS_FOLDER\n", argv[0]);
        return 2;
    }
    root = argv[1];
    write_samples("proto_envelope", sample_envelope);
    write_samples("proto_agent_frame", sample_agent);
    write_samples("proto_session", sample_session);
    write_samples("proto_privctl", sample_privctl);
    write_samples("proto_vmctl", sample_vmctl);
    write_samples("proto_vmctl_config", sample_vmctl_config);
    write_logrings();
    write_names();
    return 0;
}
