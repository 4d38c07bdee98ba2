// Why a request is refused, in the words of the API: an HTTP status, a stable code, a sentence, and what to
// try. Filled by whoever knows the rule (objects.c, images.c); sent by api/.
#pragma once

struct refusal {
    int status;
    const char *code;
    char detail[400];
    char remedy[256]; // empty: none
    char member[192]; // JSON pointer, empty: none
};

// Fills *why and returns rc (negative). The format is the detail's.
__attribute__((format(printf, 5, 6))) int refuse(struct refusal *why, int rc, int status, const char *code,
                                                 const char *format, ...);
__attribute__((format(printf, 2, 3))) void refusal_remedy(struct refusal *why, const char *format, ...);
