// A simulated board behind a pseudo-terminal: the Verilated top level, whose UART is driven bit by
// bit.
//
// The program prints the terminal's path. Then it runs until it is killed or, with +until-eof, until
// its standard input ends. It sleeps while the board has nothing to do and no byte comes.
//
// +divisor=N: cycles per bit. +flip=P, +drop=P, +repeat=P, +insert=P: probability, for each byte in
// either direction, that one of its bits is inverted, that it is lost, that it comes twice, or that a
// random byte follows. +seed=N: seed of the random numbers.

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <random>

#include "Vtop.h"
#include "verilated.h"

namespace {

double option(int argc, char** argv, const char* name, double otherwise) {
    const size_t length = std::strlen(name);
    for (int i = 1; i < argc; ++i) {
        if (!std::strncmp(argv[i], name, length)) return std::atof(argv[i] + length);
    }
    return otherwise;
}

// Noise on the line: changes, drops, repeats and inserts bytes.
struct Noise {
    double flip, drop, repeat, insert;
    std::mt19937_64 random;

    void pass(unsigned char byte, std::deque<unsigned char>& out) {
        if (!(flip || drop || repeat || insert)) {
            out.push_back(byte);
            return;
        }
        std::uniform_real_distribution<double> uniform(0, 1);
        if (uniform(random) < flip) byte ^= 1 << random() % 8;
        if (uniform(random) >= drop) out.push_back(byte);
        if (uniform(random) < repeat) out.push_back(byte);
        if (uniform(random) < insert) out.push_back(random() & 0xFF);
    }
};

// Sends bytes on a line, 8N1.
struct Sender {
    int divisor, count = 0, bits = 0;
    unsigned shift = 1;

    bool idle() const { return bits == 0; }
    bool clock(std::deque<unsigned char>& bytes) {
        if (count) {
            --count;
        } else if (bits > 1) {
            shift >>= 1;
            --bits;
            count = divisor - 1;
        } else if (!bytes.empty()) {
            shift = bytes.front() << 1 | 0x200;
            bytes.pop_front();
            bits = 10;
            count = divisor - 1;
        } else {
            bits = 0;
            shift = 1;
        }
        return shift & 1;
    }
};

// Receives bytes from a line; each bit is sampled in its middle.
struct Receiver {
    int divisor, count = 0, bits = 0;
    unsigned shift = 0;

    bool clock(bool line, unsigned char& byte) {
        if (!bits) {
            if (!line) {
                bits = 10;
                count = divisor / 2 - 1;
            }
            return false;
        }
        if (count--) return false;
        count = divisor - 1;
        shift = shift >> 1 | line << 9;
        if (--bits) return false;
        byte = shift >> 1 & 0xFF;
        return line;
    }
};

}  // namespace

int main(int argc, char** argv) {
    VerilatedContext context;
    context.commandArgs(argc, argv);
    Vtop top{&context};

    const int host = posix_openpt(O_RDWR | O_NOCTTY);
    if (host < 0 || grantpt(host) || unlockpt(host)) {
        std::perror("pseudo-terminal");
        return 1;
    }
    const char* path = ptsname(host);
    // This end stays open, so that the terminal stays when a host closes it.
    const int device = open(path, O_RDWR | O_NOCTTY);
    termios attributes;
    if (device < 0 || tcgetattr(device, &attributes)) {
        std::perror(path);
        return 1;
    }
    cfmakeraw(&attributes);
    tcsetattr(device, TCSANOW, &attributes);
    fcntl(host, F_SETFL, O_NONBLOCK);
    std::puts(path);
    std::fflush(stdout);

    bool until_eof = false;
    for (int i = 1; i < argc; ++i) until_eof |= !std::strcmp(argv[i], "+until-eof");
    const int divisor = static_cast<int>(option(argc, argv, "+divisor=", 4));
    Noise noise{option(argc, argv, "+flip=", 0), option(argc, argv, "+drop=", 0),
                option(argc, argv, "+repeat=", 0), option(argc, argv, "+insert=", 0),
                std::mt19937_64(static_cast<uint64_t>(option(argc, argv, "+seed=", 0)))};
    Sender sender{divisor};
    Receiver receiver{divisor};
    std::deque<unsigned char> to_board, to_host;
    bool listened = true;  // A host took the bytes that were sent last.
    const auto clock = [&top] {
        top.clk = 1;
        top.eval();
        top.clk = 0;
        top.eval();
    };
    top.clk = 0;
    top.rx = 1;
    top.rst = 1;
    clock();
    top.rst = 0;
    // Cycles without any movement after which the board is idle: every pipeline is shorter.
    constexpr int kSettled = 64;
    // Bytes that may cross the line between two polls of the terminal.
    constexpr int kBytes = 32;
    int quiet = 0;
    for (;;) {
        // The terminal is polled without waiting while something moves, and with waiting otherwise.
        const bool settled = quiet >= kSettled;
        unsigned char buffer[4096];
        if (to_board.size() < kBytes) {
            pollfd files[2] = {{host, POLLIN, 0}, {0, POLLIN, 0}};
            if (settled) poll(files, until_eof ? 2 : 1, -1);
            const ssize_t size = read(host, buffer, sizeof buffer);
            for (ssize_t i = 0; i < size; ++i) noise.pass(buffer[i], to_board);
            if (!to_board.empty()) quiet = 0;
            if (settled && until_eof && files[1].revents) {
                if (read(0, buffer, sizeof buffer) <= 0) break;
            }
        }
        for (int i = 0; i < kBytes * 10 * divisor && quiet < kSettled + 1; ++i) {
            top.rx = sender.clock(to_board);
            unsigned char byte;
            if (receiver.clock(top.tx, byte)) noise.pass(byte, to_host);
            clock();
            quiet = top.active || !sender.idle() || receiver.bits ? 0 : quiet + 1;
        }
        while (!to_host.empty()) {
            size_t count = 0;
            for (; count < to_host.size() && count < sizeof buffer; ++count) {
                buffer[count] = to_host[count];
            }
            ssize_t taken = write(host, buffer, count);
            if (taken > 0) {
                listened = true;
            } else if (listened) {
                // The host is slow or gone; after a second without it, bytes are lost.
                pollfd file = {host, POLLOUT, 0};
                listened = poll(&file, 1, 1000) > 0;
                continue;
            } else {
                taken = count;  // No host reads: the bytes are lost, as on a wire.
            }
            to_host.erase(to_host.begin(), to_host.begin() + taken);
        }
    }
    top.final();
    return 0;
}
