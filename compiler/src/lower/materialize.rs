//! Layers are made here and nowhere else: of quantized values, of exact sums that cannot go on as
//! they are, and of what one map of 8 bits cannot hold, which takes several channels for each value.

use std::rc::Rc;

use qnnsim_isa::descriptor::Code;

use super::affine::{Affine, Kernel, Linear, MAX_LAYER_WEIGHT, MOST_LAYER_WEIGHT, MapInfo, Row};
use super::close::{BehindPool, Closed};
use super::legality::WhyNot;
use super::part::{Part, Quantized};
use super::value::Value;
use super::view::View;
use super::{Lowering, Made, MapValue};
use crate::diagnostic::{Diagnostic, Kind};
use crate::epilogue::Epilogue;
use crate::graph::ValueId;
use crate::ir::{Activation, Layer, MapId, Pool, StepFunction};
use crate::limits;
use crate::limits::{CHANNELS_MAX, PARTS_MAX, PRODUCTS_MAX};
use crate::step_function::Shape;
use crate::tensor::Codes;

/// Most thresholds of one channel of 8 bits.
const MOST_CODES: usize = 255;

/// Sums that become a map, without what lies below zero and pooled if that is asked for.
pub(super) struct MapOf {
    affine: Rc<Affine>,
    relu: bool,
    pool: Option<Pool>,
}

impl PartialEq for MapOf {
    fn eq(&self, other: &MapOf) -> bool {
        Rc::ptr_eq(&self.affine, &other.affine)
            && (self.relu, self.pool) == (other.relu, other.pool)
    }
}

/// A layer that is to be made.
pub(super) struct NewLayer<'a> {
    /// What its accumulators are.
    pub sums: &'a Affine,
    pub activation: Activation,
    /// What is pooled behind the activation.
    pub pool: Option<Pool>,
    /// What the activation was made from.
    pub epilogue: Epilogue,
    /// What its map is in the graph, if it is a value of it.
    pub value: Option<MapValue>,
    /// The node that it is named for.
    pub node: usize,
}

/// Channels that rise and channels that fall, which are to be added up.
struct Merged {
    /// Their sums.
    affine: Rc<Affine>,
    epilogue: Epilogue,
    channels: Vec<StepFunction>,
    /// How many there are for each channel.
    count: usize,
}

/// Bounds of accumulators, checked.
pub(super) fn accumulators(bounds: Vec<(i64, i64)>) -> Result<Vec<(i64, i64)>, Diagnostic> {
    let fits = |&acc: &i64| i32::try_from(acc).is_ok();
    match bounds.iter().find(|(low, high)| !fits(low) || !fits(high)) {
        Some((low, high)) => {
            Err(limits::ACCUMULATOR.refuse(format!("an accumulator from {low} to {high}")))
        }
        None => Ok(bounds),
    }
}

/// What must not happen, whatever the model: said in place of a program that computes something
/// else.
pub(super) fn fault(found: String) -> Diagnostic {
    Diagnostic::new(Kind::Fault, format!("this is a fault of qnnsim: {found}"))
        .help("report it, with the model if you can; another form of this node may do until then")
}

impl Lowering<'_> {
    /// Makes layers of quantized values, or the input's map.
    pub(super) fn close(&mut self, value: Value, id: ValueId) -> Result<Value, Diagnostic> {
        let mut maps = Vec::with_capacity(value.parts().len());
        let mut first_channel = 0;
        for part in value.parts() {
            let own: Vec<usize> = (first_channel..first_channel + part.channels()).collect();
            first_channel += own.len();
            maps.push(Rc::new(match part.is_input() {
                true => self.input_map(part, id, &value.view)?,
                false => {
                    let node = self.graph.nodes[part.node].place();
                    self.make_layer(part, id, &value.view, own).map_err(|error| error.at(node))?
                }
            }));
        }
        let map = match &maps[..] {
            [map] => map.clone(),
            _ => Rc::new(Affine::concat(&maps, &mut self.fuel)?.expect("maps have no divisor")),
        };
        let value = Value::of_sum(map, value.view);
        self.host.learn(id, &value);
        Ok(value)
    }

    /// Makes a layer of a quantized part, whose channels are these of a value.
    pub(super) fn make_layer(
        &mut self,
        part: &Part,
        value: ValueId,
        view: &View,
        of_value: Vec<usize>,
    ) -> Result<Affine, Diagnostic> {
        let quantized = part.quantized.expect("what becomes a map is quantized");
        let zero = quantized.zero_point()?;
        let closed = part.close(&self.maps, &mut self.fuel)?;
        let some_fall = closed.behind_pool.contains(&BehindPool::Falls);
        let falls = |channel: &usize| {
            let constant = closed.channels[*channel].thresholds() == 0;
            closed.behind_pool[*channel] == BehindPool::Falls || some_fall && constant
        };
        let (falling, rising): (Vec<usize>, Vec<usize>) = (0..part.channels()).partition(falls);
        if closed.behind_pool.contains(&BehindPool::Turns) {
            return self.make_pool_apart(part, value, view, of_value);
        }
        if !(falling.is_empty() || rising.is_empty()) {
            return self.make_layers_apart(part, value, view, (&of_value, &[rising, falling]));
        }
        let Closed { affine, mut epilogue, channels, .. } = closed;
        let monotone: Option<Vec<StepFunction>> = channels
            .iter()
            .map(|shape| match shape {
                Shape::Monotone(steps) => Some(steps.clone()),
                Shape::Sum { .. } => None,
            })
            .collect();
        let (affine, mut channels, merged) = match monotone {
            Some(channels) => (affine, channels, 0),
            None => {
                let merged = self.merge_parts(&affine, epilogue, channels, part.node)?;
                epilogue = merged.epilogue;
                (merged.affine, merged.channels, merged.count)
            }
        };
        let ends =
            |steps: &StepFunction| [steps.lowest, steps.lowest + steps.thresholds.len() as i64];
        let (low, high) = channels
            .iter()
            .flat_map(ends)
            .fold((zero, zero), |(low, high), code| (low.min(code), high.max(code)));
        // Codes that no accumulator reaches cost nothing. Where that takes fewer bits, the map's
        // integers count from the zero point. The minimum of a pooling is the maximum of integers
        // that count from the other end.
        let mirrored = !falling.is_empty();
        let own = Codes::Int { min: low, max: high }.code();
        let counted = Codes::Int { min: low - zero, max: high - zero }.code();
        let (code, shift) = match mirrored {
            true => (Codes::Int { min: 0, max: high - low }.code(), high),
            false if counted.bits < own.bits => (counted, -zero),
            false => (own, 0),
        };
        if code.bits > 8 {
            let found = format!("activations from {low} to {high}, zero at {zero}");
            return Err(limits::QUANT_BITS.refuse(found));
        }
        for steps in &mut channels {
            if mirrored {
                *steps = steps.negated();
            }
            steps.lowest += shift;
        }
        if part.sums().len() > 1 {
            for (params, affine) in epilogue.sums.iter_mut().zip(part.sums()) {
                params.terms = affine.to_terms(&self.maps)?;
            }
        }
        let zero_point = if mirrored { shift - zero } else { zero + shift };
        let value = MapValue {
            value: Some(value),
            channels: of_value,
            scale: part.scales(),
            mirrored,
            zero_point,
            merged,
            code_offset: shift,
            view: view.clone(),
        };
        let map = self.add_layer(NewLayer {
            sums: &affine,
            activation: Activation::Steps { code, channels },
            pool: part.pool.as_ref().map(|at| at.pool),
            epilogue,
            value: Some(value),
            node: part.node,
        })?;
        if !mirrored {
            return Ok(map);
        }
        let scales: Vec<f64> = (0..map.channels()).map(|c| map.scale(c)).collect();
        let id = MapId(self.maps.len() - 1);
        Ok(Affine::of_mirrored_map(id, &self.maps[id.0], &scales, part.node))
    }

    /// What is pooled as a map, and the operators behind the pooling as a layer that reads it.
    fn make_pool_apart(
        &mut self,
        part: &Part,
        value: ValueId,
        view: &View,
        of_value: Vec<usize>,
    ) -> Result<Affine, Diagnostic> {
        let pool = part.pool.expect("there is a pooling to be put apart");
        let Some(before) = part.before_pool() else {
            let refusal = limits::POOL_PLACE.refuse("a pooling whose maxima then fall and rise");
            return Err(refusal.at(self.graph.nodes[pool.node].place()));
        };
        let pooled = self.graph.nodes[pool.node].output;
        let map = self.make_layer(&before, pooled, view, of_value.clone())?;
        self.make_layer(&part.behind_pool(Rc::new(map)), value, view, of_value)
    }

    /// Some channels of a part as a map, the others as another. `of_value` says which of the
    /// value's they are.
    fn make_layers_apart(
        &mut self,
        part: &Part,
        value: ValueId,
        view: &View,
        (of_value, apart): (&[usize], &[Vec<usize>]),
    ) -> Result<Affine, Diagnostic> {
        let (mut affines, mut order) = (Vec::new(), vec![0; part.channels()]);
        let mut first = 0;
        for channels in apart {
            let mut some = part.clone();
            some.select(channels, &mut self.fuel)?;
            let own = channels.iter().map(|&channel| of_value[channel]).collect();
            affines.push(Rc::new(self.make_layer(&some, value, view, own)?));
            for (i, &channel) in channels.iter().enumerate() {
                order[channel] = first + i;
            }
            first += channels.len();
        }
        let all = Affine::concat(&affines, &mut self.fuel)?.expect("maps have no divisor");
        Ok(all.select(&order, &mut self.fuel)?)
    }

    /// Makes a layer, and gives its map as exact sums. All that must hold of layers is checked here.
    pub(super) fn add_layer(&mut self, new: NewLayer) -> Result<Affine, Diagnostic> {
        let NewLayer { sums, activation, pool, epilogue, value, node } = new;
        let bounds = accumulators(sums.bounds(&self.maps))?;
        let terms = sums.to_terms(&self.maps)?;
        for term in &terms {
            let shape = term.output_shape(self.map(term.source).shape);
            if shape != sums.shape {
                return Err(fault(format!("sums of shape {shape:?} stand for {:?}", sums.shape)));
            }
        }
        let weights: usize = terms.iter().map(|term| term.weights.data.len()).sum();
        let macs = (weights as u64)
            .saturating_mul(u64::from(sums.shape.height) * u64::from(sums.shape.width));
        if macs > PRODUCTS_MAX {
            return Err(limits::PRODUCTS.refuse(format!("a layer of {macs} MACs")));
        }
        self.fuel.take_integers(weights)?;
        let layer = Layer { name: String::new(), terms, activation, pool };
        let shape = layer.output_shape(sums.shape);
        let value = value.unwrap_or_else(|| MapValue::none(shape));
        let code = match &layer.activation {
            Activation::Steps { code, .. } => *code,
            Activation::Raw => {
                let (low, high) = bounds
                    .iter()
                    .fold((0, 0), |(low, high), bounds| (low.min(bounds.0), high.max(bounds.1)));
                (1..=32)
                    .map(|bits| Code { bits, signed: true })
                    .find(|code| code.min() <= low && high <= code.max())
                    .expect("accumulators fit 32 bits")
            }
        };
        let info = MapInfo { shape, code, zero_point: value.zero_point };
        let map = Affine::of_map(MapId(self.maps.len()), &info, &value.scale, node);
        self.fuel.take_integers(map.rows())?;
        self.maps.push(info);
        self.values.push(value);
        self.made.push(Made { layer, node, epilogue });
        Ok(map)
    }

    /// What the values of exact sums are as integers of a map, if they have few bits.
    pub(super) fn integers(&self, affine: &Affine) -> Option<Quantized> {
        if affine.divisor != 1.0 {
            return None;
        }
        let scale = affine.one_scale();
        let bounds = affine.bounds(&self.maps).into_iter().enumerate();
        let (min, max) = bounds.fold((0, 0), |(min, max), (channel, (low, high))| {
            let offset = affine.offset(channel);
            (min.min(low.saturating_add(offset)), max.max(high.saturating_add(offset)))
        });
        let codes = Codes::Int { min, max };
        (-128..=255).contains(&min).then_some(())?;
        (max <= 255 && codes.code().bits <= 8).then_some(Quantized {
            codes,
            scale,
            zero: Some(0.0),
        })
    }

    /// Step functions that turn, as a layer with several channels for each: some rise and some fall.
    /// What remains is to add them up.
    fn merge_parts(
        &mut self,
        affine: &Rc<Affine>,
        epilogue: Epilogue,
        channels: Vec<Shape>,
        node: usize,
    ) -> Result<Merged, Diagnostic> {
        let outputs = channels.len();
        let (mut parts, mut merged, mut lowest) = (Vec::new(), Vec::new(), Vec::new());
        for shape in channels {
            let (low, high) = shape.codes();
            let steps = match shape {
                Shape::Monotone(steps) => vec![steps],
                Shape::Sum { steps, .. } => steps.to_vec(),
            };
            // Each part counts from 0; the sum counts on from the lowest of all, which it need not
            // reach.
            let base: i64 = steps.iter().map(|steps| steps.lowest).sum();
            lowest.push(base);
            let of_channel: Vec<StepFunction> = steps
                .iter()
                .flat_map(|StepFunction { rising, thresholds, .. }| {
                    thresholds.chunks(MOST_CODES).map(|some| StepFunction {
                        lowest: 0,
                        rising: *rising,
                        thresholds: some.to_vec(),
                    })
                })
                .collect();
            parts.push(of_channel);
            let thresholds = (low - base + 1..=high - base).collect();
            merged.push(StepFunction { lowest: low, rising: true, thresholds });
        }
        let count = parts.iter().map(Vec::len).max().unwrap_or(0).max(1);
        if count * outputs > CHANNELS_MAX || count > PARTS_MAX as usize {
            return Err(
                limits::MAP_SIZE.refuse(format!("{outputs} channels whose codes fall and rise"))
            );
        }
        let most = parts.iter().flatten().map(|steps| steps.thresholds.len()).max().unwrap_or(0);
        let code = Codes::Int { min: 0, max: most as i64 }.code();
        let none = StepFunction { lowest: 0, rising: true, thresholds: Vec::new() };
        parts.iter_mut().for_each(|parts| parts.resize(count, none.clone()));
        let repeated: Vec<usize> =
            (0..outputs).flat_map(|channel| std::iter::repeat_n(channel, count)).collect();
        let many = affine.select(&repeated, &mut self.fuel)?;
        let map = self.add_layer(NewLayer {
            sums: &many,
            activation: Activation::Steps { code, channels: parts.concat() },
            pool: None,
            epilogue: epilogue.select(&repeated),
            value: None,
            node,
        })?;
        let affine = Rc::new(map.folded(count, &mut self.fuel)?);
        Ok(Merged { affine, epilogue: Epilogue::of_codes(lowest, count), channels: merged, count })
    }

    /// A layer's weights, with their scale for each output or for all, over exact sums. Where these
    /// cannot go on as they are, they become a map.
    pub(super) fn apply(
        &mut self,
        affine: &Rc<Affine>,
        kernel: &Kernel,
        scale: &[f64],
        node: usize,
    ) -> Result<Part, Diagnostic> {
        let direct = self.apply_directly(affine, kernel, scale, node)?;
        let goes_on = match &direct {
            Err(why) if !why.a_map_helps() => return Ok(direct?),
            Err(_) => false,
            Ok(part) => match part.exact().filter(|_| affine.composed) {
                Some(out) => {
                    let weight = out.greatest_weight();
                    if weight <= MAX_LAYER_WEIGHT && !self.map_is_faster(affine, kernel, out) {
                        return Ok(direct?);
                    }
                    weight <= MOST_LAYER_WEIGHT
                }
                None => return Ok(direct?),
            },
        };
        if let Some(map) = self.as_map(MapOf { affine: affine.clone(), relu: false, pool: None })? {
            return Ok(self.apply_directly(&map, kernel, scale, node)??);
        }
        let part = direct?;
        match part.exact() {
            Some(out) if !goes_on => Err(WhyNot::Weight(out.greatest_weight()).into()),
            _ => Ok(part),
        }
    }

    /// Whether sums are better a map before a layer reads them, `out` being that layer over the
    /// sums themselves: a mean over a whole map and a dense layer behind it would make a dense
    /// layer over the whole map. Counted in words of the array at its default size, with the bits
    /// of weights and data.
    fn map_is_faster(&self, affine: &Affine, kernel: &Kernel, out: &Affine) -> bool {
        const ROWS: u64 = 16;
        const COLUMNS: u64 = 16;
        const LANES: u64 = 64;
        /// What a layer takes beside its products.
        const LAYER: u64 = 64;
        let bits = |most: i64| u64::from(i64::BITS - most.max(1).leading_zeros()) + 1;
        let words = |[height, width]: [u32; 2], outputs: usize, inputs: usize, taps: usize| {
            let pixels = u64::from(height) * u64::from(width);
            pixels.div_ceil(ROWS)
                * (outputs as u64).div_ceil(COLUMNS)
                * (inputs as u64).div_ceil(LANES)
                * taps as u64
        };
        let of_terms = |grid: &Affine, weight_bits: u64| -> u64 {
            let of = |term: &Linear| {
                let inputs = term.rows.iter().flatten().map(|row| row.count).max().unwrap_or(1);
                let data_bits = u64::from(self.map(term.source).code.bits);
                words(grid.size(), grid.channels(), inputs, term.window.taps())
                    * data_bits
                    * weight_bits
            };
            grid.terms.iter().map(of).sum()
        };
        let weights = kernel.rows.first().map_or(1, Row::greatest);
        let (mut low, mut high) = (0, 0);
        for (channel, bounds) in affine.bounds(&self.maps).into_iter().enumerate() {
            let offset = affine.offset(channel);
            low = low.min(bounds.0.saturating_add(offset));
            high = high.max(bounds.1.saturating_add(offset));
        }
        let parts = (high.saturating_sub(low) as u64).div_ceil(255).clamp(1, PARTS_MAX as u64);
        let inputs = kernel.rows.iter().map(|row| row.count).max().unwrap_or(1) * parts as usize;
        let apart = of_terms(affine, 1) * parts
            + words(kernel.size, kernel.rows.len(), inputs, kernel.window.taps())
                * bits(weights)
                * 8
            + LAYER;
        apart < of_terms(out, bits(weights)) * 3 / 4
    }

    /// A value that can be pooled: sums that count differently in regions become a map first.
    pub(super) fn without_regions(
        &mut self,
        value: Value,
        id: ValueId,
    ) -> Result<Value, Diagnostic> {
        if !value.parts().iter().any(Part::has_regions) {
            return Ok(value);
        }
        if value.is_quantized() {
            return self.close(value, id);
        }
        let map = match value.exact() {
            Some(affine) => {
                self.as_map(MapOf { affine: affine.clone(), relu: false, pool: None })?
            }
            None => None,
        };
        let refuse = || limits::POOL_PLACE.refuse("a maximum of means that vary at the borders");
        Ok(Value::of_sum(map.ok_or_else(refuse)?, value.view))
    }

    /// What `Relu` or `MaxPool` makes of exact sums, as a map if it has few bits; other values as
    /// they are.
    pub(super) fn rectified(&mut self, value: Value) -> Result<Value, Diagnostic> {
        let Some(part) = value.part().filter(|part| part.exact().is_none()) else {
            return Ok(value);
        };
        let (None, Some((affine, relu, pool))) = (part.quantized, part.rectified()) else {
            return Ok(value);
        };
        let map = self.as_map(MapOf { affine: affine.clone(), relu, pool })?;
        Ok(match map {
            Some(map) => Value::of_sum(map, value.view),
            None => value,
        })
    }

    /// Sums as a map; `None` if they have too many bits. What has more than 8 is stacked: of
    /// unsigned values the first part is what lies below 255, the next what exceeds that, and
    /// so on; real zero is zero in all parts, as padding wants it. The maximum of the parts is
    /// that of the values.
    fn as_map(&mut self, of: MapOf) -> Result<Option<Rc<Affine>>, Diagnostic> {
        if let Some((_, map)) = self.mapped.iter().find(|(made, _)| *made == of) {
            return Ok(Some(map.clone()));
        }
        let MapOf { affine, relu, pool } = &of;
        let (relu, pool) = (*relu, *pool);
        let bounds = affine.bounds(&self.maps).into_iter().enumerate();
        let bounds: Vec<(i64, i64)> = bounds
            .map(|(channel, (low, high))| {
                let offset = affine.offset(channel);
                (low.saturating_add(offset), high.saturating_add(offset))
            })
            .collect();
        let min = if relu { 0 } else { bounds.iter().fold(0, |min, bounds| min.min(bounds.0)) };
        let max = bounds.iter().fold(0, |max, bounds| max.max(bounds.1));
        let [above, below] = if min < 0 { [127, 128] } else { [255, 0] };
        // The least code of each part, and what its integers are counted from.
        let rising =
            (0..).map(|i| i * above).take_while(|&from| from < max).map(|from| (0, from, above));
        let falling = (1..)
            .map(|i| -i * below)
            .take_while(|&from| from + below > min)
            .map(|from| (-below, from, below));
        let most = PARTS_MAX as usize + 1;
        let mut parts: Vec<(i64, i64, i64)> = rising.take(most).chain(falling.take(most)).collect();
        if (-128..0).contains(&min) && max <= 127 {
            parts = vec![(min, min, max - min)];
        }
        if parts.is_empty() {
            parts.push((0, 0, above));
        }
        let (count, channels) = (parts.len(), affine.channels());
        if count > PARTS_MAX as usize || count * channels > CHANNELS_MAX {
            return Ok(None);
        }
        let mut steps = Vec::with_capacity(count * channels);
        for (channel, &(low, high)) in bounds.iter().enumerate() {
            for &(least, from, span) in &parts {
                // Only what some sum reaches and another does not is a threshold.
                let first = (from + 1).max(low + 1);
                let thresholds: Vec<i64> =
                    (first..=(from + span).min(high)).map(|t| t - affine.offset(channel)).collect();
                let always = (low.min(from + span) - from).max(0);
                self.fuel.take_integers(thresholds.len())?;
                steps.push(StepFunction { lowest: least + always, rising: true, thresholds });
            }
        }
        let ends =
            |steps: &StepFunction| [steps.lowest, steps.lowest + steps.thresholds.len() as i64];
        let (lowest, highest) =
            steps.iter().flat_map(ends).fold((0, 0), |(low, high), c| (c.min(low), c.max(high)));
        let code = Codes::Int { min: lowest, max: highest }.code();
        let repeated: Vec<usize> = (0..channels).flat_map(|channel| vec![channel; count]).collect();
        let offsets = repeated.iter().map(|&channel| affine.offset(channel)).collect();
        let many = affine.select(&repeated, &mut self.fuel)?;
        let mut out = self.add_layer(NewLayer {
            sums: &many,
            activation: Activation::Steps { code, channels: steps },
            pool,
            epilogue: Epilogue::of_codes(offsets, affine.products),
            value: None,
            node: affine.node,
        })?;
        if count > 1 {
            out = out.folded(count, &mut self.fuel)?;
        }
        // The graph's own sums are what they were.
        out.take_scales(affine);
        let out = Rc::new(out);
        self.mapped.push((of, out.clone()));
        Ok(Some(out))
    }
}
