// Text from guests and other tenants on its way to a terminal: control characters lose their effect.
#pragma once

#include <stdio.h>

// C0, DEL, and C1 in UTF-8 become spaces; all other bytes stay.
void harmless_text(char *text);

struct harmless {
    unsigned char lead; // a 0xc2 that waits for what follows it, else 0
};
// Writes bytes with control characters (but newline and tab) as \\xNN. Pieces may be cut anywhere: state
// (zero at first) goes from one to the next.
void harmless_write(struct harmless *state, FILE *out, const char *data, size_t len);
// What is still held back after the last piece.
void harmless_flush(struct harmless *state, FILE *out);
