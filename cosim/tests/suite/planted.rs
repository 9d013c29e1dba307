//! Faults of every unit, each of which the comparison must find.

use qnnsim_cosim::faults::Fault;
use qnnsim_cosim::verilator::source;

/// Name, source, right text, which stands there once, and wrong text.
const PLANTED: [(&str, &str, &str, &str); 23] = [
    (
        "accumulator carry",
        "element.sv",
        "32'(({32'(term) ^ {32{negate}}, 1'b1} + {prior, negate}) >> 1)",
        "negate ? prior - 32'(term) : {prior[31:8] + 24'(32'(term) >> 8), prior[7:0] + term[7:0]}",
    ),
    (
        "a beat too many",
        "load.sv",
        "burst_last ? 16'(beats) : 16'(DRAM_BURST)",
        "burst_last ? 16'(beats) + 16'd1 : 16'(DRAM_BURST)",
    ),
    ("block carry", "mac.sv", "window + 24'(carry)", "window"),
    (
        "division carry",
        "threshold_unit.sv",
        "57'(({operand, 1'b1} + {addend ^ {57{minus}}, minus || (fresh && negative)}) >> 1)",
        "fresh ? operand + addend + 57'(negative) : minus \
         ? {operand[56:23] - addend[56:23], operand[22:0] - addend[22:0]} : operand + addend",
    ),
    (
        "bank free early",
        "thr.sv",
        "busy ? 32'(left) == MAC_DEPTH : issue && 32'(duration) <= MAC_DEPTH",
        "busy ? 32'(left) == MAC_DEPTH + 1 : issue && 32'(duration) <= MAC_DEPTH + 1",
    ),
    (
        "halt early",
        "front_end.sv",
        "running && halting && idle == '1 && coming == 0 && !ask",
        "running && halting && idle[2:0] == '1 && coming == 0 && !ask",
    ),
    ("a load buffer too many", "load.sv", "32'(used) < LOAD_BUFFERS", "32'(used) <= LOAD_BUFFERS"),
    ("packed edge", "packer.sv", "32'(row_bytes) - position", "32'(row_bytes) - position + 32'd1"),
    (
        "padding without a mask",
        "array.sv",
        "!row_used[r] ? '0 : (row_inside[r] ? turned[r] : {MAC_LANES / 8{pad}}) & lane_mask",
        "!row_used[r] ? '0 : row_inside[r] ? turned[r] & lane_mask : {MAC_LANES / 8{pad}}",
    ),
    (
        "pooling's first plane",
        "max_pool_unit.sv",
        "kept_in & ~(top & ~(kept ^ {THR_COLS{sign}}))",
        "kept_in",
    ),
    (
        "pooling position",
        "thr.sv",
        "mode.masked && rows_used[r]",
        "mode.masked && rows_used[r] && r == 0",
    ),
    (
        "post early",
        "load.sv",
        "pipe[LOAD_DEPTH-1] ? posts[LOAD_DEPTH-1] : '0",
        "write_last ? current.post : '0",
    ),
    (
        "a queue word too many",
        "sequencer.sv",
        "32'(count) == QUEUE_DEPTH",
        "32'(count) + 32'(!pop) > QUEUE_DEPTH",
    ),
    ("range of weights", "mac.sv", "40'(WGT_WORDS)", "40'(2 * WGT_WORDS)"),
    ("read port", "machine.sv", "!store_holds && !issue[ST]", "!store_holds"),
    ("rotation of the last row", "array.sv", "rotation[i]", "rotation[i] && r != MAC_ROWS - 1"),
    ("row sum", "mac.sv", "active && plane_w == '0", "active"),
    ("strobe", "store.sv", "beat_strobe[WORD_BYTES*i+:WORD_BYTES] = '1;", "beat_strobe = '1;"),
    ("sync overtakes", "sequencer.sv", "(turn_post == '0 || pipe_empty)", "1'b1"),
    ("ties of tables", "threshold_unit.sv", "!result[56]", "!result[56] && result != '0"),
    ("lanes of a tail", "array.sv", "~({MAC_LANES{1'b1}} << lanes)", "'1"),
    (
        "a threshold stage too few",
        "thr.sv",
        "completing[THR_DEPTH-1]",
        "THR_DEPTH == 1 ? drain_last && completes : completing[THR_DEPTH > 1 ? THR_DEPTH - 2 : 0]",
    ),
    ("write port", "machine.sv", "!load_holds && !load_claim", "!load_holds"),
];

/// All of them.
pub fn planted() -> Vec<Fault> {
    PLANTED
        .into_iter()
        .map(|(name, file, right, wrong)| {
            let text = source(file).unwrap_or_else(|| panic!("{name}: there is no {file}"));
            let at: Vec<usize> = text.match_indices(right).map(|(at, _)| at).collect();
            assert_eq!(at.len(), 1, "{name}: places of `{right}` in {file}");
            let range = at[0]..at[0] + right.len();
            Fault { name: name.into(), file, range, text: wrong.into() }
        })
        .collect()
}
