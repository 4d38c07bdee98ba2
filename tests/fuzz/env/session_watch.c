// Fuzzes the following of a guest's frames (server/daemon/relay/watch.c): the same verdict and result however
// the bytes are cut. The first byte says how.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "relay/watch.h"

static const char *feed(struct session_watch *w, const uint8_t *data, size_t len, size_t piece)
{
    for (size_t at = 0; at < len; at += piece) {
        const char *wrong = session_watch_feed(w, data + at, len - at < piece ? len - at : piece);
        if (wrong)
            return wrong;
    }
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct session_watch whole = {0}, cut = {0};
    char a[64], b[64];
    if (len < 2)
        return 0;
    const char *wrong = feed(&whole, data + 1, len - 1, len);
    if (feed(&cut, data + 1, len - 1, (size_t)data[0] + 1) != wrong)
        abort();
    session_watch_result(&whole, a, sizeof a);
    session_watch_result(&cut, b, sizeof b);
    if (strcmp(a, b) != 0)
        abort();
    return 0;
}
