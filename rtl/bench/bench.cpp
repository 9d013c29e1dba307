// Drives the machine (top module `bench`): a model of the DRAM, and a loop that serves jobs from the standard input.
//
// A job is a program in DRAM and the images that it computes one after the other, the first of them cold. Its result
// is what the machine did in every cycle, how every image ended, and what is in the memories then. Jobs and results
// are little endian, a result is preceded by its length in bytes; `cosim/src/bench.rs` is the other side. The
// parameters of the machine are constants in `parameters.h`, under the names that they have in `bench.sv`.

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <unordered_map>
#include <vector>

#include "Vbench.h"
#include "parameters.h"
#include "verilated.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "jobs and results are copied as they lie in memory");

double sc_time_stamp() { return 0; }

namespace {

// ---- ports: integers up to 64 bits, beyond that arrays of 32-bit words ----

template <typename Port> uint32_t word(const Port& port, size_t i) { return uint32_t(uint64_t(port) >> 32 * i); }
template <size_t N> uint32_t word(const VlWide<N>& port, size_t i) { return i < N ? port[i] : 0; }

template <typename Port> void set_word(Port& port, size_t i, uint32_t value) {
    port = Port(uint64_t(port) | uint64_t(value) << 32 * i);
}
template <size_t N> void set_word(VlWide<N>& port, size_t i, uint32_t value) { port[i] = value; }

/// `count` bits from bit `lsb` on, at most 32.
template <typename Port> uint32_t bits(const Port& port, size_t lsb, unsigned count) {
    uint64_t both = word(port, lsb / 32);
    if (lsb % 32 + count > 32) both |= uint64_t(word(port, lsb / 32 + 1)) << 32;
    return uint32_t(both >> lsb % 32 & ((uint64_t(1) << count) - 1));
}

template <typename Port> uint8_t byte(const Port& port, size_t i) { return uint8_t(word(port, i / 4) >> 8 * (i % 4)); }

// ---- the standard input and output ----

/// Reads a value; without one the other side has no more jobs.
template <typename T> T take() {
    T value;
    if (fread(&value, sizeof value, 1, stdin) != 1) exit(0);
    return value;
}

std::vector<uint8_t> take_bytes(size_t count) {
    std::vector<uint8_t> bytes(count);
    if (count > 0 && fread(bytes.data(), count, 1, stdin) != 1) exit(0);
    return bytes;
}

struct Result {
    std::vector<uint8_t> bytes;

    template <typename T> void put(T value) {
        size_t at = bytes.size();
        bytes.resize(at + sizeof value);
        memcpy(bytes.data() + at, &value, sizeof value);
    }

    /// The low `count` bytes of a port.
    template <typename Port> void put_port(const Port& port, size_t count) {
        for (size_t i = 0; i < count; i++) bytes.push_back(byte(port, i));
    }

    void send() const {
        uint64_t length = bytes.size();
        fwrite(&length, sizeof length, 1, stdout);
        fwrite(bytes.data(), 1, bytes.size(), stdout);
        fflush(stdout);
    }
};

// ---- DRAM ----

/// Bytes by address; those never written are zero.
class Bytes {
    static constexpr uint64_t PAGE = 4096;
    std::unordered_map<uint64_t, std::array<uint8_t, PAGE>> pages;

public:
    uint8_t read(uint64_t address) const {
        auto page = pages.find(address / PAGE);
        return page == pages.end() ? 0 : page->second[address % PAGE];
    }

    void write(uint64_t address, uint8_t value) { pages[address / PAGE][address % PAGE] = value; }

    void write(uint64_t address, const std::vector<uint8_t>& values) {
        for (uint8_t value : values) write(address++, value);
    }
};

enum Source : uint8_t { FETCH = 0, STORE = 1, LOAD = 2 };

/// Rule R8: bursts move in the order in which they were accepted, a beat a cycle.
class Dram {
    struct Burst {
        uint64_t first, end;  // its beats move in the cycles first to end - 1
        uint64_t address;     // of its first beat
        Source source;
    };
    std::deque<Burst> bursts;
    uint64_t bus = 0;

public:
    Bytes bytes;
    uint32_t latency = 0, outstanding = 0;

    /// Nothing is outstanding at the end of an image; the next one begins with cycle 0.
    void restart() {
        bursts.clear();
        bus = 0;
    }

    bool quiet() const { return bursts.empty(); }

    /// The inputs of a cycle.
    void drive(Vbench& top, uint64_t cycle) {
        while (!bursts.empty() && bursts.front().end <= cycle) bursts.pop_front();
        top.req_ready = bursts.size() < outstanding;
        top.read_valid = top.read_last = top.write_valid = top.write_last = 0;
        if (bursts.empty() || cycle < bursts.front().first) return;
        const Burst& burst = bursts.front();
        bool last = cycle + 1 == burst.end;
        if (burst.source == STORE) {
            top.write_valid = 1;
            top.write_last = last;
            return;
        }
        top.read_valid = 1;
        top.read_last = last;
        top.read_source = burst.source;
        uint64_t address = burst.address + (cycle - burst.first) * DRAM_WIDTH;
        top.read_data = {};
        for (size_t i = 0; i < DRAM_WIDTH; i += 4) {
            uint32_t value = 0;
            for (size_t b = 0; b < 4 && i + b < DRAM_WIDTH; b++) value |= uint32_t(bytes.read(address + i + b)) << 8 * b;
            set_word(top.read_data, i / 4, value);
        }
    }

    /// The outputs of a cycle. Returns whether a burst was accepted.
    bool sample(const Vbench& top, uint64_t cycle) {
        if (top.write_valid) {
            const Burst& burst = bursts.front();
            uint64_t address = burst.address + (cycle - burst.first) * DRAM_WIDTH;
            for (size_t i = 0; i < DRAM_WIDTH; i++) {
                if (bits(top.write_strobe, i, 1)) bytes.write(address + i, byte(top.write_data, i));
            }
        }
        if (!top.req_valid || !top.req_ready) return false;
        Source source = Source(top.req_source);
        uint64_t first = std::max(cycle + (source == STORE ? 1 : latency), bus);
        bus = first + top.req_beats;
        bursts.push_back({first, bus, uint64_t(top.req_address) / DRAM_WIDTH * DRAM_WIDTH, source});
        return true;
    }
};

// ---- the machine ----

enum Flag : uint32_t { ACCESSES = 1, MEMORIES = 2, LEVELS = 4 };
enum Record : uint8_t { EVENTS = 1, TOUCHED = 2, ENDED = 3, MEMORY = 4, OUTPUT = 5, REGISTERS = 6 };
enum Ending : uint8_t { END = 0, FAULT = 1, DEADLOCK = 2, LIMIT = 3 };

/// Cycles after a fault in which steps that have issued may still finish.
constexpr uint64_t AFTERMATH = 5000;

/// Registers and memories hold anything when the power comes on; a seed says what.
std::unique_ptr<VerilatedContext> powered_up(uint32_t seed) {
    auto context = std::make_unique<VerilatedContext>();
    context->randReset(2);
    context->randSeed(int(seed % 0x7fffffff + 1));
    return context;
}

/// The file that QNNSIM_PINS names, to which what goes in and out of the machine is written: a line a cycle, a field
/// a port in hexadecimal digits, inputs first. It is what runs a netlist of the machine outside of this bench.
FILE* pins_file() {
    static FILE* file = [] {
        const char* path = getenv("QNNSIM_PINS");
        return path == nullptr || *path == 0 ? nullptr : fopen(path, "w");
    }();
    return file;
}

class Machine {
    std::array<uint16_t, 21> levels{};
    FILE* pins = pins_file();
    std::unique_ptr<VerilatedContext> context;
    Vbench top{context.get()};
    Dram& dram;
    Result& result;

    template <typename Port> void put_pin(const Port& port, size_t count) {
        for (size_t i = count; i-- > 0;) fprintf(pins, "%02x", byte(port, i));
        fputc(' ', pins);
    }

    void put_pins() {
        uint8_t inputs = uint8_t(top.rst | top.start << 1 | top.req_ready << 2 | top.read_valid << 3 | top.read_last << 4
                                 | top.write_valid << 5 | top.write_last << 6);
        uint8_t outputs = uint8_t(top.running | top.req_valid << 1 | top.fault << 2);
        put_pin(inputs, 1);
        put_pin(uint8_t(top.read_source), 1);
        put_pin(top.read_data, DRAM_WIDTH);
        for (uint32_t stream : {top.cold_dram, top.cold_words, top.warm_dram, top.warm_words}) put_pin(stream, 4);
        put_pin(outputs, 1);
        put_pin(uint64_t(top.req_address), 5);
        put_pin(top.write_strobe, (DRAM_WIDTH + 7) / 8);
        put_pin(top.write_data, DRAM_WIDTH);
        fputc('\n', pins);
    }

    void clock() {
        if (pins != nullptr) put_pins();
        top.clk = 1;
        top.eval();
        top.clk = 0;
        top.eval();
    }

    void put_events(uint32_t cycle, bool accepted) {
        if (top.probe == 0 && !accepted) return;
        result.put(EVENTS);
        result.put(cycle);
        result.put(uint32_t(top.probe));
        result.put(uint8_t(top.probe_decode_unit));
        result.put(uint8_t(accepted));
        if (!accepted) return;
        result.put(uint8_t(top.req_source));
        result.put(uint64_t(top.req_address));
        result.put(uint16_t(top.req_beats));
        if (top.req_source != LOAD) return;
        result.put(uint64_t(top.load_step_dram));
        result.put(uint32_t(top.load_step_bytes));
        result.put(uint8_t(top.load_step_memory));
    }

    template <typename Mask, typename Addresses>
    uint16_t put_touched(uint8_t port, const Mask& mask, const Addresses& addresses, size_t banks) {
        uint16_t count = 0;
        for (size_t first = 0; first < banks; first += 32) {
            for (uint32_t some = word(mask, first / 32); some != 0; some &= some - 1) {
                size_t bank = first + size_t(__builtin_ctz(some));
                result.put(port);
                result.put(uint16_t(bank));
                result.put(bits(addresses, 20 * bank, 20));
                count++;
            }
        }
        return count;
    }

    void put_accesses(uint32_t cycle) {
        size_t start = result.bytes.size();
        result.put(TOUCHED);
        result.put(cycle);
        size_t count_at = result.bytes.size();
        result.put(uint16_t(0));
        uint8_t read = top.act_read_store ? 1 : 0, write = top.act_write_thr ? 3 : 2;
        uint16_t count = put_touched(read, top.act_read, top.act_read_address, MAC_ROWS);
        count += put_touched(write, top.act_write, top.act_write_address, MAC_ROWS);
        count += put_touched(4, top.wgt_read, top.wgt_read_address, MAC_COLS);
        count += put_touched(5, top.wgt_write, top.wgt_write_address, MAC_COLS);
        count += put_touched(6, top.thr_read, top.thr_read_address, THR_COLS);
        count += put_touched(7, top.thr_write, top.thr_write_address, THR_COLS);
        if (count == 0) result.bytes.resize(start);
        else memcpy(result.bytes.data() + count_at, &count, sizeof count);
    }

    /// Semaphores and depths of queues, where they have changed.
    void put_levels(uint32_t cycle) {
        std::array<uint16_t, 21> now;
        for (size_t s = 0; s < 16; s++) now[s] = uint16_t(bits(top.probe_semaphores, 16 * s, 16));
        for (size_t u = 0; u < 4; u++) now[16 + u] = uint16_t(bits(top.probe_queues, 16 * u, 16));
        now[20] = uint16_t(top.probe_code_queue);
        if (cycle > 0 && now == levels) return;
        levels = now;
        result.put(REGISTERS);
        result.put(cycle);
        for (uint16_t value : now) result.put(value);
    }

    void peek(uint8_t memory, uint32_t address) {
        top.peek_memory = memory;
        top.peek_address = address;
        top.eval();
        top.peek_clk = 1;
        top.eval();
        top.peek_clk = 0;
        top.eval();
    }

public:
    Machine(Dram& dram, Result& result, uint16_t planted, uint32_t power_up)
        : context(powered_up(power_up)), dram(dram), result(result) {
        // What drives the machine is known from the start.
        top.clk = top.peek_clk = top.start = 0;
        top.req_ready = top.read_valid = top.write_valid = 0;
        top.planted = planted;
        top.rst = 1;
        top.eval();
        clock();
        clock();
        top.rst = 0;
    }

    ~Machine() { top.final(); }

    void streams(uint32_t cold, uint32_t cold_words, uint32_t warm, uint32_t warm_words) {
        top.cold_dram = cold;
        top.cold_words = cold_words;
        top.warm_dram = warm;
        top.warm_words = warm_words;
    }

    /// One image.
    Ending run(uint64_t cycles_max, bool accesses, bool registers) {
        dram.restart();
        top.req_ready = top.read_valid = top.write_valid = 0;
        top.start = 1;
        top.eval();
        clock();
        top.start = 0;
        Ending ending = LIMIT;
        uint64_t cycle = 0, at = cycles_max;
        uint8_t unit = 0, write = 0, cause = 0;
        for (; cycle < cycles_max; cycle++) {
            dram.drive(top, cycle);
            top.eval();
            if (!top.running) {
                if (ending == LIMIT) ending = END, at = cycle - 1;
                break;
            }
            bool quiet = top.still && dram.quiet();
            bool accepted = dram.sample(top, cycle);
            put_events(uint32_t(cycle), accepted);
            if (accesses) put_accesses(uint32_t(cycle));
            if (registers) put_levels(uint32_t(cycle));
            if (ending == LIMIT && top.fault) {
                ending = FAULT, at = cycle, unit = top.fault_unit, write = top.fault_write, cause = top.fault_cause;
                cycles_max = std::min(cycles_max, cycle + AFTERMATH);
            } else if (quiet) {
                if (ending == LIMIT) ending = DEADLOCK, at = cycle;
                break;
            }
            clock();
        }
        if (pins != nullptr) fflush(pins);
        result.put(ENDED);
        result.put(ending);
        result.put(uint32_t(at));
        result.put(unit);
        result.put(write);
        result.put(cause);
        return ending;
    }

    /// All memories, word after word across all banks.
    void put_memories() {
        result.put(MEMORY);
        for (uint32_t address = 0; address < ACT_WORDS; address++) {
            peek(0, address);
            result.put_port(top.peek_act, MAC_ROWS * (MAC_LANES / 8));
        }
        for (uint32_t address = 0; address < WGT_WORDS; address++) {
            peek(1, address);
            result.put_port(top.peek_wgt, MAC_COLS * (MAC_LANES / 8));
        }
        for (uint32_t address = 0; address < THR_WORDS; address++) {
            peek(2, address);
            result.put_port(top.peek_thr, THR_COLS * 10);
        }
        for (uint32_t bank = 0; bank < ACC_BANKS; bank++) {
            peek(3, bank);
            result.put_port(top.peek_acc, MAC_ROWS * MAC_COLS * 4);
            result.put_port(top.peek_row_sums, MAC_ROWS * 4);
        }
    }
};

void serve() {
    uint32_t flags = take<uint32_t>();
    uint16_t planted = take<uint16_t>();
    uint32_t power_up = take<uint32_t>();
    Dram dram;
    dram.latency = take<uint32_t>();
    dram.outstanding = take<uint32_t>();
    uint64_t cycles_max = take<uint64_t>();
    std::array<uint32_t, 4> streams;
    for (uint32_t& value : streams) value = take<uint32_t>();
    uint64_t output = take<uint64_t>(), output_bytes = take<uint64_t>();
    for (uint32_t left = take<uint32_t>(); left > 0; left--) {
        uint64_t address = take<uint64_t>(), length = take<uint64_t>();
        dram.bytes.write(address, take_bytes(length));
    }
    uint64_t input = take<uint64_t>(), input_bytes = take<uint64_t>();
    std::vector<std::vector<uint8_t>> images(take<uint32_t>());
    for (auto& image : images) image = take_bytes(input_bytes);

    Result result;
    Machine machine(dram, result, planted, power_up);
    machine.streams(streams[0], streams[1], streams[2], streams[3]);
    for (const auto& image : images) {
        dram.bytes.write(input, image);
        dram.bytes.write(output, std::vector<uint8_t>(output_bytes));
        Ending ending = machine.run(cycles_max, flags & ACCESSES, flags & LEVELS);
        if (flags & MEMORIES) machine.put_memories();
        result.put(OUTPUT);
        result.put(uint32_t(output_bytes));
        for (uint64_t i = 0; i < output_bytes; i++) result.put(dram.bytes.read(output + i));
        if (ending != END) break;
    }
    result.send();
}

}  // namespace

int main() {
    for (;;) serve();
}
