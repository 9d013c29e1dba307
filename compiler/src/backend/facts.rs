//! What a network is on every hardware point: the layers that the machine runs, their thresholds,
//! the layouts of their maps.
//!
//! A map is laid out for the stride of those who read it. Where readers differ, a *copy* is put
//! before the first of each other stride: a layer of its own with one-hot weights, which belongs in
//! reports to the layer that needs it.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use qnnsim_isa::descriptor::{Code, MapShape};
use qnnsim_isa::operand::{ThresholdKind, WeightKind as MachineKind};
use qnnsim_isa::program::LayerInfo;
use qnnsim_isa::table::{MacShape, PoolDst};

use super::thresholds::{Thresholds, encode};
use crate::diagnostic::{Diagnostic, Kind};
use crate::geometry::{Nested, Windows};
use crate::ir::{Activation, Conv, Layer, MapId, Network, StepFunction, Term, WeightKind, Weights};
use crate::sizes::unencodable;

/// What a network's layers are on every hardware point. Found once for any number of plans, and
/// cheap to clone.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The network that the machine runs: the given one, and copies.
    pub network: Arc<Network>,
    /// By layer of it.
    pub layers: Arc<[LayerFacts]>,
}

/// What one layer is on every hardware point.
#[derive(Debug, Clone)]
pub struct LayerFacts {
    /// Index of the given network's layer that it belongs to.
    pub origin: usize,
    /// It only brings a map into another layout.
    pub copy: bool,
    /// Shape and code of the map that each term reads.
    pub inputs: Vec<(MapShape, Code)>,
    /// Shape and code of the map that it writes.
    pub output: (MapShape, Code),
    /// Shape of its accumulators, before pooling.
    pub sums: MapShape,
    /// Multiply-accumulates of one image.
    pub macs: u64,
    /// One line for reports: what it does.
    pub summary: String,
    /// Meaning and number of the weight bits, by term.
    pub weights: Vec<(MachineKind, u32)>,
    /// Entries of the threshold unit, or none for raw output.
    pub thresholds: Option<Arc<Thresholds>>,
    /// Index distance of one output row, and so of one row in each phase of all the maps that it
    /// reads.
    pub pitch: u32,
    /// Phases in which each term's map lies, y and x.
    pub phases: Vec<[u32; 2]>,
}

/// Whether the packer gathers the kernel's columns, so that the array sees one: where they are
/// neighbours.
pub(super) fn is_packed(term: &Term) -> bool {
    term.source == MapId(0) && term.conv.dilation[1] == 1
}

/// Where along an axis the array finds the taps of a term, in pixels or in packed windows.
pub(super) fn windows(layer: &Layer, term: &Term, axis: usize) -> Nested {
    // The packer has gathered the windows of a row: each is a pixel.
    let in_windows = axis == 1 && is_packed(term);
    let inner = if in_windows { Windows::ONE } else { term.conv.windows(axis) };
    let outer = layer.pool.map_or(Windows::ONE, |pool| pool.windows(axis));
    // How many there are is known: what lies behind tells nothing more.
    let [inner, outer] = [inner, outer].map(|of| Windows { after: 0, partial: false, ..of });
    Nested { inner, outer, first: 0 }
}

/// Input distance between outputs, y and x, in pixels or packed windows.
fn stride(layer: &Layer, term: &Term) -> [u32; 2] {
    [0, 1].map(|axis| windows(layer, term, axis).stride())
}

impl Facts {
    /// What a network is on every hardware point.
    ///
    /// # Errors
    /// Every layer that no machine can run.
    pub fn new(network: &Network) -> Result<Self, Vec<Diagnostic>> {
        let (network, origins) = with_copies(network);
        let phases = phases(&network);
        let of_layer = |index: usize| -> Vec<[u32; 2]> {
            let layer = &network.layers[index];
            layer.terms.iter().map(|term| phases[&place(index, layer, term)]).collect()
        };
        let bounds: Vec<Vec<(i64, i64)>> =
            network.layers.iter().map(|layer| network.accumulator_bounds(layer)).collect();
        let mut errors: Vec<Diagnostic> = (0..network.layers.len())
            .filter_map(|index| refusal(&network, index, &bounds[index]))
            .collect();
        if network.layers.is_empty() {
            errors.push(Diagnostic::new(
                Kind::Encoding,
                "the network has no layer that the machine could run",
            ));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let pitches = pitches(&network, &phases);
        let mut layers: Vec<LayerFacts> = Vec::new();
        for (index, layer) in network.layers.iter().enumerate() {
            let (origin, copy) = origins[index];
            let output = network.map(MapId(index + 1));
            let thresholds = match &layer.activation {
                Activation::Steps { channels, .. } => {
                    let bias = -output.1.min();
                    Some(Arc::new(encode(channels, &bounds[index], output.1.bits, bias)))
                }
                Activation::Raw => None,
            };
            let copies = layers.iter().filter(|other| other.origin == origin).count();
            layers.push(LayerFacts {
                origin,
                copy,
                inputs: layer.terms.iter().map(|term| network.map(term.source)).collect(),
                output,
                sums: network.sums(layer),
                macs: if copy { 0 } else { network.macs(layer) },
                summary: summary(&network, layer, output, kind_of(thresholds.as_deref()), copies),
                weights: weight_kinds(layer),
                thresholds,
                pitch: pitches[index],
                phases: of_layer(index),
            });
        }
        Ok(Facts { network: Arc::new(network), layers: layers.into() })
    }

    /// Of each layer's map from which layer to which it is needed: from the one that writes it to
    /// the last one that reads it. The last layer's is needed behind all layers.
    pub fn lifetimes(&self) -> Vec<RangeInclusive<usize>> {
        let count = self.layers.len();
        let mut last: Vec<usize> = (0..count).collect();
        last[count - 1] = count;
        for (index, layer) in self.network.layers.iter().enumerate() {
            for map in layer.terms.iter().filter_map(|term| term.source.0.checked_sub(1)) {
                last[map] = index;
            }
        }
        last.into_iter().enumerate().map(|(layer, last)| layer..=last).collect()
    }

    /// Name of a layer.
    pub fn name(&self, layer: usize) -> &str {
        &self.network.layers[layer].name
    }

    /// Name of a layer of the given network, by its index there.
    pub(super) fn given_name(&self, origin: u32) -> &str {
        let given = |facts: &LayerFacts| !facts.copy && facts.origin == origin as usize;
        self.layers.iter().position(given).map_or("", |layer| self.name(layer))
    }

    /// What reports say about the given network's layers, without a place for their maps.
    pub fn layer_infos(&self) -> Vec<LayerInfo> {
        let given =
            self.network.layers.iter().zip(self.layers.iter()).filter(|(_, facts)| !facts.copy);
        given.map(|(layer, facts)| facts.info(layer)).collect()
    }
}

impl LayerFacts {
    /// What reports say about the layer, without a place for its map.
    pub(super) fn info(&self, layer: &Layer) -> LayerInfo {
        let activation = (layer.terms.iter().zip(&self.inputs))
            .map(|(term, input)| activation_bits(term, input.1));
        LayerInfo {
            name: layer.name.clone(),
            summary: self.summary.clone(),
            macs: self.macs,
            precision: [
                activation.max().unwrap_or(1),
                self.weights.iter().map(|w| w.1).max().unwrap_or(1),
            ],
            map: None,
        }
    }
}

/// Why no machine can run a layer whose accumulators have these bounds.
fn refusal(network: &Network, index: usize, bounds: &[(i64, i64)]) -> Option<Diagnostic> {
    let layer = &network.layers[index];
    let refuse = |message: String| {
        Some(Diagnostic::new(Kind::Encoding, format!("layer `{}`: {message}", layer.name)))
    };
    let (shape, code) = network.map(MapId(index + 1));
    if shape.height == 0 || shape.width == 0 || shape.channels == 0 {
        return refuse("its output is empty".into());
    }
    let sums = network.sums(layer);
    let shape_of = |term: &Term| term.output_shape(network.map(term.source).0);
    if layer.terms.iter().any(|term| shape_of(term) != sums) {
        return refuse("the maps that it adds differ in shape".into());
    }
    let raw = matches!(layer.activation, Activation::Raw);
    if raw != (index + 1 == network.layers.len()) {
        return refuse(
            "only the last layer, and it always, gives its accumulators as they are".into(),
        );
    }
    if !raw && code.bits > 8 {
        return refuse(format!(
            "its codes have {} bits; the threshold unit makes at most 8",
            code.bits
        ));
    }
    let pool = layer.pool.map_or([1, 1], |pool| pool.kernel);
    for term in &layer.terms {
        let phases = needed_phases(network, layer, term).into_iter().flatten();
        let sizes = phases.map(|s| (PoolDst::ROW, "s", s));
        for (row, operand, size) in sizes.chain(pool.map(|size| (MacShape::ROW, "pool", size))) {
            if let Err(error) = row.holds(operand, size.into()) {
                return Some(unencodable(&layer.name, &error));
            }
        }
        if term.region.is_some() && layer.pool.is_some() {
            return refuse("it pools sums of which some terms have a region of their own".into());
        }
        let bits = activation_bits(term, network.code(term.source));
        if bits > 8 {
            return refuse(format!("its input has {bits} bits; the array takes at most 8"));
        }
    }
    let beyond = |b: &&(i64, i64)| b.0 < i64::from(i32::MIN) || b.1 > i64::from(i32::MAX);
    let (low, high) = bounds.iter().find(beyond)?;
    refuse(format!("its accumulators can reach {low} to {high}, beyond 32 bits"))
}

/// Bits of an activation as the array sees it.
pub(super) fn activation_bits(term: &Term, code: Code) -> u32 {
    if term.source == MapId(0) { 8 } else { code.bits }
}

/// Mode of the threshold unit for these entries.
pub(super) fn kind_of(thresholds: Option<&Thresholds>) -> ThresholdKind {
    thresholds.map_or(ThresholdKind::Raw, |t| t.kind)
}

/// Bipolar weights stay so if every term has them, for the drain's row sum counts all terms; zeros
/// between groups have no bipolar code.
fn weight_kinds(layer: &Layer) -> Vec<(MachineKind, u32)> {
    let bipolar =
        layer.terms.iter().all(|t| t.weights.kind == WeightKind::Bipolar && t.conv.groups == 1);
    let of = |term: &Term| match term.weights.kind {
        WeightKind::Unsigned1 => (MachineKind::Unsigned, 1),
        WeightKind::Bipolar if bipolar => (MachineKind::Bipolar, 1),
        WeightKind::Bipolar => (MachineKind::Signed, 2),
        WeightKind::Signed(bits) => (MachineKind::Signed, bits),
    };
    layer.terms.iter().map(of).collect()
}

/// A map as it lies in memory: the input is packed for each of its readers alone.
type PlaceId = (usize, Option<(usize, usize)>);

fn place(index: usize, layer: &Layer, term: &Term) -> PlaceId {
    let number = layer.terms.iter().position(|other| std::ptr::eq(other, term)).unwrap_or(0);
    (term.source.0, (term.source == MapId(0)).then_some((index, number)))
}

/// The phases that a reader needs; an axis with one output does not care.
fn needed_phases(network: &Network, layer: &Layer, term: &Term) -> [Option<u32>; 2] {
    let output = layer.output_shape(network.sums(layer));
    let stride = stride(layer, term);
    [(output.height > 1).then_some(stride[0]), (output.width > 1).then_some(stride[1])]
}

/// The network with copies of maps whose readers need different phases, and for each layer which it
/// belongs to and whether it is a copy.
fn with_copies(network: &Network) -> (Network, Vec<(usize, bool)>) {
    // Of each map what its readers need, if that can be had at once.
    let mut needs: HashMap<MapId, Option<[Option<u32>; 2]>> = HashMap::new();
    for layer in &network.layers {
        for term in layer.terms.iter().filter(|term| term.source != MapId(0)) {
            let need = needed_phases(network, layer, term);
            let all = needs.entry(term.source).or_insert(Some([None; 2]));
            *all = all.and_then(|all| {
                let agree =
                    (0..2).all(|a| all[a].is_none() || need[a].is_none() || all[a] == need[a]);
                agree.then(|| [all[0].or(need[0]), all[1].or(need[1])])
            });
        }
    }
    let mut new_id = vec![MapId(0)];
    let mut copies: HashMap<(MapId, [u32; 2]), MapId> = HashMap::new();
    let (mut layers, mut origins) = (Vec::new(), Vec::new());
    for (index, layer) in network.layers.iter().enumerate() {
        let mut copied = layer.clone();
        for (term, given) in copied.terms.iter_mut().zip(&layer.terms) {
            term.source = new_id[given.source.0];
            let need = needed_phases(network, layer, given).map(|s| s.unwrap_or(1));
            if given.source == MapId(0) || needs[&given.source].is_some() || need == [1, 1] {
                continue;
            }
            term.source = *copies.entry((given.source, need)).or_insert_with(|| {
                layers.push(copy_of(network, given.source, term.source));
                origins.push((index, true));
                MapId(layers.len())
            });
        }
        layers.push(copied);
        origins.push((index, false));
        new_id.push(MapId(layers.len()));
    }
    (Network { layers, ..network.clone() }, origins)
}

/// A layer that makes the same map again.
fn copy_of(network: &Network, map: MapId, source: MapId) -> Layer {
    let (shape, code) = network.map(map);
    let channels = shape.channels as usize;
    let mut data = vec![0; channels * channels];
    data.iter_mut().step_by(channels + 1).for_each(|weight| *weight = 1);
    let conv = Conv { kernel: [1, 1], stride: [1, 1], dilation: [1, 1], pads: [0; 4], groups: 1 };
    let weights = Weights { kind: WeightKind::Unsigned1, out_channels: shape.channels, data };
    let thresholds = (code.min() + 1..=code.max()).collect();
    let steps = StepFunction { lowest: code.min(), rising: true, thresholds };
    Layer {
        name: format!("copy of {}", network.layers[map.0 - 1].name),
        terms: vec![Term { source, conv, weights, pad_value: 0, region: None }],
        activation: Activation::Steps { code, channels: vec![steps; channels] },
        pool: None,
    }
}

/// The phases of every map: what its readers need, which agree by now.
fn phases(network: &Network) -> HashMap<PlaceId, [u32; 2]> {
    let mut found: HashMap<PlaceId, [Option<u32>; 2]> = HashMap::new();
    let mut strides: HashMap<PlaceId, [u32; 2]> = HashMap::new();
    for (index, layer) in network.layers.iter().enumerate() {
        for term in &layer.terms {
            let (id, need) = (place(index, layer, term), needed_phases(network, layer, term));
            let all = found.entry(id).or_default();
            *all = [all[0].or(need[0]), all[1].or(need[1])];
            strides.entry(id).or_insert(stride(layer, term));
        }
    }
    // Where nobody cares, the stride of the first reader is as good as any that can be said.
    let most = PoolDst::ROW.max("s");
    let settled = |id: PlaceId, s: [Option<u32>; 2]| {
        [0, 1].map(|a| s[a].unwrap_or(strides[&id][a].min(most)))
    };
    found.into_iter().map(|(id, s)| (id, settled(id, s))).collect()
}

/// The pitch of every layer. A layer's maps all have its pitch and a map has that of all its
/// readers, so layers that are connected by maps have one, the greatest that any of them needs.
fn pitches(network: &Network, phases: &HashMap<PlaceId, [u32; 2]>) -> Vec<u32> {
    let mut group: Vec<usize> = (0..network.layers.len()).collect();
    let mut readers: HashMap<PlaceId, usize> = HashMap::new();
    let mut need = vec![1; network.layers.len()];
    for (index, layer) in network.layers.iter().enumerate() {
        let output = layer.output_shape(network.sums(layer));
        need[index] = output.width.max(1);
        for term in &layer.terms {
            let id = place(index, layer, term);
            let map = network.map(term.source).0;
            let width = if is_packed(term) { term.output_shape(map).width } else { map.width };
            need[index] = need[index].max(width.div_ceil(phases[&id][1]));
            let first = *readers.entry(id).or_insert(index);
            let (from, to) = (group[index], group[first]);
            group.iter_mut().filter(|g| **g == from).for_each(|g| *g = to);
        }
    }
    let of =
        |g: usize| (0..need.len()).filter(|&i| group[i] == g).map(|i| need[i]).max().unwrap_or(1);
    group.iter().map(|&g| of(g)).collect()
}

fn summary(
    network: &Network,
    layer: &Layer,
    output: (MapShape, Code),
    kind: ThresholdKind,
    copies: usize,
) -> String {
    let (output, Code { bits, .. }) = output;
    let term = |term: &Term| {
        let (input, [ky, kx]) = (network.map(term.source).0, term.conv.kernel);
        let dense =
            ky == input.height && kx == input.width && output.height == 1 && output.width == 1;
        if dense {
            format!("dense {} -> {}", input.values(), output.channels)
        } else {
            format!("conv {ky}x{kx} {} -> {}", input.channels, output.channels)
        }
    };
    let what: Vec<String> = layer.terms.iter().map(term).collect();
    let pool = layer
        .pool
        .map(|p| format!(", max pool {}x{}", p.kernel[0], p.kernel[1]))
        .unwrap_or_default();
    let mode = ["raw", "linear", "table"][kind as usize];
    let copies = match copies {
        0 => String::new(),
        1 => ", after a copy of a map".into(),
        n => format!(", after copies of {n} maps"),
    };
    format!("{}, {mode} {bits} bit{pool}{copies}", what.join(" + "))
}
