// Runs a netlist cycle by cycle without delays and counts transitions. It is an interpreter, because
// to compile a large netlist takes longer than to run it.
//
// Reads netlist.bin (counts, then the lists below) and in.bin (a byte per input bit and cycle; the
// first cycle is the reset's, which is neither counted nor written). Writes out.bin (a byte per
// output bit and cycle), counts.bin (int64 per net: its changes from cycle to cycle, then the
// cycles in which it was one) and groups.bin (int64 per instance and group of conditions.bin: how
// often the group applied, in halves of a transition).
//
// Also reads parts.bin: the number of memories, and each of them (see ``_memory_list``); the number
// of parts, and the part of each register. Writes uses.bin: int64 of the bits read and written of
// each memory, and of each part the cycles in which one of its registers changed.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <utility>
#include <vector>

template <typename T>
static std::vector<T> take(std::FILE* file, size_t count) {
    std::vector<T> values(count);
    if (std::fread(values.data(), sizeof(T), count, file) != count) values.clear();
    return values;
}

// Internal power groups of the cells, see conditions.py.
struct Group {
    int32_t related, table, count;
    const int32_t* slots;
};
struct Pin {
    int32_t slot, mode;
    std::vector<Group> groups;
};
struct Kind {
    std::vector<Pin> pins;
    const int32_t* nets;
    int32_t slots, instances;
};
enum { kBoth, kBefore, kNow, kClock };

static std::vector<Kind> read_kinds(const int32_t* word) {
    std::vector<Kind> kinds(*word++);
    for (Kind& kind : kinds) {
        kind.slots = *word++;
        kind.pins.resize(*word++);
        for (Pin& pin : kind.pins) {
            pin.slot = *word++;
            pin.mode = *word++;
            pin.groups.resize(*word++);
            for (Group& group : pin.groups) {
                group = {word[0], word[1], word[2], word + 3};
                word += 3 + group.count;
            }
        }
        kind.instances = *word++;
        kind.nets = word;
        word += size_t(kind.instances) * kind.slots;
    }
    return kinds;
}

using Values = std::vector<uint8_t>;

static int look_up(const int8_t* tables, const Group& group, const int32_t* nets, const Values& at) {
    uint32_t place = 0;
    for (int32_t i = 0; i < group.count; ++i) place |= uint32_t(at[nets[group.slots[i]]]) << i;
    return tables[group.table + place];
}

static void count_groups(const std::vector<Kind>& kinds, const int8_t* tables, const Values& before,
                         const Values& now, int64_t* count) {
    for (const Kind& kind : kinds) {
        const int32_t* nets = kind.nets;
        for (int32_t i = 0; i < kind.instances; ++i, nets += kind.slots) {
            for (const Pin& pin : kind.pins) {
                const int32_t net = nets[pin.slot];
                if (pin.mode != kClock && now[net] == before[net]) {
                    count += pin.groups.size();
                    continue;
                }
                for (const Group& group : pin.groups) {
                    int64_t& total = *count++;
                    if (group.related >= 0) {
                        const int32_t related = nets[group.related];
                        if (now[related] == before[related]) continue;
                    }
                    if (pin.mode != kNow && pin.mode != kClock)
                        total += look_up(tables, group, nets, before);
                    if (pin.mode != kBefore) total += look_up(tables, group, nets, now);
                    if (pin.mode != kBoth)
                        total += look_up(tables, group, nets, pin.mode == kBefore ? before : now);
                }
            }
        }
    }
}
// Memories, and what is counted of them and of the parts.
struct Memory {
    int32_t words, bits;
    struct Read {
        const int32_t *address, *data, *transparent;
        int32_t enable;
        uint32_t last;  // Address of the last read; a new read of the same word takes no energy.
        std::vector<uint8_t> value;
    };
    struct Write {
        const int32_t *address, *enable, *data;
    };
    int32_t lines;
    std::vector<Read> reads;
    std::vector<Write> writes;
    std::vector<uint8_t> content;
    int64_t read_bits = 0, written_bits = 0;

    explicit Memory(const int32_t*& list) : words(list[0]), bits(list[1]), lines(list[2]) {
        reads.resize(list[3]);
        writes.resize(list[4]);
        list += 5;
        const auto next = [&](size_t count) { return std::exchange(list, list + count); };
        for (Read& port : reads) {
            port.address = next(lines);
            port.enable = *next(1);
            port.data = next(bits);
            port.transparent = next(writes.size());
            port.last = ~0u;
            port.value.resize(bits);
        }
        for (Write& port : writes) {
            port.address = next(lines);
            port.enable = next(bits);
            port.data = next(bits);
        }
        content.resize(size_t(words) * bits);
    }
    uint32_t place(const int32_t* address, const std::vector<uint8_t>& now) const {
        uint32_t found = 0;
        for (int32_t i = 0; i < lines; ++i) found |= uint32_t(now[address[i]]) << i;
        return found;
    }
    // Takes a clock edge; the data of the ports are kept until ``drive``.
    void edge(const std::vector<uint8_t>& now, bool counts) {
        for (Read& port : reads) {
            if (!now[port.enable]) continue;
            const uint32_t word = place(port.address, now);
            const std::vector<uint8_t> old = port.value;
            for (int32_t i = 0; i < bits; ++i)
                port.value[i] = word < uint32_t(words) ? content[size_t(word) * bits + i] : 0;
            for (size_t j = 0; j < writes.size(); ++j)
                if (port.transparent[j] && place(writes[j].address, now) == word)
                    for (int32_t i = 0; i < bits; ++i)
                        if (now[writes[j].enable[i]]) port.value[i] = now[writes[j].data[i]];
            if (counts && (word != port.last || port.value != old)) read_bits += bits;
            port.last = word;
        }
        for (const Write& port : writes) {
            const uint32_t word = place(port.address, now);
            if (word >= uint32_t(words)) continue;
            for (int32_t i = 0; i < bits; ++i)
                if (now[port.enable[i]]) {
                    content[size_t(word) * bits + i] = now[port.data[i]];
                    written_bits += counts;
                }
        }
    }
    void drive(std::vector<uint8_t>& now) const {
        for (const Read& port : reads)
            for (int32_t i = 0; i < bits; ++i) now[port.data[i]] = port.value[i];
    }
};

int main() {
    std::FILE* netlist = std::fopen("netlist.bin", "rb");
    std::FILE* in = std::fopen("in.bin", "rb");
    std::FILE* out = std::fopen("out.bin", "wb");
    std::FILE* counts = std::fopen("counts.bin", "wb");
    if (!netlist || !in || !out || !counts) return 1;
    const auto head = take<int32_t>(netlist, 6);
    if (head.empty()) return 1;
    const size_t nets = head[0];
    const auto inputs = take<int32_t>(netlist, head[1]);
    const auto outputs = take<int32_t>(netlist, head[2]);
    // Pairs of nets: the next state of a register, and its state.
    const auto registers = take<int32_t>(netlist, 2 * head[3]);
    // For each cell the place of its truth table, the net that it drives, the number of its inputs,
    // and the nets of these; the first is the lowest bit of the index into the table. The drivers of
    // its inputs stand before it.
    const auto cells = take<int32_t>(netlist, head[4]);
    const auto tables = take<int8_t>(netlist, head[5]);
    std::FILE* conditions = std::fopen("conditions.bin", "rb");
    std::FILE* groups = std::fopen("groups.bin", "wb");
    if (!conditions || !groups) return 1;
    const auto lengths = take<int32_t>(conditions, 3);
    if (lengths.empty()) return 1;
    const auto words = take<int32_t>(conditions, lengths[0]);
    const auto condition_tables = take<int8_t>(conditions, lengths[1]);
    if (words.empty() || condition_tables.size() != size_t(lengths[1])) return 1;
    const std::vector<Kind> kinds = read_kinds(words.data());
    std::vector<int64_t> applied(lengths[2]);
    if (cells.size() != size_t(head[4]) || tables.size() != size_t(head[5])) return 1;

    std::FILE* parts = std::fopen("parts.bin", "rb");
    std::FILE* uses = std::fopen("uses.bin", "wb");
    if (!parts || !uses) return 1;
    const auto sizes = take<int32_t>(parts, 1);
    if (sizes.empty()) return 1;
    const auto list = take<int32_t>(parts, sizes[0]);
    if (list.empty()) return 1;
    const int32_t* mark = list.data();
    std::vector<Memory> memories;
    for (int32_t left = *mark++; left; --left) memories.emplace_back(mark);
    std::vector<int64_t> busy(*mark++);
    std::vector<uint8_t> moved(busy.size());
    const int32_t* part_of = mark;

    std::vector<uint8_t> now(nets), before(nets), next(head[3]), written(outputs.size());
    now[1] = 1;  // Nets 0 and 1 are the constants.
    std::vector<int64_t> changes(nets), ones(nets);
    for (size_t cycle = 0;; ++cycle) {
        const auto values = take<uint8_t>(in, inputs.size());
        if (values.empty()) break;
        for (size_t i = 0; i < inputs.size(); ++i) now[inputs[i]] = values[i];
        for (const int32_t *cell = cells.data(), *end = cell + cells.size(); cell < end;) {
            const int8_t* table = tables.data() + cell[0];
            const int32_t count = cell[2];
            uint32_t place = 0;
            for (int32_t i = 0; i < count; ++i) place |= uint32_t(now[cell[3 + i]]) << i;
            now[cell[1]] = table[place];
            cell += 3 + count;
        }
        if (cycle >= 1) {
            for (size_t i = 0; i < outputs.size(); ++i) written[i] = now[outputs[i]];
            std::fwrite(written.data(), 1, written.size(), out);
            for (size_t i = 0; i < nets; ++i) {
                changes[i] += (cycle > 1) & (now[i] ^ before[i]);
                ones[i] += now[i];
            }
        }
        if (cycle > 1) count_groups(kinds, condition_tables.data(), before, now, applied.data());
        before = now;
        for (size_t i = 0; i < next.size(); ++i) next[i] = now[registers[2 * i]];
        for (Memory& memory : memories) memory.edge(now, cycle >= 1);
        std::fill(moved.begin(), moved.end(), 0);
        for (size_t i = 0; i < next.size(); ++i) {
            uint8_t& state = now[registers[2 * i + 1]];
            moved[part_of[i]] |= state ^ next[i];
            state = next[i];
        }
        for (const Memory& memory : memories) memory.drive(now);
        for (size_t i = 0; i < busy.size(); ++i) busy[i] += (cycle >= 1) & moved[i];
    }
    std::fwrite(changes.data(), sizeof(int64_t), nets, counts);
    std::fwrite(ones.data(), sizeof(int64_t), nets, counts);
    std::fwrite(applied.data(), sizeof(int64_t), applied.size(), groups);
    for (const Memory& memory : memories) {
        const int64_t bits[] = {memory.read_bits, memory.written_bits};
        std::fwrite(bits, sizeof bits, 1, uses);
    }
    std::fwrite(busy.data(), sizeof(int64_t), busy.size(), uses);
    for (std::FILE* file : {out, counts, groups, uses})
        if (std::fclose(file)) return 1;
    return 0;
}
