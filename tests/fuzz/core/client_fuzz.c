// A program's byte stream, from before its HELLO, to an agent whose host answers everything. The first byte
// is the size of the pieces in which the rest arrives.
#include "harness.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct harness h;
    harness_init(&h, 0);
    harness_link_up(&h);
    h.polite_host = true;
    harness_program(&h, 1);
    agent_client_open(h.agent, 0);
    h.programs[0].connected = true;
    size_t piece = size > 0 ? 1 + data[0] : 1;
    for (size_t i = 1; i < size && h.programs[0].connected; i += piece) {
        harness_say_bytes(&h, 0, data + i, size - i < piece ? size - i : piece);
        harness_pump(&h);
    }
    harness_pass(&h, 20000);
    harness_done(&h);
    return 0;
}
