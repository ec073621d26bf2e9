// Runs a netlist cycle by cycle without delays and counts transitions. It is an interpreter, because
// to compile a large netlist takes longer than to run it.
//
// Reads netlist.bin (counts, then the lists below) and in.bin (a byte per input bit and cycle; the
// first cycle is the reset's, which is neither counted nor written). Writes out.bin (a byte per
// output bit and cycle), counts.bin (int64 per net: its changes from cycle to cycle, then the
// cycles in which it was one) and groups.bin (int64 per instance and group of conditions.bin: how
// often the group applied, in halves of a transition).

#include <cstdint>
#include <cstdio>
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
                const bool changed = pin.mode == kClock || now[net] != before[net];
                for (const Group& group : pin.groups) {
                    int64_t& total = *count++;
                    if (!changed) continue;
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
        for (size_t i = 0; i < next.size(); ++i) now[registers[2 * i + 1]] = next[i];
    }
    std::fwrite(changes.data(), sizeof(int64_t), nets, counts);
    std::fwrite(ones.data(), sizeof(int64_t), nets, counts);
    std::fwrite(applied.data(), sizeof(int64_t), applied.size(), groups);
    return std::fclose(out) || std::fclose(counts) || std::fclose(groups) ? 1 : 0;
}
