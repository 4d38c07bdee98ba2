// What requests may say: any bytes are parsed, held against the table of a new environment, and merged as a
// patch.
#include <stdlib.h>

#include "env/documents.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_fault fault;
    struct env_spec spec;
    json_t *v = json_read(data, size, &fault);
    if (!v)
        return 0;
    if (json_check(v, doc_environment_new_fields, doc_environment_new_n, &fault) == 0)
        doc_read_spec(v, &spec); // of a checked document everything is what it should be
    json_t *merged = json_merge_patch(v, v);
    if (!merged)
        abort();
    json_decref(merged);
    json_decref(v);
    return 0;
}
