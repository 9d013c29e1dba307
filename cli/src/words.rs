//! What the words of reports mean: one table, for people and for the test that misses none.

use std::fmt::Write;

use qnnsim_compiler::backend::SEMAPHORES;

use crate::render::{Column, table, title};

/// Words with what they mean.
type Words = &'static [(&'static str, &'static str)];

/// By where they stand in a report; what the compiler calls its semaphores follows them.
const SECTIONS: &[(&str, Words)] = &[
    (
        "head of a report",
        &[
            ("program", "its name, and the hardware point that it is made for"),
            ("input", "the image that ran, and how its values become codes"),
            ("images", "how many ran: the first one cold, the others warm"),
            ("output", "a value of the model's output; by its class where there is one"),
            ("real", "the value as a real number, as the model gives it"),
            ("accumulator", "the integer that the last layer sums up"),
            ("accuracy", "part of the images whose class is their label"),
            ("throughput", "images a second, the clock by the cycles of a warm image"),
        ],
    ),
    (
        "image",
        &[
            ("cold", "the first image after power-up: it loads what stays, weights and thresholds"),
            ("warm", "every later image: what stays is there, all maps are computed anew"),
            ("cycles", "from the first fetch of an image's code until every unit is idle"),
            ("latency", "its cycles by the clock"),
            ("images a second", "the clock by the cycles of a warm image"),
            ("energy", "of all counted events, the clock and leakage, DRAM included"),
            ("streaming weights", "part of the energy: weights and thresholds from DRAM"),
            ("reading resident weights", "part of the energy: the weight and threshold memories"),
            ("leakage", "part of the energy: memories and logic, by area and time"),
            ("DRAM background", "part of the energy: what the DRAM takes when nothing moves"),
            ("mean power", "energy by latency"),
            ("time", "cycles by the clock, of all images as well"),
            ("cold image", "figures of the first image"),
            ("warm image", "figures of every later image"),
            ("all images", "figures of a cold image and then warm ones"),
        ],
    ),
    (
        "layer",
        &[
            ("layer", "a layer of the integer network, by the name of its node in the model"),
            ("fetch", "the first row: the image's first code arrives, and no layer has begun"),
            (
                "tail",
                "the last row: what follows the last layer's last write, until HALT has ended",
            ),
            ("total", "the sum of the rows: all cycles of the image"),
            ("share", "its cycles of those of the image"),
            ("MACs", "multiply-accumulates of the unpadded layer"),
            (
                "utilization",
                "useful lane operations of all that rows x columns x lanes could do in its cycles",
            ),
            (
                "stalls of the array",
                "cycles in which a MAC waits at the head, by what it waits for",
            ),
        ],
    ),
    (
        "unit",
        &[
            ("unit", "a part of the machine with a queue of its own; pool and front end have none"),
            ("ld", "LOAD: bursts from DRAM to a memory, or through the packer"),
            ("mac", "the array"),
            ("thr", "the threshold unit: accumulators to codes"),
            ("pool", "the max-pool unit behind it: the largest code of a window, and the write"),
            ("st", "STORE: the activation memory to DRAM"),
            ("front end", "fetches code, decodes a word a cycle, and hands it to the queues"),
            ("busy", "cycles in which a step holds the unit"),
            ("stalled", "cycles in which an instruction is at the head and does not issue"),
            ("idle", "cycles in which no instruction is there"),
            ("stalls", "the stalled cycles by the first cause that blocks"),
        ],
    ),
    (
        "memory",
        &[
            ("memory", "one of the machine's memories; words are as wide as its banks"),
            ("used", "what the program ever uses of it"),
            ("of", "what it has"),
            ("reads", "words read; of DRAM bytes"),
            ("writes", "words written; of DRAM bytes"),
            ("activations", "the maps, a bank for each row of the array"),
            ("weights", "a bank for each column of the array"),
            ("thresholds", "a bank for each column that is drained in a cycle"),
            ("accumulators", "of 32 bits, rows x columns in each accumulator bank"),
            ("code", "the code queue"),
            ("dram", "outside of the chip: code, image, weights, and the output"),
        ],
    ),
    (
        "cause of a stall: the machine",
        &[
            ("buffer", "no buffer is free between two stages of the unit"),
            ("configure", "a group of the unit's registers is being written"),
            ("dram", "the DRAM accepts another burst, or none"),
            ("halt", "HALT waits until every unit is idle"),
            ("pipe", "a SYNC with posts waits until its unit's pipeline is empty"),
            ("port", "another unit has the memory's port"),
            ("queue", "the queue of the unit that the word is for is full"),
        ],
    ),
    (
        "what bounds a layer",
        &[
            ("bound by", "what most of its cycles are charged to, with that share of them"),
            ("array", "the array computes"),
            ("drain", "the threshold unit drains a bank, or its words are written"),
            ("load", "LOAD writes or packs what has arrived"),
            ("store", "STORE reads the activation memory"),
            ("semaphores", "nothing works: a post is in a pipe, or units hand over to each other"),
            ("helps most", "the one parameter whose change saves most cycles, simulated"),
            ("cycles then", "the layer's cycles with that change"),
            ("change", "relative to the point as it is"),
            ("warm cycles", "cycles of a warm image with the parameter changed"),
            ("cold cycles", "cycles of a cold image with the parameter changed"),
            ("warm energy", "energy of a warm image with the parameter changed"),
        ],
    ),
    (
        "area",
        &[
            ("area", "of the whole machine; mm2 are silicon without wires"),
            ("LUT", "look-up tables of six inputs, 7-series FPGA"),
            ("FF", "flip-flops"),
            ("BRAM", "block RAMs of 36 kbit"),
            ("DSP", "DSP48 blocks"),
            ("mm2", "silicon of gates, registers and memories, without wires"),
        ],
    ),
    (
        "purpose",
        &[
            ("purpose", "what energy is for: these add up to the image's"),
            ("arithmetic", "array, threshold and max-pool units, without clock and wires"),
            ("control", "what tells them what to do and moves bytes, without clock and wires"),
            ("wires", "within logic: an estimate by the number of inputs of each net"),
            ("clock", "every flip-flop in every cycle, and the tree before it"),
            ("dram background", "what the DRAM takes whether it moves anything or not"),
            ("activity", "part of ones in the words that the array reads"),
        ],
    ),
    (
        "clock",
        &[
            ("highest clock", "that of the longest path, without the time of a memory's read"),
            ("path", "gates between two clock edges, the longest that ends in the unit"),
            ("all", "the whole machine"),
            ("memories", "the inputs of the memories' banks"),
            ("ports", "what is in front of the banks, and the DRAM's pins"),
        ],
    ),
    (
        "timeline",
        &[
            ("start", "first cycle of an instruction in a stage of a unit"),
            ("end", "the cycle after its last"),
            ("instruction", "as the assembler writes it"),
            ("waited", "cycles for which it stood at the head of its queue, by cause"),
        ],
    ),
    (
        "hardware point",
        &[
            ("parameter", "a hardware parameter, by the key that --set takes"),
            ("value", "its value, or the change that was tried"),
            ("set", "marks what --hw or --set gave a value"),
            ("default", "its value if nothing is said"),
            ("range", "its legal values"),
            ("meaning", "what it is"),
            ("peak", "multiply-accumulates of one bit by one bit in a cycle, at most"),
            ("technology", "whose energies are used: a table of a process"),
            ("fingerprint", "names all parameters that results and cycles depend on"),
            ("banks", "parts of a memory, each with a port of its own"),
            ("words", "words of a bank"),
            ("bits a word", "width of a word"),
            ("size", "bytes of all banks, or of a region of the DRAM"),
        ],
    ),
    (
        "program file",
        &[
            ("hardware", "the point that the program is made for"),
            ("clock", "frequency and technology, which can be replaced when it runs"),
            ("cold code", "instructions of the first image"),
            ("warm code", "instructions of every later image"),
            ("sample", "an image that the file carries"),
            ("name", "what the model calls its input"),
            ("shape", "sizes of the model's input for one image"),
            ("host", "what is computed outside of the machine, node by node"),
            ("quantizer", "how a real input becomes a code"),
            ("pixels", "how an 8-bit image becomes a real input, and whether its bytes stay"),
            ("byte", "how a code stands in the DRAM"),
            ("classes", "names of the outputs"),
            ("bits a", "bits of an activation"),
            ("bits w", "bits of a weight"),
            ("what it does", "the layer in a line"),
            ("DRAM region", "what lies in the DRAM"),
            ("address", "its first byte"),
        ],
    ),
    (
        "verification",
        &[
            ("graph", "the model's own operators on real values, and their precision"),
            ("values", "values of the map that were compared"),
            ("simulator differs", "values in which the simulator is not the integer reference"),
            ("graph differs", "values in which the graph is off by more than its rounding"),
            ("ties", "values in which rounding decides at a boundary of the quantizer"),
        ],
    ),
    (
        "float32",
        &[
            ("steps", "accumulators at which a code changes, of all channels"),
            ("margin", "least distance to such a change, in steps of the quantizer"),
            ("channel", "the channel in which that is"),
            ("float32 error", "how far float32 can be off there, in steps of the quantizer"),
            ("undecided", "steps at which float32 could give another code"),
            ("in float32", "whether results may differ there"),
        ],
    ),
    (
        "sweep",
        &[
            ("points", "points of the space, by what became of them"),
            ("point", "number of a point in its space"),
            ("source", "the model or program"),
            ("results", "the folder with tables, page and manifest"),
            ("report", "the page to choose by"),
            ("resumed", "simulations that an interrupted sweep had made already"),
            ("front", "points that no other is better than in one objective without being worse"),
            ("best in", "why the report names the point"),
            ("energy_pj", "objective: energy of a warm image"),
            ("lut", "objective: look-up tables of an FPGA"),
        ],
    ),
    (
        "co-simulation",
        &[
            ("RTL", "the machine in SystemVerilog, and what runs it"),
            ("programs", "programs that ran, and on how many hardware points"),
            ("seed", "of random points and programs"),
            ("events", "what was compared with its cycle"),
            ("memories", "words that were compared when an image had ended"),
            ("accesses", "reads and writes that were counted and compared"),
            ("traps", "programs that stop, by cause"),
            ("not run", "programs that a proof refuses"),
        ],
    ),
    (
        "JSON",
        &[
            ("schema", "name of a JSON document's schema"),
            ("version", "counts its changes"),
            ("written by", "the command that writes such documents"),
        ],
    ),
];

/// Heading of the words that the compiler gives its semaphores.
const OF_SEMAPHORES: &str = "cause of a stall: a semaphore of a compiled program";

/// Each section's name and its words with what they mean; those of semaphores are the last.
pub fn sections() -> Vec<(&'static str, Vec<(&'static str, &'static str)>)> {
    let all = SECTIONS.iter().map(|&(section, words)| (section, words.to_vec()));
    all.chain([(OF_SEMAPHORES, SEMAPHORES.concat())]).collect()
}

/// All words, each with its meaning.
pub fn text() -> String {
    let rows = |words: &[(&str, &str)]| {
        let row = |&(word, meaning): &(&str, &str)| vec![word.to_owned(), meaning.to_owned()];
        words.iter().map(row).collect()
    };
    let mut text = String::new();
    for (section, words) in sections() {
        let columns = [Column::Text("word"), Column::Text("means")];
        let _ = writeln!(text, "{}{}", title(section), table(&columns, rows(&words), false));
    }
    text
}

/// One line under the first report.
pub const FIRST: &str = "cold: the first image; warm: every later one, weights being there; fetch and \
tail: before the first layer and behind the last; free, rows, map: the array waits for an empty \
accumulator bank, for image rows, for the map before; `qnnsim words` says all of them";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_means_one_thing() {
        let mut seen = std::collections::BTreeMap::new();
        for (word, meaning) in sections().into_iter().flat_map(|(_, words)| words) {
            if let Some(other) = seen.insert(word, meaning) {
                // A semaphore, a memory or a cause may share a word with what it stands for.
                let shared = ["clock", "dram", "weights", "fetch", "map", "memories", "output"];
                assert!(shared.contains(&word), "{word}: {other}, {meaning}");
            }
        }
    }
}
