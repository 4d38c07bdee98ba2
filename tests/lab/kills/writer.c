// What the guest of tests/lab/linux_kills does on a disk while envvm is killed. Static, for an initrd. In
// FOLDER, an ext4 file system made by the story:
//
//   writer check FOLDER N            every record from 1 to N is there, or a later one in its place; the rest
//   is whole writer write FOLDER N NAME       writes records from N + 1 on, for ever, and noise between them;
//   says "acked NAME n"
//                                    when fsync has returned for record n
//
// A record is made durable in one of three ways, by n % 3: appended to a log; written into a place of a file
// that was there from the start (on an overlay: copied up); in a new file that is renamed over an older one.
// Noise is what nobody waits for: files created, renamed, cut and deleted.
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SECTOR      512u
#define SLOTS       256u
#define SLOT_STRIDE 4096u
#define FILES       128u
#define FILE_MAX    16u // sectors
#define NOISE_NAMES 48u
#define NOISE_OPS   4u
#define NOISE_MAX   (24u << 10)

enum { IN_LOG, IN_SLOT, IN_FILE, WAYS };

static const char *who = "?";

static void fail(const char *what, uint64_t n)
{
    printf("FAIL %s: %s, record %llu: %s\n", who, what, (unsigned long long)n, strerror(errno));
    exit(1);
}

static void make_sector(uint64_t *sector, uint64_t n)
{
    for (uint64_t i = 0; i < SECTOR / sizeof n; i++)
        sector[i] = i == 0 ? n : (n * 0x9e3779b97f4a7c15u) ^ (i * 0xff51afd7ed558ccdu);
}

// The number of the record that the sector holds; 0: none, or not whole.
static uint64_t read_sector(int fd, uint64_t offset)
{
    uint64_t sector[SECTOR / 8], expected[SECTOR / 8];
    if (pread(fd, sector, sizeof sector, (off_t)offset) != sizeof sector)
        return 0;
    make_sector(expected, sector[0]);
    return memcmp(sector, expected, sizeof sector) == 0 ? sector[0] : 0;
}

static int must_open(const char *path, int flags, uint64_t n)
{
    int fd = open(path, flags, 0644);
    if (fd < 0)
        fail(path, n);
    return fd;
}

static void must_sync(int fd, uint64_t n)
{
    if (fsync(fd) < 0)
        fail("fsync", n);
    close(fd);
}

static void put_sector(int fd, uint64_t offset, uint64_t n)
{
    uint64_t sector[SECTOR / 8];
    make_sector(sector, n);
    if (pwrite(fd, sector, sizeof sector, (off_t)offset) != sizeof sector)
        fail("write", n);
}

// ---- where record n is, by its way ----

static uint64_t log_offset(uint64_t n)
{
    return n / WAYS * SECTOR;
}

static uint64_t slot_offset(uint64_t n)
{
    return n / WAYS % SLOTS * SLOT_STRIDE;
}

static unsigned file_sectors(uint64_t n)
{
    return 1 + (unsigned)(n / WAYS % FILE_MAX);
}

static const char *file_path(uint64_t n)
{
    static char path[32];
    snprintf(path, sizeof path, "files/%llu", (unsigned long long)(n / WAYS % FILES));
    return path;
}

// ---- writing ----

static void write_record(uint64_t n)
{
    int fd;
    switch (n % WAYS) {
    case IN_LOG:
        fd = must_open("log", O_WRONLY | O_CREAT, n);
        put_sector(fd, log_offset(n), n);
        must_sync(fd, n);
        break;
    case IN_SLOT:
        fd = must_open("slots", O_WRONLY, n);
        put_sector(fd, slot_offset(n), n);
        must_sync(fd, n);
        break;
    case IN_FILE:
        fd = must_open("files/new", O_WRONLY | O_CREAT | O_TRUNC, n);
        for (unsigned i = 0; i < file_sectors(n); i++)
            put_sector(fd, (uint64_t)i * SECTOR, n);
        must_sync(fd, n);
        if (rename("files/new", file_path(n)) < 0)
            fail("rename", n);
        break;
    }
    // Whoever wants a name to be durable syncs its folder.
    if (n % WAYS != IN_SLOT)
        must_sync(must_open(n % WAYS == IN_LOG ? "." : "files", O_RDONLY | O_DIRECTORY, n), n);
}

static void noise(void)
{
    static const char junk[NOISE_MAX];
    char a[32], b[32];
    snprintf(a, sizeof a, "noise/%u", (unsigned)rand() % NOISE_NAMES);
    snprintf(b, sizeof b, "noise/%u", (unsigned)rand() % NOISE_NAMES);
    int rc = 0, fd;
    switch (rand() % 6) {
    case 0:
    case 1:
        fd = open(a, O_WRONLY | O_CREAT | (rand() % 2 ? O_TRUNC : O_APPEND), 0644);
        rc = fd < 0 || write(fd, junk, (size_t)rand() % NOISE_MAX) < 0 ? -1 : 0;
        if (fd >= 0)
            close(fd);
        break;
    case 2:
        rc = rename(a, b);
        break;
    case 3:
        rc = unlink(a);
        break;
    case 4:
        rc = rand() % 2 ? mkdir(a, 0755) : rmdir(a);
        break;
    case 5:
        rc = truncate(a, rand() % (int)NOISE_MAX);
        break;
    }
    // What names are there, and as what, is up to chance.
    if (rc < 0 && errno != ENOENT && errno != EEXIST && errno != EISDIR && errno != ENOTDIR &&
        errno != ENOTEMPTY)
        fail("noise", 0);
}

static void write_for_ever(uint64_t n)
{
    srand((unsigned)time(NULL) ^ (unsigned)getpid());
    for (;;) {
        n++;
        write_record(n);
        printf("acked %s %llu\n", who, (unsigned long long)n);
        fflush(stdout);
        for (unsigned i = 0; i < NOISE_OPS; i++)
            noise();
    }
}

// ---- checking ----

// A later record may have taken the place, and must be whole.
static void check_place(int fd, uint64_t offset, uint64_t n, uint64_t step)
{
    const uint64_t found = read_sector(fd, offset);
    if (found < n || (found - n) % step != 0)
        fail("lost", n);
}

static void check_log(uint64_t acked)
{
    int fd = acked >= WAYS ? must_open("log", O_RDONLY, acked) : -1;
    for (uint64_t n = WAYS; n <= acked; n += WAYS)
        if (read_sector(fd, log_offset(n)) != n)
            fail("lost from the log", n);
    close(fd);
}

static void check_slots(uint64_t acked)
{
    int fd = must_open("slots", O_RDONLY, acked);
    for (uint64_t n = IN_SLOT; n <= acked; n += WAYS)
        check_place(fd, slot_offset(n), n, (uint64_t)SLOTS * WAYS);
    close(fd);
}

// Only the last record of each name: older ones were replaced.
static void check_files(uint64_t acked)
{
    const uint64_t round = (uint64_t)FILES * WAYS;
    for (uint64_t n = IN_FILE; n <= acked; n += WAYS) {
        if (n + round <= acked)
            continue;
        int fd = must_open(file_path(n), O_RDONLY, n);
        const uint64_t found = read_sector(fd, 0);
        struct stat st;
        check_place(fd, 0, n, round);
        if (fstat(fd, &st) < 0 || (uint64_t)st.st_size != (uint64_t)file_sectors(found) * SECTOR)
            fail("a file of the wrong size", n);
        for (unsigned i = 1; i < file_sectors(found); i++)
            if (read_sector(fd, (uint64_t)i * SECTOR) != found)
                fail("a file that is not whole", n);
        close(fd);
    }
}

int main(int argc, char **argv)
{
    if (argc < 4 || chdir(argv[2]) < 0)
        fail("usage: writer check|write FOLDER N [NAME]", 0);
    const uint64_t n = strtoull(argv[3], NULL, 10);
    who = argc > 4 ? argv[4] : argv[2];
    if (strcmp(argv[1], "write") == 0)
        write_for_ever(n);
    check_log(n);
    check_slots(n);
    check_files(n);
    return 0;
}
