// Fields that several codecs share: read, validated, complained about at the offset where they begin.
// Private to proto/.
#pragma once

#include "proto/name.h"
#include "proto/wire.h"

struct id field_read_id(struct wire_reader *r);
void field_write_id(struct wire_writer *w, const struct id *id);
// A str that is a valid name.
struct wire_view field_read_name(struct wire_reader *r);
// The same into a C string; empty after a failure.
void field_read_name_cstr(struct wire_reader *r, char out[NAME_CAP]);
// A str that parses as an address, or is empty where that is allowed.
struct wire_view field_read_address(struct wire_reader *r, bool may_be_empty);
// Six bytes that are an individual (not a group) address.
void field_read_mac(struct wire_reader *r, uint8_t out[6]);
void field_write_view(struct wire_writer *w, struct wire_view v);
// Reads a u8, u16 or u32 that must lie in [min, max]; min when it does not.
uint8_t field_read_u8_in(struct wire_reader *r, uint8_t min, uint8_t max, const char *what);
uint16_t field_read_u16_in(struct wire_reader *r, uint16_t min, uint16_t max, const char *what);
uint32_t field_read_u32_in(struct wire_reader *r, uint32_t min, uint32_t max, const char *what);
