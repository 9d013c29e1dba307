//! The network with its costs: in the model's own file, as metadata of its nodes, and as a graph for
//! Graphviz.

use std::fmt::Write;

use qnnsim_compiler::ir::Network;
use qnnsim_simulator::quantity::{energy, grouped, percent};

use crate::explain::{Cause, Explanation};

/// What is known of a layer: keys and texts.
pub type Notes = Vec<(String, String)>;

/// Of each layer of an explanation what Netron shows of its node, and of the whole what it shows of
/// the model.
pub fn notes(explanation: &Explanation) -> (Notes, Vec<(String, Notes)>) {
    let key = |name: &str| format!("qnnsim.{name}");
    let report = &explanation.report;
    let whole = vec![
        (key("cycles"), report.cycles.warm.to_string()),
        (key("cycles_cold"), report.cycles.cold.to_string()),
        (key("energy"), energy(report.energy_pj.warm)),
        (key("energy_cold"), energy(report.energy_pj.cold)),
        (key("latency_us"), report.latency_us.warm.to_string()),
    ];
    let rows = report.layers.iter().zip(&explanation.layers);
    let layers = rows.filter(|(layer, _)| !["fetch", "tail"].contains(&layer.name.as_str()));
    let layers = layers.map(|(layer, row)| {
        let bound = &row.bound.warm;
        let mut notes = vec![
            (key("layer"), layer.name.clone()),
            (key("cycles"), layer.cycles.to_string()),
            (key("cycles_cold"), layer.cycles_cold.to_string()),
            (key("share"), percent(layer.share)),
            (key("utilization"), percent(layer.utilization)),
            (key("energy"), energy(layer.energy_pj)),
            (key("energy_cold"), energy(layer.energy_pj_cold)),
        ];
        if let Some(cause) = bound.bound_by {
            notes.push((key("bound_by"), Cause::name(cause).to_owned()));
            notes.push((key("bound_share"), percent(bound.share)));
        }
        if let Some(best) = &bound.best {
            let change = &best.change;
            let helps = format!(
                "{} {} -> {}: {} cycles",
                change.parameter,
                change.from,
                change.to,
                grouped(best.cycles)
            );
            notes.push((key("helps_most"), helps));
        }
        (layer.name.clone(), notes)
    });
    (whole, layers.collect())
}

/// A field of a protobuf message: its number, its bytes with key and length, and its contents if it
/// has a length.
struct Field<'b> {
    number: u64,
    whole: &'b [u8],
    contents: Option<&'b [u8]>,
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// The fields of a message; none if its bytes are not one.
fn fields(mut bytes: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let start = bytes;
        let key = varint(&mut bytes)?;
        let length = match key & 7 {
            0 => {
                varint(&mut bytes)?;
                None
            }
            1 => {
                bytes = bytes.get(8..)?;
                None
            }
            5 => {
                bytes = bytes.get(4..)?;
                None
            }
            2 => Some(usize::try_from(varint(&mut bytes)?).ok()?),
            _ => return None,
        };
        let contents = match length {
            Some(length) => {
                let (contents, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                Some(contents)
            }
            None => None,
        };
        let whole = &start[..start.len() - bytes.len()];
        all.push(Field { number: key >> 3, whole, contents });
    }
    Some(all)
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put(out: &mut Vec<u8>, number: u64, contents: &[u8]) {
    put_varint(out, number << 3 | 2);
    put_varint(out, contents.len() as u64);
    out.extend_from_slice(contents);
}

// Numbers of ONNX's fields, as published in onnx.proto.
const MODEL_GRAPH: u64 = 7;
const MODEL_METADATA: u64 = 14;
const GRAPH_NODE: u64 = 1;
const NODE_OUTPUT: u64 = 2;
const NODE_NAME: u64 = 3;
const NODE_OP_TYPE: u64 = 4;
const NODE_METADATA: u64 = 9;
const ENTRY_KEY: u64 = 1;
const ENTRY_VALUE: u64 = 2;

fn put_notes(out: &mut Vec<u8>, number: u64, notes: &Notes) {
    for (key, value) in notes {
        let mut entry = Vec::new();
        put(&mut entry, ENTRY_KEY, key.as_bytes());
        put(&mut entry, ENTRY_VALUE, value.as_bytes());
        put(out, number, &entry);
    }
}

/// Whether an entry of metadata is one of ours, of an earlier time.
fn is_ours(field: &Field<'_>) -> bool {
    let key = field.contents.and_then(fields).and_then(|entry| {
        let key = entry.iter().find(|f| f.number == ENTRY_KEY)?.contents?;
        Some(key.starts_with(b"qnnsim."))
    });
    key == Some(true)
}

/// Operators that layers come from.
const WEIGHTED: [&str; 4] = ["Conv", "ConvTranspose", "MatMul", "Gemm"];

/// The node that each layer comes from, by its place in the graph. A layer is named by the end of
/// its node's path, without the operator.
fn nodes_of(nodes: &[&[u8]], layers: &[(String, Notes)]) -> Option<Vec<Option<usize>>> {
    let text = |node: &[Field<'_>], number: u64| {
        let field = node.iter().find(|f| f.number == number);
        let bytes = field.and_then(|f| f.contents).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    };
    let mut paths = Vec::new();
    for node in nodes {
        let node = fields(node)?;
        let (mut name, op) = (text(&node, NODE_NAME), text(&node, NODE_OP_TYPE));
        if name.is_empty() {
            name = text(&node, NODE_OUTPUT);
        }
        let clean = |c: char| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '_' };
        let mut path: Vec<String> = name
            .split('/')
            .filter(|part| !part.is_empty())
            .map(|part| part.chars().map(clean).collect())
            .collect();
        if path.len() > 1 && path.last().is_some_and(|last| last.starts_with(&op)) {
            path.pop();
        }
        paths.push((format!(".{}", path.join(".")), WEIGHTED.contains(&op.as_str())));
    }
    let mut taken = vec![false; nodes.len()];
    let find = |layer: &(String, Notes)| {
        let end = format!(".{}", layer.0);
        let ends = |i: &usize| !taken[*i] && paths[*i].0.ends_with(&end);
        let all = || (0..paths.len()).filter(ends);
        let found = all().find(|&i| paths[i].1).or_else(|| all().next());
        if let Some(i) = found {
            taken[i] = true;
        }
        found
    };
    let mut find = find;
    Some(layers.iter().map(&mut find).collect())
}

/// The bytes of a model with notes on its nodes and on itself as metadata, and the layers that no
/// node is found for. Everything else stays byte for byte. None if the bytes are no model.
pub fn onnx(
    model: &[u8],
    whole: &Notes,
    layers: &[(String, Notes)],
) -> Option<(Vec<u8>, Vec<String>)> {
    let mut out = Vec::with_capacity(model.len() + 4096);
    let mut missing = Vec::new();
    for field in fields(model)? {
        match (field.number, field.contents) {
            (MODEL_GRAPH, Some(graph)) => {
                let graph = fields(graph)?;
                let nodes: Vec<&[u8]> = graph
                    .iter()
                    .filter(|f| f.number == GRAPH_NODE)
                    .filter_map(|f| f.contents)
                    .collect();
                let found = nodes_of(&nodes, layers)?;
                missing = layers
                    .iter()
                    .zip(&found)
                    .filter(|(_, node)| node.is_none())
                    .map(|(layer, _)| layer.0.clone())
                    .collect();
                let (mut rewritten, mut number) = (Vec::with_capacity(model.len()), 0);
                for part in &graph {
                    let Some(node) = part.contents.filter(|_| part.number == GRAPH_NODE) else {
                        rewritten.extend_from_slice(part.whole);
                        continue;
                    };
                    let mut noted = Vec::new();
                    for field in fields(node)? {
                        if field.number != NODE_METADATA || !is_ours(&field) {
                            noted.extend_from_slice(field.whole);
                        }
                    }
                    let of = found.iter().zip(layers).filter(|(node, _)| **node == Some(number));
                    of.for_each(|(_, layer)| put_notes(&mut noted, NODE_METADATA, &layer.1));
                    put(&mut rewritten, GRAPH_NODE, &noted);
                    number += 1;
                }
                put(&mut out, MODEL_GRAPH, &rewritten);
            }
            (MODEL_METADATA, Some(_)) if is_ours(&field) => {}
            _ => out.extend_from_slice(field.whole),
        }
    }
    put_notes(&mut out, MODEL_METADATA, whole);
    Some((out, missing))
}

/// A text within quotes, as Graphviz reads it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out + "\""
}

/// The integer network as a graph for Graphviz: a box a layer, with what it does and costs, as dark
/// as its part of the cycles is great; an arrow a map, with its shape and bits.
pub fn dot(network: &Network, explanation: &Explanation) -> String {
    let mut out = String::from(
        "digraph network {\n  rankdir=TB;\n  node [shape=box, style=\"filled,rounded\", \
         fontname=\"sans-serif\", fontsize=11, fillcolor=white];\n  edge [fontname=\"sans-serif\", \
         fontsize=10];\n",
    );
    let mut line = |text: String| {
        let _ = writeln!(out, "  {text}");
    };
    let shape = |map: usize| {
        let (shape, code) = network.map(qnnsim_compiler::ir::MapId(map));
        let sign = if code.signed { "int" } else { "uint" };
        format!("{}x{}x{}, {sign}{}", shape.channels, shape.height, shape.width, code.bits)
    };
    line(format!("m0 [label={}, shape=ellipse];", quoted(&network.input.name)));
    for (i, layer) in network.layers.iter().enumerate() {
        let map = i + 1;
        let rows = explanation.report.layers.iter().zip(&explanation.layers);
        let row = rows.into_iter().find(|(row, _)| row.name == layer.name);
        let mut label = layer.name.clone();
        let mut fill = "white".to_owned();
        if let Some((row, why)) = row {
            let _ = write!(
                label,
                "\n{}\n{} cycles, {}; {}\n{} of the array",
                row.summary,
                grouped(row.cycles),
                percent(row.share),
                energy(row.energy_pj),
                percent(row.utilization),
            );
            if let Some(cause) = why.bound.warm.bound_by {
                let _ = write!(label, "; bound by {}", Cause::name(cause));
            }
            // Saturation of an orange.
            fill = format!("0.08 {:.3} 1.0", row.share.clamp(0.0, 1.0) * 0.8);
        }
        line(format!("m{map} [label={}, fillcolor={}];", quoted(&label), quoted(&fill)));
        let mut sources: Vec<usize> = layer.terms.iter().map(|term| term.source.0).collect();
        sources.sort_unstable();
        sources.dedup();
        for source in sources {
            line(format!("m{source} -> m{map} [label={}];", quoted(&shape(source))));
        }
    }
    let last = network.layers.len();
    line("out [label=\"output\", shape=ellipse];".into());
    line(format!("m{last} -> out [label={}];", quoted(&shape(last))));
    out + "}\n"
}
