// Runs a netlist and counts the edges of its nets: gates with a delay each, in which shorter pulses
// get lost, flip-flops and banks of memories at the clock. `power.py` writes the netlist, what goes
// in in each cycle, and what must come out; times are in ps, and nets are 0 or 1 from the start.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

namespace {

struct Gate {
    int out, delay;
    uint64_t table;
    std::vector<int> inputs;
    bool pending = false, next = false;
    uint32_t version = 0;
};

struct FlipFlop {
    int out, data, delay;
};

struct Bank {
    int read, write;
    std::vector<int> read_address, write_address, write_data, read_data;
    std::vector<std::vector<char>> words;
    std::vector<char> last;
    uint64_t reads = 0, ones = 0, edges = 0;
};

struct Event {
    int net, gate;  // a gate's output, or a net with a new value (gate -1)
    uint32_t version;
    bool value;
};

constexpr int HORIZON = 1 << 20;
std::vector<std::vector<Event>> wheel(HORIZON);
int last_time = 0;

std::vector<char> value;
std::vector<uint32_t> rises, falls;
std::vector<std::vector<int>> users;
std::vector<Gate> gates;
std::vector<FlipFlop> flip_flops;
std::vector<Bank> banks;

void schedule(int time, Event event) {
    if (time >= HORIZON) {
        fprintf(stderr, "a cycle does not end\n");
        exit(1);
    }
    wheel[time].push_back(event);
    last_time = std::max(last_time, time);
}

void evaluate(int number, int now) {
    Gate& gate = gates[number];
    unsigned index = 0;
    for (size_t i = 0; i < gate.inputs.size(); i++) index |= unsigned(value[gate.inputs[i]]) << i;
    bool next = gate.table >> index & 1;
    if (gate.pending) {
        if (next == gate.next) return;
        gate.pending = false;
        gate.version++;
    }
    if (next != bool(value[gate.out])) {
        gate.pending = true;
        gate.next = next;
        schedule(now + gate.delay, {gate.out, number, gate.version, next});
    }
}

void set(int net, bool to, int now) {
    if (net < 2 || bool(value[net]) == to) return;
    value[net] = to;
    (to ? rises : falls)[net]++;
    for (int user : users[net]) evaluate(user, now);
}

void settle() {
    for (int now = 0; now <= last_time; now++) {
        // An event may add others to a later moment only.
        for (size_t i = 0; i < wheel[now].size(); i++) {
            Event event = wheel[now][i];
            if (event.gate >= 0) {
                Gate& gate = gates[event.gate];
                if (gate.version != event.version) continue;
                gate.pending = false;
                gate.version++;
            }
            set(event.net, event.value, now);
        }
        wheel[now].clear();
    }
    last_time = 0;
}

std::vector<int> list() {
    size_t count;
    std::cin >> count;
    std::vector<int> all(count);
    for (int& net : all) std::cin >> net;
    return all;
}

size_t number(const std::vector<int>& nets) {
    size_t all = 0;
    for (size_t i = 0; i < nets.size(); i++) all |= size_t(value[nets[i]]) << i;
    return all;
}

void tick() {
    for (const FlipFlop& f : flip_flops) {
        if (value[f.data] != value[f.out]) schedule(f.delay, {f.out, -1, 0, bool(value[f.data])});
    }
    for (Bank& bank : banks) {
        if (value[bank.read]) {
            const std::vector<char>& word = bank.words[number(bank.read_address)];
            bank.reads++;
            for (size_t i = 0; i < word.size(); i++) {
                bank.ones += word[i];
                bank.edges += word[i] != bank.last[i];
                schedule(500, {bank.read_data[i], -1, 0, bool(word[i])});
            }
            bank.last = word;
        }
        if (value[bank.write]) {
            std::vector<char>& word = bank.words[number(bank.write_address)];
            for (size_t i = 0; i < word.size(); i++) word[i] = value[bank.write_data[i]];
        }
    }
}

}  // namespace

int main() {
    std::ios::sync_with_stdio(false);
    size_t nets, count;
    std::cin >> nets;
    value.assign(nets, 0);
    value[1] = 1;
    rises.assign(nets, 0);
    falls.assign(nets, 0);
    users.resize(nets);
    std::cin >> count;
    for (size_t i = 0; i < count; i++) {
        Gate gate;
        std::cin >> gate.out >> gate.delay >> gate.table;
        gate.inputs = list();
        std::vector<int> different = gate.inputs;
        std::sort(different.begin(), different.end());
        different.erase(std::unique(different.begin(), different.end()), different.end());
        for (int net : different) users[net].push_back(int(i));
        gates.push_back(gate);
    }
    std::cin >> count;
    for (size_t i = 0; i < count; i++) {
        FlipFlop f;
        std::cin >> f.out >> f.delay >> f.data;
        flip_flops.push_back(f);
    }
    std::cin >> count;
    for (size_t i = 0; i < count; i++) {
        Bank bank;
        std::cin >> bank.read >> bank.write;
        bank.read_address = list();
        bank.write_address = list();
        bank.write_data = list();
        bank.read_data = list();
        bank.last.assign(bank.read_data.size(), 0);
        bank.words.assign(size_t(1) << bank.read_address.size(), bank.last);
        banks.push_back(bank);
    }
    std::vector<int> inputs = list(), outputs = list(), boundaries = list();

    for (size_t i = 0; i < gates.size(); i++) evaluate(int(i), 0);
    settle();
    size_t cycles, wrong = 0, window = 0;
    std::cin >> cycles;
    for (size_t cycle = 0; cycle < cycles; cycle++) {
        std::string given, expected;
        std::cin >> given >> expected;
        if (window < boundaries.size() && cycle == size_t(boundaries[window])) {
            for (size_t net = 2; net < nets; net++) {
                if (rises[net] + falls[net] > 0) printf("%zu %u %u\n", net, rises[net], falls[net]);
                rises[net] = falls[net] = 0;
            }
            for (size_t i = 0; i < banks.size(); i++) {
                Bank& b = banks[i];
                printf("bank %zu %zu %zu %zu\n", i, size_t(b.reads), size_t(b.ones),
                       size_t(b.edges));
                b.reads = b.ones = b.edges = 0;
            }
            printf("window %zu\n", window++);
        }
        for (size_t i = 0; i < inputs.size(); i++) {
            schedule(1000, {inputs[i], -1, 0, given[i] == '1'});
        }
        settle();
        for (size_t i = 0; i < outputs.size(); i++) {
            if (expected[i] != '-' && (expected[i] == '1') != bool(value[outputs[i]])) {
                if (wrong++ == 0) fprintf(stderr, "output %zu in cycle %zu\n", i, cycle);
            }
        }
        tick();
    }
    return wrong == 0 ? 0 : 1;
}
