// A disk that fails: ring_write() is wrapped (-Wl,--wrap=ring_write). Called by tests that have a journal.
#pragma once

extern unsigned n_failing_writes; // that many fail, of what is not a segment's header
