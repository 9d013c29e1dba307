//! Three ways to compute a model, compared map by map: the machine, the integer reference, and the
//! model's graph on real values.
//!
//! The machine must equal the reference in every value. The graph, evaluated in floating-point
//! arithmetic, may decide otherwise where an accumulator lies so near a boundary of its quantizer
//! that rounding reaches it. Each layer of the graph begins with the reference's map, so that one
//! such tie does not hide or excuse what comes after it.

use std::cell::LazyCell;
use std::collections::HashSet;

use qnnsim_compiler::epilogue::{Epilogue, Outcomes};
use qnnsim_compiler::graph::{RealGraph, Section, ValueId};
use qnnsim_compiler::import::{Import, MapValue};
use qnnsim_compiler::ir::{Layer, MapId};
use qnnsim_compiler::tensor::Precision;
use qnnsim_host::{Encoder, HostError, Order};
use qnnsim_isa::descriptor::{MapShape, OutputValue};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{Map, accumulate, evaluate, pool};

/// Compares images of one model.
#[derive(Debug)]
pub struct Verifier<'i> {
    import: &'i Import,
    graph: RealGraph<'i>,
    precision: Precision,
    encoder: Encoder,
    /// Of each map, what leads to it in the graph from the maps before it; `None` if it is not in
    /// the graph.
    sections: Vec<Option<Section>>,
    /// Of each head, what leads to it in the same way, and where its values stand.
    heads: Vec<(Section, Vec<usize>)>,
    /// Of each map, where its values stand in the tensor of the graph.
    places: Vec<Vec<usize>>,
    /// Least and greatest values of the sums of each layer: its accumulators, or the sums with
    /// scales of their own that it adds. By layer, sum and channel.
    bounds: Vec<Vec<Vec<(i64, i64)>>>,
}

/// What one image, or several, showed of every map: the input's, then each layer's.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize)]
#[serde(transparent)]
pub struct Report {
    /// By map.
    pub maps: Vec<MapReport>,
}

/// What was found in one map.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize)]
pub struct MapReport {
    /// `input`, or the name of the layer that makes the map.
    pub name: String,
    /// Values that were compared.
    pub values: u64,
    /// Where the machine is not equal to the reference: errors.
    pub machine: Differences,
    /// Where the graph is not equal to the reference, but within what its rounding can do.
    pub ties: Differences,
    /// Where it differs by more: errors.
    pub graph: Differences,
}

/// How often two ways differ, and where first.
#[derive(Debug, Clone, Copy, Default, PartialEq, JsonSchema, Serialize)]
pub struct Differences {
    /// Values that differ.
    pub count: u64,
    /// The first of them, by image and place.
    pub first: Option<Difference>,
}

/// A value that differs.
#[derive(Debug, Clone, Copy, PartialEq, JsonSchema, Serialize)]
pub struct Difference {
    /// Number of the image.
    pub image: u64,
    /// Channel of the map.
    pub channel: u32,
    /// Row of the map.
    pub y: u32,
    /// Column of the map.
    pub x: u32,
    /// What was found: an integer, or the graph's real output.
    pub found: f64,
    /// What the reference says.
    pub expected: f64,
}

impl<'i> Verifier<'i> {
    /// Compares with the graph in this precision.
    ///
    /// # Errors
    /// What stands in front of the input quantizer cannot be computed.
    pub fn new(import: &'i Import, precision: Precision) -> Result<Self, HostError> {
        let network = &import.network;
        let encoder = Encoder::new(&network.input)?;
        let graph = RealGraph::new(&import.graph, precision);
        let bounds = |(layer, epilogue): (&Layer, &Epilogue)| match epilogue.sums() {
            [_] => vec![network.accumulator_bounds(layer)],
            sums => sums.iter().map(|sum| network.sum_bounds(&sum.terms)).collect(),
        };
        let bounds = network.layers.iter().zip(&import.epilogues).map(bounds).collect();
        // The last map is the heads.
        let inner = &import.maps[..network.layers.len()];
        let known: HashSet<ValueId> = inner.iter().filter_map(|map| map.value).collect();
        let section = |map: &MapValue| map.value.map(|value| graph.section(&known, value));
        let sections = inner.iter().map(section).chain([None]).collect();
        let heads = import.heads.iter().map(|head| {
            let value = head.map.value.expect("a head is a value of the graph");
            let section = match known.contains(&value) {
                true => graph.only(value),
                false => graph.section(&known, value),
            };
            (section, head.map.places(head.shape))
        });
        let heads = heads.collect();
        let shape = |(index, map): (usize, &MapValue)| map.places(network.map(MapId(index)).0);
        let places = import.maps.iter().enumerate().map(shape).collect();
        Ok(Verifier { import, sections, heads, places, graph, precision, encoder, bounds })
    }

    /// A report of no images.
    pub fn report(&self) -> Report {
        let network = &self.import.network;
        let names =
            ["input"].into_iter().chain(network.layers.iter().map(|layer| layer.name.as_str()));
        let map = |name: &str| MapReport {
            name: name.to_owned(),
            values: 0,
            machine: Differences::default(),
            ties: Differences::default(),
            graph: Differences::default(),
        };
        Report { maps: names.map(map).collect() }
    }

    /// Compares one image: its `real` input values in the model's order, and all maps of the
    /// machine, that of the input first, whose values are in the order channel, row, column.
    ///
    /// # Panics
    /// If they are not as many as the network's maps have.
    pub fn image(&self, image: u64, real: &[f64], machine: &[&[i64]], report: &mut Report) {
        let Import { network, maps, .. } = self.import;
        let codes = self.encoder.codes(real, Order::Model);
        let input = Map::of_pixels(network.input.shape, &codes);
        let size = pixels(input.shape);
        let reference = evaluate(network, &input.values);
        assert_eq!(machine.len(), reference.len(), "maps of the network");
        for (index, ((to, map), machine)) in
            report.maps.iter_mut().zip(&reference).zip(machine).enumerate()
        {
            to.compare_machine(image, map, machine);
            if index == network.layers.len() {
                self.compare_output(image, &reference, to);
                continue;
            }
            let Some(section) = &self.sections[index] else { continue };
            let from: Vec<Vec<f64>> = match index {
                0 => vec![real.to_vec()],
                _ => section.from.iter().map(|&value| self.value(value, &reference)).collect(),
            };
            let values = self.graph.eval(section, &from);
            let at = &maps[index];
            let values: Vec<f64> = self.places[index].iter().map(|&place| values[place]).collect();
            let integer = |(i, value): (usize, &f64)| at.nearest(*value, i / pixels(map.shape));
            let integers: Vec<f64> = values.iter().enumerate().map(integer).collect();
            // Needed only where something differs.
            let sums =
                LazyCell::new(|| self.sums(index - 1 - usize::from(at.merged > 0), &reference));
            to.compare_graph(image, map, &integers, |channel| match index.checked_sub(1) {
                None => {
                    let places = &self.places[0][channel * size..][..size];
                    let end = |sign: f64| {
                        let code = |&at: &usize| self.input_code(real[at], channel, sign);
                        places.iter().map(code).collect()
                    };
                    (end(-1.0), end(1.0))
                }
                Some(layer) => self.outcomes(layer, at, &sums, channel),
            });
        }
    }

    /// The code that an input can become if all roundings on its way err to one side.
    fn input_code(&self, real: f64, channel: usize, sign: f64) -> f64 {
        let unit = self.precision.rounding();
        let (x, mut error) = self.import.front.apply(real, channel, unit);
        // A few roundings on the way to the quotient, and of its sum with the zero point.
        let quantizer = &self.import.network.input.quantizer;
        error += 4.0 * unit * (x.abs() + (quantizer.zero_point * quantizer.scale).abs());
        quantizer.quantize(x + sign * error).0 as f64
    }

    /// The real values of a tensor of the graph, from the maps that it consists of.
    fn value(&self, value: ValueId, reference: &[Map]) -> Vec<f64> {
        let mut real = vec![0.0; self.import.graph.value(value).dims.iter().product()];
        let maps = reference.iter().zip(&self.import.maps).zip(&self.places);
        for ((map, at), places) in maps.filter(|((_, at), _)| at.value == Some(value)) {
            for (i, (&place, &code)) in places.iter().zip(&map.values).enumerate() {
                real[place] = at.real(code, i / pixels(map.shape));
            }
        }
        real
    }

    /// The sums behind which a layer's operators stand.
    fn sums(&self, index: usize, reference: &[Map]) -> Vec<Map> {
        let layer = &self.import.network.layers[index];
        match self.import.epilogues[index].sums() {
            [_] => vec![accumulate(layer, reference)],
            sums => sums
                .iter()
                .map(|sum| Layer { terms: sum.terms.clone(), pool: None, ..layer.clone() })
                .map(|layer| accumulate(&layer, reference))
                .collect(),
        }
    }

    /// The least and the greatest code that rounding can lead to, of a channel after pooling.
    fn outcomes(
        &self,
        index: usize,
        at: &MapValue,
        sums: &[Map],
        channel: usize,
    ) -> (Vec<f64>, Vec<f64>) {
        let layer = &self.import.network.layers[index];
        // All parts of a channel have the same accumulators.
        let (index, channel) =
            if at.merged > 0 { (index - 1, at.merged * channel) } else { (index, channel) };
        let shape = MapShape { channels: 1, ..sums[0].shape };
        let mut chain = self.import.epilogues[index].channel(channel);
        let bounds: Vec<(i64, i64)> = self.bounds[index].iter().map(|sum| sum[channel]).collect();
        let of_channel: Vec<&[i64]> = sums.iter().map(|sum| sum.channel(channel)).collect();
        let outcome = |pixel: usize| {
            let sums: Vec<i64> = of_channel.iter().map(|sum| sum[pixel]).collect();
            chain.outcomes(&sums, &bounds, self.precision)
        };
        let outcomes: Vec<_> = (0..of_channel[0].len()).map(outcome).collect();
        let pooled = |end: fn(&Outcomes) -> f64| -> Vec<f64> {
            let code = |outcome: &Outcomes| at.integer(end(outcome) as i64);
            let values = outcomes.iter().map(code).collect();
            pool(layer, Map { shape, values }).values.iter().map(|&code| code as f64).collect()
        };
        let (low, high) = (pooled(|outcome| outcome.low), pooled(|outcome| outcome.high));
        if at.mirrored { (high, low) } else { (low, high) }
    }

    /// The real values that the last accumulators stand for, which no quantizer makes equal: they
    /// differ by rounding, or by more. What the host makes of them is computed by the graph's own
    /// operators.
    fn compare_output(&self, image: u64, reference: &[Map], to: &mut MapReport) {
        let sums = &reference[reference.len() - 1];
        let mut values_of_heads = &self.import.network.output.values[..];
        for (head, (section, places)) in self.import.heads.iter().zip(&self.heads) {
            let of_sums;
            (of_sums, values_of_heads) = values_of_heads.split_at(head.first_channels.len());
            let from: Vec<Vec<f64>> =
                section.from.iter().map(|&value| self.value(value, reference)).collect();
            let values = self.graph.eval(section, &from);
            let (size, width) = (pixels(head.shape), head.shape.width as usize);
            for channel in 0..head.shape.channels as usize {
                let mut chain = head.epilogue.channel(channel);
                let at: Vec<usize> = head.first_channels.iter().map(|at| at + channel).collect();
                let of_last = &self.bounds[self.bounds.len() - 1][0];
                let bounds: Vec<(i64, i64)> = at.iter().map(|&at| of_last[at]).collect();
                for own in 0..size {
                    let found = values[places[channel * size + own]];
                    let pixel = own / width * sums.shape.width as usize + own % width;
                    let accs: Vec<i64> = at.iter().map(|&at| sums.channel(at)[pixel]).collect();
                    let outcomes = chain.outcomes(&accs, &bounds, self.precision);
                    let real = |(value, &acc): (&OutputValue, &i64)| {
                        value.ops.iter().fold(acc as f64, |x, op| op.apply(x, channel))
                    };
                    let expected: f64 = of_sums.iter().zip(&accs).map(real).sum();
                    let reachable = outcomes.real[0]..=outcomes.real[1];
                    // In float32 the host's doubles need not be among what can come out.
                    let near = |x: f64| {
                        let slack = (x.abs() + expected.abs()) * self.precision.rounding();
                        *reachable.start() - slack <= x && x <= *reachable.end() + slack
                    };
                    if !near(found) || !near(expected) {
                        to.graph.add(place(image, sums.shape, at[0], pixel, found, expected));
                    }
                }
            }
        }
    }
}

fn pixels(shape: MapShape) -> usize {
    shape.height as usize * shape.width as usize
}

fn place(
    image: u64,
    shape: MapShape,
    channel: usize,
    pixel: usize,
    found: f64,
    expected: f64,
) -> Difference {
    let (y, x) = (pixel as u32 / shape.width, pixel as u32 % shape.width);
    Difference { image, channel: channel as u32, y, x, found, expected }
}

impl MapReport {
    fn compare_machine(&mut self, image: u64, map: &Map, machine: &[i64]) {
        assert_eq!(machine.len(), map.values.len(), "values of `{}`", self.name);
        self.values += machine.len() as u64;
        let size = pixels(map.shape);
        for (i, (&found, &expected)) in machine.iter().zip(&map.values).enumerate() {
            if found != expected {
                self.machine.add(place(
                    image,
                    map.shape,
                    i / size,
                    i % size,
                    found as f64,
                    expected as f64,
                ));
            }
        }
    }

    /// `outcomes` gives, for a channel that differs, the least and the greatest code of each of its
    /// pixels.
    fn compare_graph(
        &mut self,
        image: u64,
        map: &Map,
        found: &[f64],
        outcomes: impl Fn(usize) -> (Vec<f64>, Vec<f64>),
    ) {
        let size = pixels(map.shape);
        for (channel, (found, expected)) in
            found.chunks(size).zip(map.values.chunks(size)).enumerate()
        {
            let differs = |i: &usize| found[*i] != expected[*i] as f64;
            let mut differences = (0..size).filter(differs).peekable();
            if differences.peek().is_none() {
                continue;
            }
            let (low, high) = outcomes(channel);
            for i in differences {
                let difference = place(image, map.shape, channel, i, found[i], expected[i] as f64);
                let reachable = low[i]..=high[i];
                let tie = reachable.contains(&difference.found)
                    && reachable.contains(&difference.expected);
                if tie { &mut self.ties } else { &mut self.graph }.add(difference);
            }
        }
    }
}

impl Differences {
    fn add(&mut self, difference: Difference) {
        self.count += 1;
        self.first.get_or_insert(difference);
    }

    fn merge(&mut self, other: Differences) {
        self.count += other.count;
        let earlier = |a: Difference, b: Difference| if b.image < a.image { b } else { a };
        self.first = match (self.first, other.first) {
            (Some(a), Some(b)) => Some(earlier(a, b)),
            (a, b) => a.or(b),
        };
    }
}

impl Report {
    /// Adds what other images showed.
    pub fn merge(mut self, other: Report) -> Report {
        for (to, from) in self.maps.iter_mut().zip(other.maps) {
            to.values += from.values;
            to.machine.merge(from.machine);
            to.ties.merge(from.ties);
            to.graph.merge(from.graph);
        }
        self
    }

    /// Whether there is no difference but ties.
    pub fn agrees(&self) -> bool {
        self.maps.iter().all(|map| map.machine.count == 0 && map.graph.count == 0)
    }
}
