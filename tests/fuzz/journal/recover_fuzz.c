// Recovery of two segment files of arbitrary bytes: a real opening in a folder. The input's first byte says
// whether checksums are made right first, so that what lies behind them is reached; the second where the
// first file ends.
#include <assert.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "journal/format.h"
#include "journal/journal.h"

#define FILE_BYTES FORMAT_SEGMENT_MIN

static char folder[64];
static uint64_t last_seq;

static int on_recovered(void *arg, const struct journal_record *r, bool live)
{
    uint32_t sum = 0;
    (void)arg;
    (void)live;
    assert(r->seq > last_seq && r->type <= JOURNAL_TYPE_MAX);
    last_seq = r->seq;
    for (size_t i = 0; i < r->len; i++)
        sum += ((const uint8_t *)r->data)[i]; // it can all be read
    assert(sum <= r->len * 255);
    return 0;
}

static void make_right(uint8_t *bytes)
{
    struct format_segment s;
    struct format_record r;
    memcpy(&s, bytes, sizeof s);
    memcpy(s.magic, FORMAT_MAGIC, sizeof s.magic);
    s.crc = format_crc(&s, offsetof(struct format_segment, crc));
    memcpy(bytes, &s, sizeof s);
    for (size_t at = FORMAT_FIRST; at + sizeof r <= FILE_BYTES; at += format_size(r.len)) {
        memcpy(&r, bytes + at, sizeof r);
        r.len %= 512;
        r.salt = s.salt;
        if (at + format_size(r.len) > FILE_BYTES)
            return;
        format_write_record(bytes + at, r);
    }
}

// The input's bytes go where they say something: half to the header, the rest to the records.
static void write_file(unsigned number, const uint8_t *data, size_t size, bool right)
{
    static uint8_t bytes[FILE_BYTES];
    char path[96];
    size_t head = size < sizeof(struct format_segment) ? size : sizeof(struct format_segment);
    size_t rest = size - head < FILE_BYTES - FORMAT_FIRST ? size - head : FILE_BYTES - FORMAT_FIRST;
    memset(bytes, 0, sizeof bytes);
    memcpy(bytes, data, head);
    memcpy(bytes + FORMAT_FIRST, data + head, rest);
    if (right)
        make_right(bytes);
    snprintf(path, sizeof path, "%s/%08u.seg", folder, number);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert(fd >= 0 && write(fd, bytes, sizeof bytes) == (ssize_t)sizeof bytes);
    close(fd);
}

static void remove_folder(void)
{

    for (unsigned i = 0; i < 2; i++) {
        for (unsigned n = 1; n <= 2; n++) {
            char path[96];
            snprintf(path, sizeof path, "%s/%08u.%s", folder, n, i ? "damaged" : "seg");
            (void)unlink(path);
        }
    }
    rmdir(folder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    static const struct journal_cb cb = {.on_recovered = on_recovered};
    size_t first = (size - 2) * data[1] / 255;
    snprintf(folder, sizeof folder, "%s",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm/jfXXXXXX" : "/tmp/jfXXXXXX");
    assert(mkdtemp(folder));
    write_file(1, data + 2, first, data[0] & 1);
    write_file(2, data + 2 + first, size - 2 - first, data[0] & 2);
    struct event_base *base = event_base_new();
    struct journal *j = NULL;
    struct err err = {""};
    const struct journal_config config = {.folder = folder, .segment_bytes = FILE_BYTES, .bytes_max = 1};
    last_seq = 0;
    if (journal_open(base, &config, &cb, NULL, &j, &err) == 0)
        journal_close(j);
    event_base_free(base);
    remove_folder();
    return 0;
}
