// A 16550A serial port as Linux's 8250 driver wants it: output goes to a sink at once, input is never there.
// Its FIFO lets a driver send 16 bytes for an interrupt.
// Early output and a console of last resort; virtio-console does the work otherwise. Driven by a vCPU
// thread's port exits; knows neither KVM nor the log. Source: TI PC16550D data sheet, table 4; registers at
// the port's offsets 0 to 7, one byte each.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define SERIAL_PORTS 8u // of I/O space

struct serial_ops {
    // A byte was sent.
    void (*output)(void *arg, uint8_t untrusted_byte);
    // The interrupt line changed.
    void (*line)(void *arg, bool raised);
};

struct serial {
    const struct serial_ops *ops;
    void *arg;
    uint8_t ier, lcr, mcr, scr, dll, dlm;
    bool sent;     // the "transmitter empty" interrupt is due, until it is read or the next byte
    bool received; // loop-back mode: rbr holds a byte
    bool fifo;     // is switched on
    uint8_t rbr;
    bool raised;
};

// Callbacks are called from inside serial_read and serial_write. ops and what arg points to outlive the port.
void serial_init(struct serial *s, const struct serial_ops *ops, void *arg);
// offset below SERIAL_PORTS. One thread at a time.
uint8_t serial_read(struct serial *s, unsigned offset);
void serial_write(struct serial *s, unsigned offset, uint8_t untrusted_value);
