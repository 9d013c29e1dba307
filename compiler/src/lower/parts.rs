//! Integers that one map cannot hold, as a map with several channels for each: step functions that
//! turn, and sums of more than 8 bits.

use std::rc::Rc;

use qnnsim_isa::descriptor::MapShape;

use super::chain::{Chain, Closed};
use super::form::{Grid, Kernel, Linear, MAX_LAYER_WEIGHT, MOST_LAYER_WEIGHT, MapInfo, Row};
use super::view::View;
use super::{Data, Known, Lowering, MapValue, is_quantized};
use crate::build::MAX_CHANNELS;
use crate::diagnostic::Diagnostic;
use crate::epilogue::Epilogue;
use crate::graph::ValueId;
use crate::ir::{Activation, Pool, Steps};
use crate::limits;
use crate::steps::Shape;
use crate::tensor::Codes;

/// Most channels that stand for one value: enough for means of 3 x 3 bytes, those at the borders
/// among them.
const MAX_PARTS: i64 = 72;

/// Most thresholds of one channel of 8 bits.
const MOST_CODES: usize = 255;

/// Sums that become a map, without what lies below zero and pooled if that is asked for.
pub(super) struct MapOf {
    form: Rc<Grid>,
    relu: bool,
    pool: Option<Pool>,
}

impl PartialEq for MapOf {
    fn eq(&self, other: &MapOf) -> bool {
        Rc::ptr_eq(&self.form, &other.form) && (self.relu, self.pool) == (other.relu, other.pool)
    }
}

impl Lowering<'_> {
    /// Step functions that turn, as a layer with several channels for each: some rise and some fall.
    /// What remains is to add them up; how many there are for each channel.
    pub(super) fn merge_parts(
        &mut self,
        closed: Closed,
        node: usize,
    ) -> Result<(Closed, usize), Diagnostic> {
        let Closed { form, epilogue, channels, behind_pool } = closed;
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
            let of_channel: Vec<Steps> = steps
                .iter()
                .flat_map(|Steps { rising, thresholds, .. }| {
                    thresholds.chunks(MOST_CODES).map(|some| Steps {
                        lowest: 0,
                        rising: *rising,
                        thresholds: some.to_vec(),
                    })
                })
                .collect();
            parts.push(of_channel);
            let thresholds = (low - base + 1..=high - base).collect();
            merged.push(Shape::Monotone(Steps { lowest: low, rising: true, thresholds }));
        }
        let count = parts.iter().map(Vec::len).max().unwrap_or(0).max(1);
        if count * outputs > MAX_CHANNELS || count > MAX_PARTS as usize {
            return Err(
                limits::MAP_SIZE.refuse(format!("{outputs} channels whose codes fall and rise"))
            );
        }
        let most = parts.iter().flatten().map(|steps| steps.thresholds.len()).max().unwrap_or(0);
        let code = Codes::Int { min: 0, max: most as i64 }.code();
        let none = Steps { lowest: 0, rising: true, thresholds: Vec::new() };
        parts.iter_mut().for_each(|parts| parts.resize(count, none.clone()));
        let repeated: Vec<usize> =
            (0..outputs).flat_map(|channel| std::iter::repeat_n(channel, count)).collect();
        let many = form.select(&repeated, &mut self.budget)?;
        let layer = self.bare(&many, Activation::Steps { code, channels: parts.concat() })?;
        let info = MapInfo { shape: many.shape, code, zero_point: 0 };
        let map = self.push_layer(
            layer,
            epilogue.select(&repeated),
            info,
            MapValue::none(info.shape),
            node,
        )?;
        let form = Rc::new(map.folded(count, &mut self.budget)?);
        let epilogue = Epilogue::of_codes(lowest, count);
        Ok((Closed { form, epilogue, channels: merged, behind_pool }, count))
    }

    /// A layer's weights, with their scale for each output or for all, over a form. Where its sums
    /// cannot go on as they are, they become a map.
    pub(super) fn apply(
        &mut self,
        form: &Rc<Grid>,
        kernel: &Kernel,
        scale: &[f64],
        node: usize,
    ) -> Result<Data, Diagnostic> {
        let direct = self.apply_directly(form, kernel, scale, node);
        let goes_on = match &direct {
            Err(error) => {
                if !(error.is(&limits::COMPOSED_PADDING) || error.is(&limits::COMPOSED_WEIGHTS)) {
                    return direct;
                }
                false
            }
            Ok(Data::Form(out)) if form.composed => {
                let weight = out.greatest_weight();
                if weight <= MAX_LAYER_WEIGHT && !self.map_is_faster(form, kernel, out) {
                    return direct;
                }
                weight <= MOST_LAYER_WEIGHT
            }
            Ok(_) => return direct,
        };
        match self.as_map(MapOf { form: form.clone(), relu: false, pool: None })? {
            Some(map) => self.apply_directly(&map, kernel, scale, node),
            None if goes_on => direct,
            None => Err(match direct {
                Ok(Data::Form(out)) => limits::COMPOSED_WEIGHTS
                    .refuse(format!("a weight of {}", out.greatest_weight())),
                Ok(_) => unreachable!("several scales go on as they are"),
                Err(error) => error,
            }),
        }
    }

    /// Whether sums are better a map before a layer reads them, `out` being that layer over the
    /// sums themselves: a mean over a whole map and a dense layer behind it would make a dense
    /// layer over the whole map. Counted in words of the array at its default size, with the bits
    /// of weights and data.
    fn map_is_faster(&self, form: &Grid, kernel: &Kernel, out: &Grid) -> bool {
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
        let of_terms = |grid: &Grid, weight_bits: u64| -> u64 {
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
        for (channel, bounds) in form.bounds(|id| self.map(id)).into_iter().enumerate() {
            let offset = form.offset(channel);
            low = low.min(bounds.0.saturating_add(offset));
            high = high.max(bounds.1.saturating_add(offset));
        }
        let parts = (high.saturating_sub(low) as u64).div_ceil(255).clamp(1, MAX_PARTS as u64);
        let inputs = kernel.rows.iter().map(|row| row.count).max().unwrap_or(1) * parts as usize;
        let apart = of_terms(form, 1) * parts
            + words(kernel.size, kernel.rows.len(), inputs, kernel.window.taps())
                * bits(weights)
                * 8
            + LAYER;
        apart < of_terms(out, bits(weights)) * 3 / 4
    }

    /// A value that can be pooled: sums that count differently in regions become a map first.
    pub(super) fn without_regions(
        &mut self,
        data: Data,
        view: &View,
        id: ValueId,
    ) -> Result<Data, Diagnostic> {
        let in_regions = match &data {
            Data::Form(form) => form.has_regions(),
            Data::Chains(chains) => chains.iter().any(Chain::has_regions),
            _ => false,
        };
        match data {
            data if !in_regions => Ok(data),
            data if is_quantized(&data) => Ok(Data::Form(self.close(data, view, id)?)),
            data => {
                let map = match data {
                    Data::Form(form) => self.as_map(MapOf { form, relu: false, pool: None })?,
                    _ => None,
                };
                map.map(Data::Form).ok_or_else(|| {
                    limits::POOL_PLACE.refuse("a maximum of means that vary at the borders")
                })
            }
        }
    }

    /// What `Relu` or `MaxPool` makes of exact sums, as a map if it has few bits; other values as
    /// they are.
    pub(super) fn rectified(&mut self, known: Known) -> Result<Known, Diagnostic> {
        let Data::Chains(chains) = &known.data else { return Ok(known) };
        let [chain] = &chains[..] else { return Ok(known) };
        let (None, Some((form, relu, pool))) = (chain.quantized, chain.rectified()) else {
            return Ok(known);
        };
        let map = self.as_map(MapOf { form: form.clone(), relu, pool })?;
        Ok(map
            .map(|map| Known { data: Data::Form(map), view: known.view.clone() })
            .unwrap_or(known))
    }

    /// Sums as a map; `None` if they have too many bits. What has more than 8 is stacked: of
    /// unsigned values the first part is what lies below 255, the next what exceeds that, and
    /// so on; real zero is zero in all parts, as padding wants it. The maximum of the parts is
    /// that of the values.
    fn as_map(&mut self, of: MapOf) -> Result<Option<Rc<Grid>>, Diagnostic> {
        if let Some((_, map)) = self.mapped.iter().find(|(made, _)| *made == of) {
            return Ok(Some(map.clone()));
        }
        let MapOf { form, relu, pool } = &of;
        let (relu, pool) = (*relu, *pool);
        let bounds = form.bounds(|id| self.map(id)).into_iter().enumerate();
        let bounds: Vec<(i64, i64)> = bounds
            .map(|(channel, (low, high))| {
                let offset = form.offset(channel);
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
        let most = MAX_PARTS as usize + 1;
        let mut parts: Vec<(i64, i64, i64)> = rising.take(most).chain(falling.take(most)).collect();
        if (-128..0).contains(&min) && max <= 127 {
            parts = vec![(min, min, max - min)];
        }
        if parts.is_empty() {
            parts.push((0, 0, above));
        }
        let (count, channels) = (parts.len(), form.channels());
        if count > MAX_PARTS as usize || count * channels > MAX_CHANNELS {
            return Ok(None);
        }
        let mut steps = Vec::with_capacity(count * channels);
        for (channel, &(low, high)) in bounds.iter().enumerate() {
            for &(least, from, span) in &parts {
                // Only what some sum reaches and another does not is a threshold.
                let first = (from + 1).max(low + 1);
                let thresholds: Vec<i64> =
                    (first..=(from + span).min(high)).map(|t| t - form.offset(channel)).collect();
                let always = (low.min(from + span) - from).max(0);
                self.budget.take_integers(thresholds.len())?;
                steps.push(Steps { lowest: least + always, rising: true, thresholds });
            }
        }
        let ends = |steps: &Steps| [steps.lowest, steps.lowest + steps.thresholds.len() as i64];
        let (lowest, highest) =
            steps.iter().flat_map(ends).fold((0, 0), |(low, high), c| (c.min(low), c.max(high)));
        let code = Codes::Int { min: lowest, max: highest }.code();
        let repeated: Vec<usize> = (0..channels).flat_map(|channel| vec![channel; count]).collect();
        let many = form.select(&repeated, &mut self.budget)?;
        let mut layer = self.bare(&many, Activation::Steps { code, channels: steps })?;
        layer.pool = pool;
        let offsets = repeated.iter().map(|&channel| form.offset(channel)).collect();
        let [height, width] = pool.map_or(many.size(), |pool| pool.output_size(many.size()));
        let info = MapInfo { shape: MapShape { height, width, ..many.shape }, code, zero_point: 0 };
        let epilogue = Epilogue::of_codes(offsets, form.products);
        let mut out =
            self.push_layer(layer, epilogue, info, MapValue::none(info.shape), form.node)?;
        if count > 1 {
            out = out.folded(count, &mut self.budget)?;
        }
        // The graph's own sums are what they were.
        out.take_scales(form);
        let out = Rc::new(out);
        self.mapped.push((of, out.clone()));
        Ok(Some(out))
    }
}
