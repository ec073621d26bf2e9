// Runs a netlist cycle by cycle without delays and counts transitions. It is an interpreter, because
// to compile a large netlist takes longer than to run it.
//
// Reads netlist.bin (counts, then the lists below) and in.bin (a byte per input bit and cycle; the
// first cycle is the reset's, which is neither counted nor written). Writes out.bin (a byte per
// output bit and cycle) and counts.bin (int64 per net: its changes from cycle to cycle, then the
// cycles in which it was one).

#include <cstdint>
#include <cstdio>
#include <vector>

template <typename T>
static std::vector<T> take(std::FILE* file, size_t count) {
    std::vector<T> values(count);
    if (std::fread(values.data(), sizeof(T), count, file) != count) values.clear();
    return values;
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
        before = now;
        for (size_t i = 0; i < next.size(); ++i) next[i] = now[registers[2 * i]];
        for (size_t i = 0; i < next.size(); ++i) now[registers[2 * i + 1]] = next[i];
    }
    std::fwrite(changes.data(), sizeof(int64_t), nets, counts);
    std::fwrite(ones.data(), sizeof(int64_t), nets, counts);
    return std::fclose(out) || std::fclose(counts) ? 1 : 0;
}
