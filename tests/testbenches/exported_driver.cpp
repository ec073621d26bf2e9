// Driver and testbench of an exported engine, written from what its page and its JSON file say.
// tests/exported_driver.py puts in front of it the namespace `json`, the facts of the JSON file,
// and the exported header, whose functions PACK names.

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "Vtop.h"
#include "verilated.h"

typedef std::vector<uint8_t> Bytes;

static uint64_t state = 88172645463325252ull;

static uint32_t random_below(uint32_t limit) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return uint32_t(state >> 16) % limit;
}

[[noreturn]] static void fail(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    printf("FAIL: ");
    vprintf(format, arguments);
    printf("\n");
    exit(1);
}

static uint64_t field(const uint8_t* bytes, int lsb, int width) {
    uint64_t value = 0;
    for (int i = 0; i < width; i++)
        value |= uint64_t(bytes[(lsb + i) / 8] >> (lsb + i) % 8 & 1) << i;
    return value;
}

static void set_field(uint8_t* bytes, int lsb, int width, uint64_t value) {
    for (int i = 0; i < width; i++) {
        uint8_t mask = uint8_t(1 << (lsb + i) % 8);
        uint8_t& byte = bytes[(lsb + i) / 8];
        byte = uint8_t(value >> i & 1 ? byte | mask : byte & ~mask);
    }
}

template <typename T> static void put(T& port, const uint8_t* bytes, size_t count) {
    port = 0;
    for (size_t i = 0; i < count; i++) port = T(port | T(bytes[i]) << 8 * i);
}

template <size_t N> static void put(VlWide<N>& port, const uint8_t* bytes, size_t count) {
    for (size_t i = 0; i < N; i++) port[i] = 0;
    for (size_t i = 0; i < count; i++) port[i / 4] |= uint32_t(bytes[i]) << 8 * (i % 4);
}

template <typename T> static void get(const T& port, uint8_t* bytes, size_t count) {
    for (size_t i = 0; i < count; i++) bytes[i] = uint8_t(port >> 8 * i);
}

template <size_t N> static void get(const VlWide<N>& port, uint8_t* bytes, size_t count) {
    for (size_t i = 0; i < count; i++) bytes[i] = uint8_t(port[i / 4] >> 8 * (i % 4));
}

struct Job {
    uint32_t n, k, tokens, group_chunks;
    bool reuse = false, dropped = false;
    std::vector<int8_t> w, x;
    std::vector<int32_t> y;
    // Beats, and whether a weight beat has an illegal symbol, or an activation beat a bad value.
    Bytes word, activations, weights;
    std::set<size_t> bad_weights, bad_activations;

    size_t chunks() const { return (k + json::lanes - 1) / json::lanes; }
    size_t row_groups() const { return (n + json::rows - 1) / json::rows; }
    size_t group() const {
        return group_chunks && group_chunks < chunks() ? group_chunks : chunks();
    }
    size_t parts() const { return (chunks() + group() - 1) / group(); }
    size_t result_beats() const { return row_groups() * parts() * tokens; }

    void compute() {
        y.assign(parts() * tokens * n, 0);
        for (size_t token = 0; token < tokens; token++)
            for (size_t row = 0; row < n; row++)
                for (size_t i = 0; i < k; i++)
                    y[(i / json::lanes / group() * tokens + token) * n + row]
                        += w[row * k + i] * x[token * k + i];
    }
};

// A trit of a job by its place in the beats; null where there is none.
static int8_t* weight_at(Job& job, size_t beat, int i) {
    size_t row = beat / job.chunks() * json::rows + i / json::lanes;
    size_t column = beat % job.chunks() * json::lanes + i % json::lanes;
    bool there = i < json::beat_trits && row < job.n && column < job.k;
    return there ? &job.w[row * job.k + column] : nullptr;
}

static std::vector<int> legal_values() {
    std::vector<int> values;
    for (int value = 0; value < json::values; value++)
        if (json::legal[value]) values.push_back(value);
    return values;
}

// Weights that the code holds: each symbol along K is a legal one, cut at K.
static void choose_weights(Job& job) {
    std::vector<int> values = legal_values();
    job.w.resize(job.n * job.k);
    for (size_t row = 0; row < job.n; row++)
        for (size_t i = 0; i < job.k; i += json::symbol_trits) {
            int value = values[random_below(uint32_t(values.size()))];
            for (int j = 0; j < json::symbol_trits && i + j < job.k; j++)
                job.w[row * job.k + i + j] = json::symbols[value][j];
        }
}

// Packs weights by the table of the JSON file; fillers are any trits that make a legal symbol.
static Bytes pack_by_table(Job& job) {
    std::vector<int> values = legal_values();
    Bytes beats(job.row_groups() * job.chunks() * json::weight_bytes, 0);
    for (size_t beat = 0; beat < job.row_groups() * job.chunks(); beat++)
        for (int symbol = 0; symbol < json::beat_symbols; symbol++) {
            std::vector<int> fitting;
            for (int value : values) {
                bool fits = true;
                for (int j = 0; j < json::symbol_trits && fits; j++) {
                    int8_t* trit = weight_at(job, beat, symbol * json::symbol_trits + j);
                    fits = !trit || *trit == json::symbols[value][j];
                }
                if (fits) fitting.push_back(value);
            }
            if (fitting.empty()) fail("the JSON file has no symbol for some trits");
            int value = fitting[random_below(uint32_t(fitting.size()))];
            set_field(&beats[beat * json::weight_bytes], symbol * json::symbol_bits,
                      json::symbol_bits, uint64_t(value));
        }
    return beats;
}

// Compares beats of the header with the table of the JSON file.
static void check_weights(Job& job, const Bytes& beats) {
    for (size_t beat = 0; beat < job.row_groups() * job.chunks(); beat++)
        for (int i = 0; i < json::beat_symbols * json::symbol_trits; i++) {
            int symbol = i / json::symbol_trits;
            uint64_t value = field(&beats[beat * json::weight_bytes], symbol * json::symbol_bits,
                                   json::symbol_bits);
            int8_t* trit = weight_at(job, beat, i);
            if (!json::legal[value])
                fail("the header packs %d, which is illegal in the JSON file", int(value));
            if (trit && *trit != json::symbols[value][i % json::symbol_trits])
                fail("the header packs %d, whose trits are others in the JSON file", int(value));
        }
}

static int8_t random_activation() {
    uint32_t choice = random_below(8);
    if (choice == 0) return json::lowest;
    if (choice == 1) return json::highest;
    return int8_t(json::lowest + int(random_below(uint32_t(json::highest - json::lowest + 1))));
}

// Packs all operands with the header, checks them by the JSON file, and chooses what is free.
static void pack(Job& job, bool by_table) {
    job.word.assign((json::job_bits + 7) / 8, 0);
    set_field(job.word.data(), json::n_lsb, json::n_bits, job.n);
    set_field(job.word.data(), json::k_lsb, json::k_bits, job.k);
    set_field(job.word.data(), json::tokens_lsb, json::tokens_bits, job.tokens);
    set_field(job.word.data(), json::group_chunks_lsb, json::group_chunks_bits, job.group_chunks);
    set_field(job.word.data(), json::reuse_lsb, json::reuse_bits, job.reuse);
    uint64_t word = PACK(pack_job)(job.n, job.k, job.tokens, job.group_chunks, job.reuse);
    if (word && word != field(job.word.data(), 0, json::job_bits))
        fail("the header and the JSON file differ in a job word");
    if (job.dropped) {
        if (word && !job.reuse) fail("the header makes a word of a job that is out of range");
        return;
    }
    if (!word) fail("the header makes no word of a job");

    Bytes packed(PACK(weight_beats)(job.n, job.k) * json::weight_bytes);
    if (PACK(pack_weights)(job.w.data(), job.n, job.k, packed.data()))
        fail("the header refuses weights");
    check_weights(job, packed);
    job.weights = by_table ? pack_by_table(job) : packed;

    size_t bytes = (json::lanes * json::act_bits + 7) / 8;
    job.activations.assign(PACK(activation_beats)(job.k, job.tokens) * bytes, 0);
    if (PACK(pack_activations)(job.x.data(), job.tokens, job.k, job.activations.data()))
        fail("the header refuses activations");
    for (size_t i = 0; i < job.tokens * job.chunks() * json::lanes; i++) {
        uint8_t* beat = &job.activations[i / json::lanes * bytes];
        size_t token = i / json::lanes / job.chunks(), at = i % (job.chunks() * json::lanes);
        int lsb = int(i % json::lanes) * json::act_bits;
        uint64_t mask = (1ull << json::act_bits) - 1;
        uint64_t value = at < job.k ? uint64_t(job.x[token * job.k + at]) & mask : 0;
        if (field(beat, lsb, json::act_bits) != value)
            fail("the header and the JSON file differ in an activation beat");
        // Lanes from K on may hold any value.
        if (at >= job.k && by_table) set_field(beat, lsb, json::act_bits, random_below(256));
    }
}

// An illegal symbol in a random beat: its trits count as 0.
static void spoil_weights(Job& job) {
    std::vector<int> values;
    for (int value = 0; value < json::values; value++)
        if (!json::legal[value]) values.push_back(value);
    if (values.empty()) return;
    for (int value : values) {
        size_t beat = random_below(uint32_t(job.row_groups() * job.chunks()));
        int symbol = int(random_below(uint32_t(json::beat_symbols)));
        set_field(&job.weights[beat * json::weight_bytes], symbol * json::symbol_bits,
                  json::symbol_bits, uint64_t(value));
        job.bad_weights.insert(beat);
        for (int j = 0; j < json::symbol_trits; j++)
            if (int8_t* trit = weight_at(job, beat, symbol * json::symbol_trits + j)) *trit = 0;
    }
    job.compute();
}

// The illegal activation of 2 bits, in a lane below K: it counts as 0.
static void spoil_activations(Job& job) {
    if (json::act_bits != 2 || job.reuse) return;
    size_t token = random_below(job.tokens), i = random_below(job.k);
    size_t beat = token * job.chunks() + i / json::lanes, bytes = (json::lanes * 2 + 7) / 8;
    set_field(&job.activations[beat * bytes], int(i % json::lanes) * 2, 2, 2);
    job.bad_activations.insert(beat);
    job.x[token * job.k + i] = 0;
    job.compute();
}

class Bench {
public:
    Bench(std::vector<Job>& jobs, bool gaps) : jobs(jobs), gaps(gaps), dut(new Vtop) {
        // A reset of one cycle.
        dut->rst = 1;
        dut->jobs___05Fvalid = dut->activations___05Fvalid = dut->weights___05Fvalid = 0;
        dut->results___05Fready = 0;
        edge();
        dut->rst = 0;
        for (Job& job : jobs) {
            offer(words, job.word, job.word.size());
            if (job.dropped) continue;
            size_t first = activations.size(), bytes = (json::lanes * json::act_bits + 7) / 8;
            if (!job.reuse) offer(activations, job.activations, bytes);
            for (size_t beat : job.bad_activations) bad_activations.insert(first + beat);
            first = weights.size();
            offer(weights, job.weights, json::weight_bytes);
            for (size_t beat : job.bad_weights) bad_weights.insert(first + beat);
            for (size_t i = 1; i <= job.result_beats(); i++) last.push_back(i == job.result_beats());
        }
    }

    void run() {
        while (results.size() < last.size() || sent_jobs < words.size() || dut->busy) step(true);
        for (int i = 0; i < 20; i++) step(true);
        size_t at = 0;
        for (size_t index = 0; index < jobs.size(); index++)
            if (!jobs[index].dropped) check(jobs[index], index, at);
        if (sent_activations != activations.size() || sent_weights != weights.size())
            fail("%d activation beats and %d weight beats were not taken",
                 int(activations.size() - sent_activations), int(weights.size() - sent_weights));
    }

    // Jobs that are accepted while no weight beat comes.
    int accepted_ahead() {
        for (int i = 0; i < 2000; i++) step(false);
        return int(sent_jobs) - 1;
    }

    uint64_t cycle = 0;
    size_t sent_weights = 0;

private:
    void edge() {
        dut->clk = 0;
        dut->eval();
        dut->clk = 1;
        dut->eval();
    }

    static void offer(std::vector<const uint8_t*>& stream, const Bytes& beats, size_t size) {
        for (size_t at = 0; at < beats.size(); at += size) stream.push_back(&beats[at]);
    }

    // Starts to offer a beat; an offered beat stays.
    template <typename Valid, typename Payload>
    void source(const std::vector<const uint8_t*>& beats, size_t sent, size_t bytes, Valid& valid,
                Payload& payload) {
        if (valid || sent == beats.size() || (gaps && random_below(3))) return;
        valid = 1;
        put(payload, beats[sent], bytes);
    }

    void step(bool with_weights) {
        if (++cycle > 200000) fail("%d of %d results came", int(results.size()), int(last.size()));
        source(words, sent_jobs, (json::job_bits + 7) / 8, dut->jobs___05Fvalid,
               dut->jobs___05Fpayload);
        source(activations, sent_activations, (json::lanes * json::act_bits + 7) / 8,
               dut->activations___05Fvalid, dut->activations___05Fpayload);
        if (with_weights)
            source(weights, sent_weights, json::weight_bytes, dut->weights___05Fvalid,
                   dut->weights___05Fpayload);
        dut->results___05Fready = !gaps || random_below(4) == 0;
        dut->clk = 0;
        dut->eval();

        int expected = 0;
        if (faults.count(cycle)) expected = faults[cycle];
        if (dut->faults != expected)
            fail("faults must be %d in cycle %d, not %d", expected, int(cycle), dut->faults);
        if (dut->error != had_fault)
            fail("error must be %d in cycle %d, not %d", had_fault, int(cycle), dut->error);
        had_fault |= expected != 0;
        bool job = dut->jobs___05Fvalid && dut->jobs___05Fready;
        bool activation = dut->activations___05Fvalid && dut->activations___05Fready;
        bool weight = dut->weights___05Fvalid && dut->weights___05Fready;
        if (job && jobs[sent_jobs].dropped)
            faults[cycle + json::job_cycles] |= 1 << json::job_bit;
        if (activation && bad_activations.count(sent_activations))
            faults[cycle + json::activation_cycles] |= 1 << json::activation_bit;
        if (weight && bad_weights.count(sent_weights))
            faults[cycle + json::weight_cycles] |= 1 << json::weight_bit;
        if (dut->results___05Fvalid && dut->results___05Fready) {
            Bytes beat(json::result_bytes, 0);
            get(dut->results___05Fpayload, beat.data(), beat.size());
            if (results.size() == last.size()) fail("a result beat follows the last one");
            if (int(field(beat.data(), json::last_lsb, 1)) != last[results.size()])
                fail("last is wrong in result beat %d", int(results.size()));
            results.push_back(beat);
        }
        dut->clk = 1;
        dut->eval();
        if (job) dut->jobs___05Fvalid = 0, sent_jobs++;
        if (activation) dut->activations___05Fvalid = 0, sent_activations++;
        if (weight) dut->weights___05Fvalid = 0, sent_weights++;
    }

    void check(const Job& job, size_t index, size_t& at) {
        Bytes beats;
        for (size_t i = 0; i < job.result_beats(); i++, at++) {
            beats.insert(beats.end(), results[at].begin(), results[at].end());
            size_t first = i / job.tokens / job.parts() * json::rows;
            for (int row = 0; row < json::rows; row++)
                if (first + row >= job.n
                    && field(results[at].data(), row * json::acc_width, json::acc_width))
                    fail("job %d: a row beyond N is not 0", int(index));
        }
        if (PACK(result_beats)(job.n, job.k, job.tokens, job.group_chunks) != job.result_beats())
            fail("the header counts other result beats");
        std::vector<int32_t> y(job.y.size());
        PACK(unpack_results)(beats.data(), job.n, job.k, job.tokens, job.group_chunks, y.data());
        for (size_t i = 0; i < y.size(); i++)
            if (y[i] != job.y[i])
                fail("job %d (n %d, k %d): result %d must be %d, not %d", int(index), int(job.n),
                     int(job.k), int(i), job.y[i], y[i]);
    }

    std::vector<Job>& jobs;
    bool gaps;
    std::unique_ptr<Vtop> dut;
    std::vector<const uint8_t*> words, activations, weights;
    std::set<size_t> bad_activations, bad_weights;
    std::vector<int> last;
    std::vector<Bytes> results;
    std::map<uint64_t, int> faults;
    size_t sent_jobs = 0, sent_activations = 0;
    int had_fault = 0;
};

static Job make_job(uint32_t n, uint32_t k, uint32_t tokens, uint32_t group_chunks = 0) {
    Job job;
    job.n = std::min<uint32_t>(n, json::n_max);
    job.k = std::min<uint32_t>(k, json::k_max);
    job.tokens = tokens;
    job.group_chunks = std::min<uint32_t>(group_chunks, json::group_chunks_max);
    choose_weights(job);
    job.x.resize(job.tokens * job.k);
    for (int8_t& x : job.x) x = random_activation();
    job.compute();
    return job;
}

static Job reuse_of(const Job& loaded, uint32_t n, uint32_t tokens) {
    Job job = make_job(n, loaded.k, tokens);
    job.reuse = true;
    job.x.assign(loaded.x.begin(), loaded.x.begin() + tokens * loaded.k);
    job.compute();
    return job;
}

static std::vector<Job> make_jobs() {
    std::vector<Job> jobs;
    const uint32_t lanes = json::lanes, rows = json::rows, tokens = json::tokens;
    // Nothing is loaded yet.
    jobs.push_back(make_job(1, lanes, 1));
    jobs.back().reuse = jobs.back().dropped = true;
    for (uint32_t k : {1u, lanes - 1, lanes, lanes + 1, 2 * lanes + 2, uint32_t(json::k_max)})
        jobs.push_back(make_job(1 + random_below(3 * rows), k, 1 + random_below(tokens)));
    jobs.push_back(make_job(json::n_max, lanes + 3, tokens));
    jobs.push_back(make_job(rows + 1, 3 * lanes - 1, tokens, 1));
    jobs.push_back(make_job(2 * rows, 3 * lanes, tokens, 2));
    // The largest sums.
    Job extreme = make_job(rows, json::k_max, tokens);
    std::fill(extreme.x.begin(), extreme.x.end(), json::lowest);
    extreme.compute();
    jobs.push_back(extreme);
    Job loaded = make_job(rows, 2 * lanes - 1, tokens);
    jobs.push_back(loaded);
    jobs.push_back(reuse_of(loaded, 2 * rows + 1, tokens));
    // Fields out of range, as far as their bits hold such values.
    const uint32_t k = 2 * lanes - 1;
    for (Job job : {Job{0, k, 1, 0}, Job{json::n_max + 1u, k, 1, 0}, Job{rows, 0, 1, 0},
                    Job{rows, json::k_max + 1u, 1, 0}, Job{rows, k, 0, 0},
                    Job{rows, k, tokens + 1, 0}, Job{rows, k, 1, json::group_chunks_max + 1u}}) {
        job.dropped = true;
        if (job.n >> json::n_bits || job.k >> json::k_bits || job.tokens >> json::tokens_bits
            || job.group_chunks >> json::group_chunks_bits)
            continue;
        jobs.push_back(job);
    }
    // The dropped jobs leave the activations loaded; another K is against the rule of reuse.
    jobs.push_back(Job{rows, std::min<uint32_t>(loaded.k, json::k_max) - 1, 1, 0, true, true});
    jobs.push_back(reuse_of(loaded, 1, 1));
    jobs.push_back(make_job(1, 2, 1));
    if (tokens > 1) jobs.push_back(Job{1, 2, 2, 0, true, true});
    for (int i = 0; i < 8; i++)
        jobs.push_back(make_job(1 + random_below(2 * rows + 2), 1 + random_below(4 * lanes),
                                1 + random_below(tokens)));
    return jobs;
}

int main() {
    uint64_t cycles = 0, beats = 0;
    size_t count = 0;
    for (int round = 0; round < 4; round++) {
        std::vector<Job> jobs = make_jobs();
        for (size_t i = 0; i < jobs.size(); i++) pack(jobs[i], (i + round) % 2);
        // Errors come in the last two rounds only, because `error` stays.
        if (round < 2)
            jobs.erase(std::remove_if(jobs.begin(), jobs.end(),
                                      [](const Job& job) { return job.dropped; }),
                       jobs.end());
        else {
            spoil_weights(jobs[3]);
            spoil_activations(jobs[jobs.size() - 1]);
            spoil_weights(jobs[jobs.size() - 2]);
        }
        Bench bench(jobs, round % 2);
        bench.run();
        cycles += bench.cycle;
        beats += bench.sent_weights;
        count += jobs.size();
    }
    std::vector<Job> jobs;
    for (int i = 0; i < 10; i++) jobs.push_back(make_job(json::rows, json::lanes, 1));
    for (Job& job : jobs) pack(job, false);
    int ahead = Bench(jobs, false).accepted_ahead();
    if (ahead != json::accepted_ahead)
        fail("%d jobs must be accepted ahead, not %d", json::accepted_ahead, ahead);
    printf("PASS: %d jobs, %d weight beats, %d cycles\n", int(count), int(beats), int(cycles));
}
