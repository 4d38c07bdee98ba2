// The record of recent decisions, found by message id. Bounded by number and by bytes. Used by the mediator
// only.
#pragma once

#include "mediate/mediator.h"

struct records;

struct records *records_new(size_t max); // NULL: no memory
void records_free(struct records *r);
// Copies everything that view points to. When the record is full, the oldest entry of the source's tenant
// goes if that tenant has its share or more, else the oldest of the tenant with the most. Silently does
// nothing without memory.
void records_add(struct records *r, const struct mediate_record *view);
const struct mediate_record *records_find(const struct records *r, const struct id *message, size_t nth);
size_t records_count(const struct records *r);
