/* Talks to a board: multiplies a 1 x 1 matrix on it, or continues a text on its token core.
 *
 *   cc -Wall -o example example.c
 *   ./example /dev/ttyUSB1
 *   ./example /dev/ttyUSB0 PROGRAM_WORDS BASE BEATS RESIDENT COUNT TOKEN ...
 *
 * The first form is for a board that multiplies, at 3,000,000 baud, the iCEBreaker's rate. The second
 * one is for a board with a token core, at 2,000,000 baud, the ULX3S's. 'trilith fpga load' has loaded
 * its model before, and has printed the first four numbers. The tokens are those of a prompt; the
 * program prints the COUNT tokens that follow, the likeliest each time.
 *
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

enum { HELLO = 1, ADDRESS, WRITE, JOB, ACTIVATIONS, CHECK, MODEL, TOKEN };
enum { IDENTITY = 0x81, ACK, RESULTS, DONE };

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
        if (poll(&file, 1, 5000) <= 0 || read(port, &byte, 1) != 1) fail("the board does not answer; load its bitstream, and check the port");
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
    } while (got != answer && (got != DONE || answer != RESULTS));
    if (got != answer) fail("the board ended a job without its answer; load the model again");
    return size;
}

/* Begins a session, and returns the version of the board's protocol. */
static int hello(uint8_t *in) {
    ask(HELLO, 0, (const uint8_t *)"\1\2\3\4", 4, IDENTITY, in);
    if (memcmp(in, "\1\2\3\4TRLT", 8)) fail("the answer is not that of a Trilith board");
    return in[8];
}

/* Stores a number of so many bytes, the lowest first, and returns the place behind it. */
static uint8_t *put(uint8_t *out, uint32_t number, int bytes) {
    for (; bytes; bytes--, number >>= 8) *out++ = number & 0xFF;
    return out;
}

static void multiply(void) {
    uint8_t in[256], beat[256] = {0}, job[16] = {1, 0, 0, 1, 0, 0, 1};
    if (hello(in) != 1) fail("the bitstream's protocol must be 1; give the numbers of a model for a board with a token core");
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
    hello(in);
    printf("+1 * -42 = %d\n", value);
}

/* Runs a token at a position, and returns the token of the largest logit if there is an answer. */
static long run_token(int sequence, long token, long position, int answer) {
    uint8_t out[7], in[256];
    put(put(put(out, token, 3), position, 3), answer, 1);
    ask(TOKEN, sequence & 0xFF, out, 7, answer ? RESULTS : DONE, in);
    if (!answer) return 0;
    token = in[0] | in[1] << 8 | (long)in[2] << 16;
    int kind;
    do receive_frame(&kind, in);
    while (kind != DONE);
    if (in[8] & 1) fail("the token core reports an error; load the model again");
    return token;
}

static void generate(int argc, char **argv) {
    uint8_t in[256], model[15], *end = model;
    if (hello(in) != 2) fail("the bitstream's protocol must be 2, that of boards with a token core");
    for (int i = 0; i < 4; i++) end = put(end, strtoul(argv[2 + i], NULL, 0), i < 3 ? 4 : 3);
    ask(MODEL, 0, model, sizeof model, DONE, in);
    if (in[8] & 1) fail("the board cannot begin the model; load it with 'trilith fpga load'");
    long token = 0, count = strtol(argv[6], NULL, 0);
    int prompt = argc - 7;
    for (int position = 0; position < prompt + count - 1; position++) {
        if (position < prompt) token = strtol(argv[7 + position], NULL, 0);
        token = run_token(1 + position, token, position, position >= prompt - 1);
        if (position >= prompt - 1) printf("%ld\n", token);
    }
}

int main(int argc, char **argv) {
    struct termios line;
    if (argc != 2 && argc < 8) fail("usage: example PORT [PROGRAM_WORDS BASE BEATS RESIDENT COUNT TOKEN ...]");
    port = open(argv[1], O_RDWR | O_NOCTTY);
    if (port < 0 || tcgetattr(port, &line)) fail("PORT is no serial port, or you may not open it");
    cfmakeraw(&line);
    cfsetspeed(&line, argc == 2 ? B3000000 : B2000000);
    tcsetattr(port, TCSANOW, &line);
    if (argc == 2) multiply();
    else generate(argc, argv);
    return 0;
}
