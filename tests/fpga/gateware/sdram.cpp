// Drives the clients of an arbiter in front of an SDRAM, see test_sdram.py.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <random>
#include <string>
#include <vector>

#include "Vtop.h"
#include "verilated.h"

static Vtop *top;
static std::mt19937 rng;
static uint64_t cycles, commands, refreshes;

static bool chance(double share) { return rng() < share * 4294967296.0; }

struct Request {
    uint32_t address, words, write;
};

struct Client {
    CData &ask, &write, &asked, &give, &given, &come, &take;
    IData &address;
    CData &words;
    VlWide<4> &data, &word;
    SData &strobes;
    std::deque<Request> requests;
    std::deque<std::vector<uint8_t>> owed, expected;  // Words to be written, with strobes; and read.
    uint64_t got = 0;
    bool checks = true;

    void offer() {
        ask = !requests.empty();
        if (ask) {
            address = requests.front().address;
            words = requests.front().words;
            write = requests.front().write;
        }
        give = !owed.empty();
        if (give) {
            memcpy(data.m_storage, owed.front().data(), 16);
            memcpy(&strobes, owed.front().data() + 16, 2);
        }
    }
    void clock() {
        if (ask && asked) requests.pop_front();
        if (give && given) owed.pop_front();
        if (come && take) {
            got++;
            if (checks) {
                if (expected.empty() || memcmp(word.m_storage, expected.front().data(), 16)) {
                    printf("a wrong word in cycle %llu\n", (unsigned long long)cycles);
                    exit(1);
                }
                expected.pop_front();
            }
        }
    }
};

#define CLIENT(n)                                                                                  \
    {top->ask##n, top->write##n, top->asked##n, top->give##n, top->given##n, top->come##n,         \
     top->take##n, top->address##n, top->words##n, top->data##n, top->word##n, top->strobes##n}

int main(int argc, char **argv) {
    Verilated::commandArgs(argc, argv);
    std::string mode = argv[1];
    uint64_t limit = strtoull(argv[2], nullptr, 10);
    top = new Vtop;
    Client clients[3] = {CLIENT(0), CLIENT(1), CLIENT(2)};
    std::vector<uint8_t> memory[3];
    for (auto &part : memory) part.assign(1 << 20, 0);
    uint32_t next = 0;
    uint64_t since = 0, counted = 0, beats = 0;
    bool weights = mode == "weights" || mode == "mixed";
    std::vector<uint8_t> image;
    if (weights) {
        image.resize(64 * 4096);
        FILE *file = fopen(argv[3], "rb");
        if (!file || fread(image.data(), 1, image.size(), file) != image.size()) return 1;
        fclose(file);
    }
    for (cycles = 0; cycles < 18000 + limit; cycles++) {
        bool last = cycles > 12000 + limit;  // Nothing is asked for any more.
        if (mode == "image" && cycles == 1) {
            uint32_t address = strtoul(argv[3], nullptr, 10);
            clients[0].requests.push_back({address, 4, 0});
            clients[0].checks = false;
        }
        for (int n = 0; n < 3 && mode == "random" && !last; n++) {
            Client &client = clients[n];
            if (client.requests.size() > 3 || !chance(0.02)) continue;
            // Some rows of all banks, and places near the ends of rows.
            uint32_t words = 1 + rng() % 16, write = chance(0.4);
            uint32_t place = (rng() % 16 * 64 + 50 + rng() % 12) * 16 + rng() % 4 * 65536;
            uint32_t address = place + n * (8 << 20);
            client.requests.push_back({address, words, write});
            for (uint32_t at = place; at < place + 16 * words; at += 16) {
                std::vector<uint8_t> word(memory[n].begin() + at, memory[n].begin() + at + 16);
                if (!write) {
                    client.expected.push_back(word);
                    continue;
                }
                word.resize(18);
                for (auto &byte : word) byte = rng();
                for (int byte = 0; byte < 16; byte++)
                    if (word[16 + byte / 8] >> byte % 8 & 1) memory[n][at + byte] = word[byte];
                client.owed.push_back(word);
            }
        }
        if (mode == "read" || mode == "write") {
            Client &stream = clients[2];
            stream.checks = false;
            if (stream.requests.size() < 4 && !last) {
                stream.requests.push_back({next, 16, mode == "write"});
                for (int word = 0; word < 16 && mode == "write"; word++)
                    stream.owed.push_back(std::vector<uint8_t>(18, 255));
                next = (next + 256) & ((1 << 25) - 1);
            }
        }
        // The core's: a burst in 1,000 cycles or so, and at times a write of a word.
        if (mode == "mixed" && clients[1].requests.empty() && !last && chance(0.001)) {
            clients[1].checks = false;
            clients[1].requests.push_back({(rng() % 8192) * 4096, 1 + rng() % 16, 0});
            if (chance(0.2)) {
                clients[1].requests.push_back({(4096 + rng() % 4096) * 4096, 1, 1});
                clients[1].owed.push_back(std::vector<uint8_t>(18, 255));
            }
        }
        top->load = weights && cycles == 5;
        for (auto &client : clients) {
            client.take = mode != "random" || chance(0.9);
            client.offer();
        }
        top->rst = cycles == 0;
        top->clk = 0;
        top->eval();
        if (top->ready) {
            if (!since) since = cycles;
            if (!last) {
                counted++;
                commands += top->command;
                refreshes += top->refresh;
            }
        }
        if (mode == "image" && top->come0)
            for (int part = 0; part < 16; part++)
                printf("%02x", reinterpret_cast<uint8_t *>(top->word0.m_storage)[part]);
        for (auto &client : clients) client.clock();
        if (weights && top->come3) {
            if (memcmp(top->beat.m_storage, image.data() + beats++ % 4096 * 64, 64)) {
                printf("a wrong beat in cycle %llu\n", (unsigned long long)cycles);
                return 1;
            }
        }
        top->clk = 1;
        top->eval();
    }
    for (auto &client : clients)
        if (!client.requests.empty() || !client.expected.empty() || !client.owed.empty()) {
            printf("a client still waits\n");
            return 1;
        }
    if (mode != "image")
        printf("%llu %llu %llu %llu\n", (unsigned long long)counted, (unsigned long long)commands,
               (unsigned long long)refreshes, (unsigned long long)since);
    printf("\n");
    return 0;
}
