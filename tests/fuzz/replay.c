// Runs a fuzz target over every file of the folders given as arguments, for builds without libFuzzer; options are
// ignored. Fails when there is no input at all: a corpus that went missing must not pass.
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX (1u << 20)

static int replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        return -1;
    }
    uint8_t *data = malloc(INPUT_MAX);
    size_t n = data ? fread(data, 1, INPUT_MAX, f) : 0;
    fclose(f);
    // An exact copy, so that a read past the end is one that ASan sees.
    uint8_t *exact = malloc(n ? n : 1);
    if (!data || !exact)
        abort();
    memcpy(exact, data, n);
    LLVMFuzzerTestOneInput(exact, n);
    free(exact);
    free(data);
    return 0;
}

static int replay_folder(const char *path)
{
    DIR *dir = opendir(path);
    if (!dir) {
        perror(path);
        return -1;
    }
    int n = 0;
    struct dirent *d;
    while ((d = readdir(dir))) {
        char file[4096];
        if (d->d_name[0] == '.')
            continue;
        snprintf(file, sizeof file, "%s/%s", path, d->d_name);
        if (replay_file(file) < 0) {
            n = -1;
            break;
        }
        n++;
    }
    closedir(dir);
    return n;
}

int main(int argc, char **argv)
{
    int total = 0;
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-')
            continue;
        int n = replay_folder(argv[i]);
        if (n < 0)
            return 1;
        total += n;
    }
    printf("%d inputs replayed\n", total);
    return total > 0 ? 0 : 1;
}
