//! Timelines and waveforms, read back by other parsers than ours: FST and VCD by wellen, Perfetto's
//! protobuf by its wire format alone (`tests/timelines/read_perfetto.py` reads it through the published
//! messages), Konata's log line by line.

use std::collections::{BTreeMap, HashMap};
use std::io::Cursor;

use proptest::prelude::*;
use qnnsim_cosim::{generate, random};
use qnnsim_inspect::machine::Machine;
use qnnsim_inspect::recording::Stage;
use qnnsim_inspect::timeline::{Timeline, arrows};
use qnnsim_inspect::{Recordings, konata, perfetto, wave};
use qnnsim_isa::{Program, Unit};
use qnnsim_simulator::timing::Stall;
use qnnsim_simulator::{Simulation, Start, Technology};
use qnnsim_tests::{cases, for_all};

fn program() -> impl Strategy<Value = Program> {
    (0u64..12).prop_flat_map(|number| {
        generate::case(&random::point(7, number)).prop_map(|case| case.program())
    })
}

fn technology() -> Technology {
    Technology::builtin("45nm").expect("it comes with the simulator")
}

/// Signals by name, as wellen reads them: times and values.
type Signals = BTreeMap<String, Vec<(u64, u64)>>;

fn read(bytes: Vec<u8>) -> Signals {
    let mut read = wellen::simple::read_from_reader(Cursor::new(bytes)).expect("a waveform");
    let hierarchy = read.hierarchy();
    let vars: Vec<(String, wellen::SignalRef)> = hierarchy
        .all_vars()
        .map(|v| (hierarchy[v].full_name(hierarchy), hierarchy[v].signal_ref()))
        .collect();
    let refs: Vec<wellen::SignalRef> = vars.iter().map(|(_, signal)| *signal).collect();
    read.load_signals(&refs);
    let times = read.time_table().to_vec();
    let value = |value: wellen::SignalValueRef| {
        let text = value.to_bit_string().expect("bits");
        u64::from_str_radix(&text, 2).expect("zeros and ones")
    };
    vars.into_iter()
        .map(|(name, signal)| {
            let signal = read.get_signal(signal).expect("it was loaded");
            let changes = signal.iter_changes();
            (name, changes.map(|(at, v)| (times[at as usize], value(v))).collect())
        })
        .collect()
}

/// Value of a signal at a time.
fn at(signals: &Signals, name: &str, time: u64) -> u64 {
    let changes = signals.get(name).unwrap_or_else(|| panic!("no signal {name}"));
    let after = changes.partition_point(|&(t, _)| t <= time);
    changes[..after].last().map_or(0, |&(_, value)| value)
}

/// Cycles in which a signal is up.
fn up(signals: &Signals, name: &str, cycles: u64, period: u64) -> u64 {
    (0..cycles).map(|cycle| at(signals, name, cycle * period)).sum()
}

#[test]
fn waveforms_have_what_the_simulator_says() {
    let strategy = || (program(), prop::collection::vec(any::<u16>(), 6));
    for_all(cases(60, 600), strategy, |(program, picks)| {
        let Ok(simulation) = Simulation::new(program.clone()) else { return Ok(()) };
        let recordings = Recordings::new(&program).expect("it loads");
        let cold = simulation.timing(Start::Cold).cycles;
        let cycles = cold + simulation.timing(Start::Warm).cycles;
        let images =
            [Start::Cold, Start::Warm].map(|start| wave::of_recording(recordings.of(start)));
        let wave = wave::wave(&program, &images);
        // 100 MHz: 10,000 ps a cycle.
        let period = 10_000;
        let fst = wave.write_fst(100, Cursor::new(Vec::new())).expect("memory").into_inner();
        let mut vcd = Vec::new();
        wave.write_vcd(100, &mut vcd).expect("memory");
        let signals = read(fst);
        let dedup = |signals: &Signals| -> Signals {
            let dedup = |changes: &Vec<(u64, u64)>| {
                let mut changes = changes.clone();
                changes.dedup_by_key(|change| change.1);
                changes
            };
            signals.iter().map(|(name, changes)| (name.clone(), dedup(changes))).collect()
        };
        prop_assert!(dedup(&signals) == dedup(&read(vcd)), "FST and VCD differ");
        // Busy and stalled cycles of each unit are those of the engine's own accounts.
        for unit in Unit::ALL {
            let accounts = [Start::Cold, Start::Warm]
                .map(|start| simulation.timing(start).units[unit as usize].clone());
            let busy: u64 = accounts.iter().map(|unit| unit.busy).sum();
            let name = unit.name();
            prop_assert_eq!(up(&signals, &format!("{name}.busy"), cycles, period), busy);
            let stalls: u64 = accounts.iter().flat_map(|u| &u.stalls).map(|s| s.1).sum();
            let stalled = (0..cycles)
                .filter(|cycle| at(&signals, &format!("{name}.stall"), cycle * period) > 0)
                .count();
            prop_assert_eq!(stalled as u64, stalls, "{}", name);
        }
        // Registers are those of the machine at the begin of the cycle, what has become visible in
        // it included.
        for pick in picks {
            let cycle = cold + u64::from(pick) % (cycles - cold);
            let warm = recordings.of(Start::Warm);
            let input = vec![0; program.input.shape.values()];
            let mut machine = Machine::new(warm, &input);
            machine.seek(machine.begin_of(cycle - cold));
            while warm
                .entries()
                .get(machine.position().events)
                .is_some_and(|entry| entry.cycle == cycle - cold && !entry.event.is_decided())
            {
                machine.seek(machine.behind(machine.position().events));
            }
            let time = cycle * period;
            let control = machine.control();
            prop_assert_eq!(at(&signals, "machine.warm", time), 1);
            prop_assert_eq!(
                at(&signals, "machine.code_queue", time),
                u64::from(control.code_queue)
            );
            for (s, &value) in control.semaphores.iter().enumerate() {
                let name = qnnsim_isa::operand::semaphore_name(&program.semaphores, s);
                prop_assert_eq!(
                    at(&signals, &format!("semaphores.{name}"), time),
                    u64::from(value)
                );
            }
            for unit in Unit::ALL {
                let name = unit.name();
                let queue = control.units[unit as usize].queue.len() as u64;
                prop_assert_eq!(at(&signals, &format!("{name}.queue"), time), queue);
                let waits = warm.waits_at(unit, cycle - cold);
                let semaphore = matches!(waits.map(|w| w.reason), Some(Stall::Semaphore(_)));
                prop_assert_eq!(at(&signals, &format!("{name}.stall"), time) == 1, semaphore);
            }
        }
        Ok(())
    });
}

/// A field of a protobuf message.
#[derive(Debug, Clone)]
enum Field {
    Number(u64),
    Bytes(Vec<u8>),
}

/// The fields of a message, by their numbers.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let (&byte, rest) = bytes.split_first().expect("a whole number");
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Number(varint(&mut bytes)),
            1 => {
                let (number, rest) = bytes.split_first_chunk::<8>().expect("eight bytes");
                bytes = rest;
                Field::Number(u64::from_le_bytes(*number))
            }
            2 => {
                let length = varint(&mut bytes) as usize;
                let (part, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(part.to_vec())
            }
            other => panic!("wire type {other}"),
        };
        all.push((key >> 3, field));
    }
    all
}

fn numbers(fields: &[(u64, Field)], number: u64) -> Vec<u64> {
    let value = |field: &Field| match field {
        Field::Number(number) => vec![*number],
        // Packed fixed numbers of eight bytes.
        Field::Bytes(bytes) => {
            bytes.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect()
        }
    };
    fields.iter().filter(|f| f.0 == number).flat_map(|f| value(&f.1)).collect()
}

fn message(fields: &[(u64, Field)], number: u64) -> Option<Vec<(u64, Field)>> {
    fields.iter().find(|f| f.0 == number).and_then(|f| match &f.1 {
        Field::Bytes(bytes) => Some(self::fields(bytes)),
        Field::Number(_) => None,
    })
}

fn text(fields: &[(u64, Field)], number: u64) -> String {
    fields.iter().find(|f| f.0 == number).map_or(String::new(), |f| match &f.1 {
        Field::Bytes(bytes) => String::from_utf8(bytes.clone()).expect("text"),
        Field::Number(_) => String::new(),
    })
}

#[test]
fn perfetto_has_the_steps_the_arrows_and_the_counters() {
    for_all(cases(60, 600), program, |program| {
        let Ok(simulation) = Simulation::new(program.clone()) else { return Ok(()) };
        let recordings = Recordings::new(&program).expect("it loads");
        let recording = recordings.of(Start::Warm);
        let technology = technology();
        // 500 MHz: two nanoseconds a cycle.
        let timeline = Timeline::new([recording], &technology, 500);
        let mut bytes = Vec::new();
        perfetto::write(&timeline, &mut bytes).expect("memory");
        let mut tracks: HashMap<u64, String> = HashMap::new();
        let mut open: HashMap<u64, Vec<u64>> = HashMap::new();
        let mut busy: HashMap<String, u64> = HashMap::new();
        let mut slices: HashMap<String, usize> = HashMap::new();
        let mut flows: HashMap<u64, [usize; 2]> = HashMap::new();
        let mut power = Vec::new();
        let mut bandwidth = Vec::new();
        for (number, packet) in fields(&bytes) {
            prop_assert_eq!(number, 1);
            let Field::Bytes(packet) = packet else { panic!("a packet") };
            let packet = fields(&packet);
            if let Some(track) = message(&packet, 60) {
                tracks.insert(numbers(&track, 1)[0], text(&track, 2));
            }
            let Some(event) = message(&packet, 11) else { continue };
            let time = numbers(&packet, 8)[0];
            let track = numbers(&event, 11)[0];
            let name = tracks[&track].clone();
            for (end, number) in [47, 48].into_iter().enumerate() {
                for flow in numbers(&event, number) {
                    flows.entry(flow).or_default()[end] += 1;
                }
            }
            match numbers(&event, 9)[0] {
                1 => open.entry(track).or_default().push(time),
                2 => {
                    let stack = open.get_mut(&track).expect("an open slice");
                    let begin = stack.pop().expect("an open slice");
                    // Steps lie within layers; some have none.
                    prop_assert!(stack.len() <= 1 && time >= begin);
                    *slices.entry(name.clone()).or_default() += 1;
                    if !stack.is_empty() || recording.program().layers.is_empty() {
                        *busy.entry(name).or_default() += (time - begin) / 2;
                    }
                }
                _ if name == "power" => power.push((time, f64::from_bits(numbers(&event, 44)[0]))),
                _ if name == "DRAM bandwidth" => {
                    bandwidth.push((time, f64::from_bits(numbers(&event, 44)[0])));
                }
                _ => {}
            }
        }
        prop_assert!(open.values().all(Vec::is_empty), "every slice ends");
        prop_assert_eq!(flows.len(), arrows(recording).len());
        prop_assert!(flows.values().all(|ends| *ends == [1, 1]), "an arrow has two ends");
        for stage in Stage::ALL {
            let steps = recording.steps().iter().filter(|s| Stage::of(&s.issue) == stage);
            let layers: Vec<Option<u32>> =
                steps.clone().map(|s| recording.layer(s.issue.word)).collect();
            let enclosing = layers.chunk_by(|a, b| a == b).filter(|run| run[0].is_some()).count();
            let slices = slices.get(stage.name()).copied().unwrap_or(0);
            prop_assert_eq!(slices, steps.count() + enclosing, "{}", stage.name());
        }
        // Power over time is the energy of the report, bandwidth the bytes of the profile.
        let report = simulation.report(&technology, 500);
        let cycles = simulation.timing(Start::Warm).cycles;
        let total = |list: &[(u64, f64)]| -> f64 {
            let ends = list.iter().skip(1).map(|e| e.0).chain([2 * cycles]);
            list.iter().zip(ends).map(|(&(begin, v), end)| v * (end - begin) as f64).sum()
        };
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs().max(b.abs());
        // mW times ns is pJ; MB/s times ns is a thousandth of a byte.
        prop_assert!(near(total(&power), report.energy_pj.warm), "energy");
        let bytes = simulation.profile(Start::Warm).all_events().dram_bytes();
        prop_assert!(near(total(&bandwidth) * 1e-3, bytes as f64), "bytes");
        Ok(())
    });
}

#[test]
fn konata_has_a_row_for_each_instruction_in_the_order_of_its_stages() {
    for_all(cases(60, 600), program, |program| {
        if Simulation::new(program.clone()).is_err() {
            return Ok(());
        }
        let recordings = Recordings::new(&program).expect("it loads");
        let technology = technology();
        let images = [Start::Cold, Start::Warm].map(|start| recordings.of(start));
        let mut bytes = Vec::new();
        konata::write(&Timeline::new(images, &technology, 200), &mut bytes).expect("memory");
        let log = String::from_utf8(bytes).expect("text");
        let mut lines = log.lines();
        prop_assert_eq!(lines.next(), Some("Kanata\t0004"));
        prop_assert_eq!(lines.next(), Some("C=\t0"));
        let (mut now, mut rows, mut retired) = (0u64, HashMap::new(), 0);
        for line in lines {
            let words: Vec<&str> = line.split('\t').collect();
            match words[..] {
                ["C", cycles] => now += cycles.parse::<u64>().expect("cycles"),
                ["I", id, _, "0"] => {
                    prop_assert!(rows.insert(id.to_owned(), Vec::new()).is_none());
                }
                ["L", id, "0" | "1", _] => prop_assert!(rows.contains_key(id)),
                ["S", id, "0", stage] => {
                    let order = ["F", "Q", "W", "X", "P"].iter().position(|s| *s == stage);
                    let stages = rows.get_mut(id).expect("a row");
                    let order = order.expect("a stage");
                    prop_assert!(stages.iter().all(|&before| before < order), "{}", line);
                    stages.push(order);
                }
                ["R", id, _, "0"] => {
                    prop_assert!(rows.contains_key(id));
                    retired += 1;
                }
                _ => panic!("{line}"),
            }
        }
        let all = program.cold.words.len() + program.warm.words.len();
        prop_assert_eq!((rows.len(), retired), (all, all));
        let cycles: u64 = images.iter().map(|image| image.cycles()).sum();
        prop_assert_eq!(now, cycles);
        Ok(())
    });
}
