/* Reads the identity of a board, multiplies a 1 x 1 matrix on it, and prints the product.
 *
 *   cc -Wall -o example example.c && ./example /dev/ttyUSB1
 *
 * The line runs at 3,000,000 baud, the iCEBreaker's rate ('trilith fpga boards' prints the others).
 * This program sends one frame at a time and ends at the first error. A host for daily use sends
 * frames again, as PROTOCOL.md says.
 */
#define _DEFAULT_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

enum { HELLO = 1, ADDRESS, WRITE, JOB, ACTIVATIONS, IDENTITY = 0x81, ACK, RESULTS, DONE };

static int port;

static void fail(const char *why) {
    fprintf(stderr, "example: %s\n", why);
    exit(1);
}

static uint32_t crc32(const uint8_t *data, int size) {
    uint32_t crc = ~0u;
    for (int i = 0; i < 8 * size; i++) {
        if (i % 8 == 0) crc ^= data[i / 8];
        crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return ~crc;
}

static void send_frame(int kind, int sequence, const uint8_t *payload, int length) {
    uint8_t body[243] = {kind, sequence, length}, line[251] = {0, 1};
    int code = 1, end = 2;
    memcpy(body + 3, payload, length);
    for (int i = 0; i < length + 3; i++) {
        if (body[i]) {
            line[end++] = body[i];
            line[code]++;
        } else {
            line[code = end++] = 1;
        }
    }
    uint32_t crc = crc32(line + 1, end - 1);
    for (int i = 0; i < 5; i++, crc >>= 7) line[end++] = 0x80 | (crc & 0x7F);
    line[end++] = 0;
    if (write(port, line, end) != end) fail("the port did not take a frame; check the cable");
}

/* Receives the next good frame; stores its kind and payload, and returns the payload's length. */
static int receive_frame(int *kind, uint8_t *payload) {
    uint8_t line[256], body[256];
    int size = 0;
    for (;;) {
        uint8_t byte;
        struct pollfd file = {port, POLLIN, 0};
        if (poll(&file, 1, 2000) <= 0 || read(port, &byte, 1) != 1) fail("the board does not answer; load its bitstream, and check the port");
        if (byte && size < 256) line[size++] = byte;
        if (byte || !size) continue;
        uint32_t crc = crc32(line, size - 5);
        int length = 0, good = size >= 9;
        for (int i = size - 5; good && i < size; i++, crc >>= 7) good = line[i] == (0x80 | (crc & 0x7F));
        for (int i = 0; good && i < size - 5; i += line[i]) {
            if (i) body[length++] = 0;
            for (int j = 1; j < line[i] && i + j < size - 5; j++) body[length++] = line[i + j];
        }
        if (good && length == body[2] + 3) {
            *kind = body[0];
            memcpy(payload, body + 3, body[2]);
            return body[2];
        }
        size = 0;
    }
}

/* Sends a frame, waits for an answer of a kind, and returns the length of its payload. */
static int ask(int kind, int sequence, const uint8_t *out, int length, int answer, uint8_t *in) {
    int got, size;
    send_frame(kind, sequence, out, length);
    do {
        size = receive_frame(&got, in);
    } while (got != answer);
    return size;
}

int main(int argc, char **argv) {
    uint8_t in[256], beat[256] = {0}, job[16] = {1, 0, 0, 1, 0, 0, 1};
    struct termios line;
    if (argc != 2) fail("usage: example PORT");
    port = open(argv[1], O_RDWR | O_NOCTTY);
    if (port < 0 || tcgetattr(port, &line)) fail("PORT is no serial port, or you may not open it");
    cfmakeraw(&line);
    cfsetspeed(&line, B3000000);
    tcsetattr(port, TCSANOW, &line);

    ask(HELLO, 0, (const uint8_t *)"\1\2\3\4", 4, IDENTITY, in);
    if (memcmp(in, "\1\2\3\4TRLT\1", 9)) fail("the bitstream's protocol must be 1");
    int lanes = in[10] | in[11] << 8, rows = in[12], code = in[14];
    if (in[9] != 8 || code != 1) fail("the engine must have int8 activations and the code escape");
    printf("%d lanes x %d rows x %d tokens\n", lanes, rows, in[13]);

    /* The code escape has five trits in a byte: 0x55 is five zeros, 0x54 is +1 and four zeros. */
    int weight_bytes = (lanes * rows + 4) / 5;
    memset(beat, 0x55, sizeof beat);
    beat[0] = 0x54;
    ask(ADDRESS, 0, (const uint8_t *)"\0\0\0", 3, ACK, in);
    if (weight_bytes > 240 || lanes > 240) fail("a beat must have at most 240 bytes, the payload of a frame");
    ask(WRITE, 1, beat, weight_bytes, ACK, in);
    job[13] = 1; /* One beat of weights, at address 0. */
    ask(JOB, 2, job, sizeof job, ACK, in);
    memset(beat, 0, sizeof beat);
    beat[0] = -42;
    ask(ACTIVATIONS, 3, beat, lanes, RESULTS, in);
    int32_t value = (int32_t)((uint32_t)in[0] << 16 | (uint32_t)in[1] << 24) >> 16;
    ask(HELLO, 0, (const uint8_t *)"\1\2\3\4", 4, IDENTITY, in);
    printf("+1 * -42 = %d\n", value);
    return 0;
}
