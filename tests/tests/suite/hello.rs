//! `programs/hello.qnn` teaches the machine. Everything it is expected to give is derived here or
//! in its comments by hand.

use qnnsim_assembler::{assemble, disassemble};
use qnnsim_isa::Program;
use qnnsim_simulator::trace::TraceLine;
use qnnsim_simulator::{Simulation, Start};
use qnnsim_tests::programs;

fn hello() -> Program {
    let source = std::fs::read_to_string(programs().join("hello.qnn")).expect("programs/hello.qnn");
    assemble("hello", &source).unwrap_or_else(|e| panic!("{}", e.render(false)))
}

fn simulate() -> Simulation {
    let program = hello();
    Simulation::new(program.clone()).unwrap_or_else(|trap| panic!("{}", trap.describe(&program)))
}

#[test]
fn values_are_those_derived_by_hand() {
    let simulation = simulate();
    let sample = simulation.program().sample.clone().expect("it carries a sample");
    // The tables beside the sample: horizontal, vertical and dark, each as (0,0), (0,1), (1,0),
    // (1,1).
    let seven = (&sample[..], [3, 2, 0, 0, 0, 2, 0, 1, 0, 0, 2, 2], [5, -14, -8, 1]);
    // No pixel: every sum is 0, so horizontal and vertical are 0 and dark is 3 everywhere; each
    // score is -3 - 3.
    let nothing = (&[0; 16][..], [0, 0, 0, 0, 0, 0, 0, 0, 3, 3, 3, 3], [-6, -6, -6, -6]);
    // All 255. Inside, 9 pixels: bright 2295, horizontal = vertical = 3 * 255 - 6 * 255 = -765. On
    // a side, 6 pixels: along the border 3 of them count +1 and 3 count -1, which gives 0;
    // across it, 2 count +1 and 4 count -1: -510. In a corner 2 count +1 and 2 count -1: 0. So
    // all codes are 0: 0 is below 100 and below 20, and 300 - 4 * 255 < 0.
    let full = (&[255; 16][..], [0; 12], [0; 4]);
    for mut executor in [simulation.cold_executor(), simulation.executor()] {
        let mut scores = Vec::new();
        for (image, hidden, expected) in [seven, nothing, full, seven] {
            let maps = executor.run_with_maps(image, &mut scores);
            assert_eq!(maps[0].values, hidden);
            assert_eq!(scores, expected);
        }
    }
}

#[test]
fn text_and_binary_are_the_same_program() {
    let program = hello();
    let from_file = Program::from_bytes(&program.to_bytes()).expect("a program file");
    assert!(from_file == program);
    let text = disassemble(&from_file);
    let again = assemble("hello", &text).unwrap_or_else(|e| panic!("{}", e.render(false)));
    assert!(again == program);
    assert_eq!(disassemble(&again), text);
}

/// A track of the timeline from its first cycle to its last.
type Span = (u64, u64, &'static str);

/// Warm. The 35 words lie in the code queue, so word i is decoded in cycle i and at work from i +
/// 1.
const WARM: &[Span] = &[
    // Word 4: four rows of one beat each, whose data come 50 + 1 cycles later, from 56, 57, 58,
    // 59.
    (5, 8, "ld"),
    // Word 5; `free` is 2.
    (6, 7, "thr"),
    // HALT is word 34. The fetcher asks for 8 + 8 + 8 + 8 words, and 8 bursts with the rows are
    // outstanding: the last 3 words wait for row 0. They end at 35 + 50 + 16 = 101, 117, 133,
    // 149, 155.
    (35, 35, "fetch"),
    (36, 36, "fetch"),
    (37, 37, "fetch"),
    (38, 38, "fetch"),
    (56, 56, "fetch"),
    // The packer writes one window of each of 2 phases in turn, up to 4 words a cycle: a row holds
    // 2 windows of each, so 2 cycles a row. Its posts are visible 2 + 2 cycles after its
    // issue: at 60, 62, 64, 66.
    (56, 63, "ld write"),
    (60, 66, "mac"),
    // Places 0 to 3, K = 3 words, byte mode, w = 1: 3 cycles each, `full` 3 + 4 after the issue.
    //   MAC 67-69: `full` from 74; 70-72: from 77. Two banks are full.
    //   Drain 74-77 (3 columns, 2 at a time, 2 bits: 4 cycles); `free` from 74 + max(1, 4 - 3) =
    // 75.   MAC 75-77: `full` from 82. Drain 78-81, behind the first: `free` from 79.
    //   MAC 79-81: `full` from 86. Drain 82-85.
    //   Drain 86-89 completes the word, which is ready from 86 + 4 + 2 = 92.
    (67, 81, "mac"),
    (74, 89, "thr"),
    // One word of 2 planes in 2 image rows. The pipe is empty from 96.
    (92, 95, "thr write"),
    (96, 96, "thr"),
    (97, 97, "mac"),
    // K = 4, a = 2, w = 2; `full` from 98 + 16 + 4 = 118.
    (98, 113, "mac"),
    // 4 columns, 2 at a time, 6 bits; ready from 118 + 12 + 2 = 132.
    (118, 129, "thr"),
    // One word of 6 planes. The pipe is empty from 138.
    (132, 137, "thr write"),
    (138, 138, "thr"),
    (139, 139, "st"),
    // 6 words; ready from 140 + 6 + 1 = 147.
    (140, 145, "st"),
    // 24 bytes, 3 beats, behind the code on the bus: they end at max(147 + 1, 155) + 3 = 158. From
    // 159 on STORE's pipe is empty, and nothing is on its way: the image ends.
    (147, 147, "st burst"),
];

/// Cold. Code comes from DRAM first, 8 words a burst of 16 beats, the last 7: words 0-7 are there
/// at 50 + 16 = 66, the next at 82, 98, 114, 130, 144. As soon as weights and image are there, all
/// goes as warm, 103 cycles later.
const COLD: &[Span] = &[
    (0, 0, "fetch"),
    (1, 1, "fetch"),
    (2, 2, "fetch"),
    (3, 3, "fetch"),
    (4, 4, "fetch"),
    (5, 5, "fetch"),
    // Word 2, decoded at 68: 36 bytes, 5 beats, behind the code on the bus: until 144 + 5 = 149.
    (69, 69, "ld"),
    // Word 5, decoded at 71: 48 bytes, 6 beats, until 155.
    (72, 72, "ld"),
    // Word 10 is the third of its burst, decoded at 84. With rows 0 and 1 8 bursts are
    // outstanding; row 2 follows at 98 and row 3 at 114, when code has come. They end at 156,
    // 157, 158, and 114 + 50 + 1 = 165.
    (85, 114, "ld"),
    // Word 14, decoded at 88.
    (89, 90, "thr"),
    // 128 bytes, 16 beats. Again 8 bursts are outstanding, until code comes at 130; until 130 + 50
    // + 16 = 196.
    (130, 130, "ld"),
    // 9 words, 3 banks: 3 a cycle; `weights` from 149 + 3 + 2 = 154.
    (149, 151, "ld write"),
    // HALT is word 46, decoded at 150. Entries, rows and the dense layer's weights are still on
    // their way, 6 bursts: two may be asked for, and one more whenever one of them has come. 8
    // + 8 + 8 + 8 + 3 words end at max(151 + 50, 196) + 16 = 217, 233, 249, 265, 271.
    (151, 151, "fetch"),
    (152, 152, "fetch"),
    (154, 154, "mac"),
    (155, 155, "fetch"),
    // 3 entries, 2 banks; `entries` from 155 + 2 + 2 = 159.
    (155, 156, "ld write"),
    (156, 156, "fetch"),
    (157, 157, "fetch"),
    // Rows at 157, 159, 161 and 165; the last is visible from 165 + 2 + 2 = 169.
    (157, 166, "ld write"),
    (159, 159, "thr"),
    (161, 169, "mac"),
    (170, 184, "mac"),
    (177, 192, "thr"),
    (195, 198, "thr write"),
    // 32 words, 4 a cycle; `weights` from 196 + 8 + 2 = 206. Weights have a port of their own.
    (196, 203, "ld write"),
    (199, 199, "thr"),
    // For the weights at 206, for the map at 207. From here on as warm, 110 cycles later.
    (206, 206, "mac"),
    (207, 207, "mac"),
    (208, 223, "mac"),
    (228, 239, "thr"),
    (242, 247, "thr write"),
    (248, 248, "thr"),
    (249, 249, "st"),
    (250, 255, "st"),
    // Behind the code again: until max(257 + 1, 271) + 3 = 274.
    (257, 257, "st burst"),
];

#[test]
fn cycles_are_those_derived_by_hand() {
    let simulation = simulate();
    assert_eq!(simulation.program().warm.words.len(), 35);
    assert_eq!(simulation.program().cold.words.len(), 47);
    let spans = |start| -> Vec<Span> {
        // The max-pool unit works in the cycles of the drain; register groups and HALT are not
        // derived one by one.
        let derived =
            |l: &&TraceLine| l.track != "pool" && !l.text.starts_with("cfg") && l.text != "halt";
        simulation.trace(start).iter().filter(derived).map(|l| (l.start, l.end, l.track)).collect()
    };
    assert_eq!(spans(Start::Warm), WARM);
    assert_eq!(simulation.timing(Start::Warm).cycles, 160);
    assert_eq!(spans(Start::Cold), COLD);
    assert_eq!(simulation.timing(Start::Cold).cycles, 276);
}
