//! What a network is on every hardware point: the layers that the machine runs, their thresholds,
//! the layouts of their maps.
//!
//! A map is laid out for the stride of those who read it. Where readers differ, a *copy* is put
//! before the first of each other stride: a layer of its own with one-hot weights, which belongs in
//! reports to the layer that needs it.

use std::collections::HashMap;
use std::sync::Arc;

use qnnsim_isa::descriptor::{Code, MapShape};
use qnnsim_isa::operand::{ThresholdKind, WeightKind as MachineKind};
use qnnsim_isa::program::LayerInfo;
use qnnsim_isa::table::PoolDst;

use super::thresholds::{Thresholds, encode};
use crate::ir::{Activation, Conv, Layer, MapId, Network, Steps, Term, WeightKind, Weights};

/// What a network's layers are on every hardware point. Found once for any number of plans.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The network that the machine runs: the given one, and copies.
    pub(super) network: Arc<Network>,
    /// By layer of it.
    pub(super) layers: Vec<LayerFacts>,
}

#[derive(Debug, Clone)]
pub(super) struct LayerFacts {
    /// Index of the given network's layer that it belongs to.
    pub(super) origin: usize,
    /// It only brings a map into another layout.
    pub(super) copy: bool,
    /// Shape and code of the map that each term reads.
    pub(super) inputs: Vec<(MapShape, Code)>,
    pub(super) output: (MapShape, Code),
    pub(super) products: u64,
    pub(super) summary: String,
    /// Meaning and number of the weight bits, by term.
    pub(super) weights: Vec<(MachineKind, u32)>,
    /// Entries, or none for raw output.
    pub(super) thresholds: Option<Arc<Thresholds>>,
    /// Accumulators beyond 32 bits.
    pub(super) beyond: Option<(i64, i64)>,
    /// Index distance of one output row, and so of one row in each phase of all the maps that it
    /// reads.
    pub(super) pitch: u32,
    /// Phases in which each term's map lies, y and x.
    pub(super) phases: Vec<[u32; 2]>,
}

/// Whether the packer gathers the kernel's columns, so that the array sees one: where they are
/// neighbours.
pub(super) fn is_packed(term: &Term) -> bool {
    term.source == MapId(0) && term.conv.dilation[1] == 1
}

/// Input distance between outputs, y and x, in pixels or packed windows.
pub(super) fn stride(layer: &Layer, term: &Term) -> [u32; 2] {
    let pool = layer.pool.map_or([1, 1], |pool| pool.stride);
    [pool[0] * term.conv.stride[0], pool[1] * if is_packed(term) { 1 } else { term.conv.stride[1] }]
}

impl Facts {
    /// Of a network.
    pub fn new(network: &Network) -> Self {
        let (network, origins) = with_copies(network);
        let phases = phases(&network);
        let pitches = pitches(&network, &phases);
        let mut layers: Vec<LayerFacts> = Vec::new();
        for (index, layer) in network.layers.iter().enumerate() {
            let (origin, copy) = origins[index];
            let output = network.map(MapId(index + 1));
            let bounds = network.accumulator_bounds(layer);
            let beyond = bounds
                .iter()
                .find(|b| b.0 < i64::from(i32::MIN) || b.1 > i64::from(i32::MAX))
                .copied();
            let thresholds = match &layer.activation {
                Activation::Steps { channels, .. } if beyond.is_none() && output.1.bits <= 8 => {
                    Some(Arc::new(encode(channels, &bounds, output.1.bits, -output.1.min())))
                }
                Activation::Steps { .. } | Activation::Raw => None,
            };
            let copies = layers.iter().filter(|other| other.origin == origin).count();
            layers.push(LayerFacts {
                origin,
                copy,
                inputs: layer.terms.iter().map(|term| network.map(term.source)).collect(),
                output,
                products: if copy { 0 } else { network.products(layer) },
                summary: summary(&network, layer, output, kind_of(thresholds.as_deref()), copies),
                weights: weight_kinds(layer),
                thresholds,
                beyond,
                pitch: pitches[index],
                phases: layer.terms.iter().map(|term| phases[&place(index, layer, term)]).collect(),
            });
        }
        Facts { network: Arc::new(network), layers }
    }

    /// What reports say about the given network's layers, without a place for their maps.
    pub fn layer_infos(&self) -> Vec<LayerInfo> {
        let given = self.network.layers.iter().zip(&self.layers).filter(|(_, facts)| !facts.copy);
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
            products: self.products,
            precision: [
                activation.max().unwrap_or(1),
                self.weights.iter().map(|w| w.1).max().unwrap_or(1),
            ],
            map: None,
        }
    }
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
    let steps = Steps { lowest: code.min(), rising: true, thresholds };
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
