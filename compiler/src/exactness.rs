//! How near accumulators come to the places where their code changes, and whether arithmetic in
//! single precision could land on the other side.
//!
//! The network is exact: its steps are those of the model's operators in double precision, at
//! integer accumulators. A framework that evaluates the same model in float32 rounds real sums, and
//! may decide differently where an accumulator lies very near a boundary of the quantizer. The
//! *margin* says how near.

use std::convert::Infallible;

use schemars::JsonSchema;
use serde::Serialize;

use crate::epilogue::Channel;
use crate::import::Import;
use crate::ir::Activation;
use crate::step_function::Shape;
use crate::tensor::Precision;

/// The margins of a layer with a quantizer.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize)]
pub struct LayerExactness {
    /// Name of the layer.
    pub layer: String,
    /// Accumulators at which a code changes, of all channels together.
    pub steps: u64,
    /// The accumulator nearest to a boundary of its quantizer; `None` if the quantizer has one
    /// code only.
    pub nearest: Option<Nearest>,
    /// Steps, and ends of channels' ranges, where float32 could give another code; where several
    /// sums are added, for each value of all but the widest.
    pub float32_undecided: u64,
    /// Whether there is any.
    pub float32_may_differ: bool,
}

/// An accumulator and its distance from where its code would be another.
#[derive(Debug, Clone, Copy, PartialEq, JsonSchema, Serialize)]
pub struct Nearest {
    /// Distance in steps of the quantizer; 0 is a tie, which the rounding mode decides.
    pub margin: f64,
    /// Output channel.
    pub channel: u32,
    /// The accumulator; where several sums with scales of their own are added, the first of them.
    pub accumulator: i64,
    /// Bound on how far float32 is off at this accumulator, in steps of the quantizer; 0 if it is
    /// exact.
    pub float32_error: f64,
}

/// The margins of every layer that has a quantizer, over all accumulators between the least and the
/// greatest of a channel.
pub fn layers(import: &Import) -> Vec<LayerExactness> {
    let network = &import.network;
    let mut all = Vec::new();
    for (layer, epilogue) in network.layers.iter().zip(&import.epilogues) {
        let Activation::Steps { channels, .. } = &layer.activation else { continue };
        let bounds = network.accumulator_bounds(layer);
        let mut places = Places { nearest: None, undecided: 0 };
        let mut steps = 0;
        let several = epilogue.sums().len() > 1;
        let of_sums: Vec<Vec<(i64, i64)>> =
            epilogue.sums().iter().map(|sum| network.sum_bounds(&sum.terms)).collect();
        for (index, channel) in channels.iter().enumerate() {
            let mut chain = epilogue.channel(index);
            let mut thresholds = channel.thresholds.clone();
            thresholds.dedup();
            steps += thresholds.len() as u64;
            if several {
                let bounds: Vec<(i64, i64)> = of_sums.iter().map(|sums| sums[index]).collect();
                places.look_at_pairs(&mut chain, index, &bounds);
                continue;
            }
            let bounds = bounds[index];
            // The chain is monotone in each part, so of all accumulators those beside a step and at
            // the ends of parts come nearest.
            for (ends, _) in chain.parts(bounds).expect("as was checked when the steps were found")
            {
                places.look(&mut chain, index, &[bounds], &[[ends.0]]);
                places.look(&mut chain, index, &[bounds], &[[ends.1]]);
            }
            for t in thresholds {
                let beside = if channel.rising { t - 1 } else { t + 1 };
                places.look(&mut chain, index, &[bounds], &[[t], [beside]]);
            }
        }
        let Places { nearest, undecided } = places;
        all.push(LayerExactness {
            layer: layer.name.clone(),
            steps,
            nearest,
            float32_undecided: undecided,
            float32_may_differ: undecided > 0,
        });
    }
    all
}

/// What has been found so far.
struct Places {
    nearest: Option<Nearest>,
    undecided: u64,
}

impl Places {
    /// Looks at one place: the sums on both sides of a step, or at one end.
    fn look<Sums: AsRef<[i64]>>(
        &mut self,
        chain: &mut Channel,
        channel: usize,
        bounds: &[(i64, i64)],
        place: &[Sums],
    ) {
        let mut undecided = false;
        for sums in place {
            let sums = sums.as_ref();
            let margin =
                chain.margin(sums).expect("finite, as was checked when the steps were found");
            let outcomes = chain.outcomes(sums, bounds, Precision::Single);
            undecided |= outcomes.low != outcomes.high;
            if margin < self.nearest.map_or(f64::INFINITY, |nearest| nearest.margin) {
                let (channel, float32_error) = (channel as u32, outcomes.error);
                let accumulator = sums[0];
                self.nearest = Some(Nearest { margin, channel, accumulator, float32_error });
            }
        }
        self.undecided += u64::from(undecided);
    }

    /// Looks at all values of several sums: for those of all but the widest, on both sides of each
    /// step over that one, and at its ends.
    fn look_at_pairs(&mut self, chain: &mut Channel, channel: usize, bounds: &[(i64, i64)]) {
        let slopes = chain.slopes().expect("as was checked when the steps were found");
        let result: Result<(), Infallible> =
            chain.sweep(bounds, &slopes, |chain, sums, main, shape| {
                let Ok(Shape::Monotone(steps)) = shape else {
                    unreachable!("as was checked when the steps were found")
                };
                let at = |acc: i64| {
                    let mut sums = sums.to_vec();
                    sums[main] = acc;
                    sums
                };
                self.look(chain, channel, bounds, &[at(bounds[main].0)]);
                self.look(chain, channel, bounds, &[at(bounds[main].1)]);
                let mut thresholds = steps.thresholds;
                thresholds.dedup();
                for t in thresholds {
                    let beside = if steps.rising { t - 1 } else { t + 1 };
                    self.look(chain, channel, bounds, &[at(t), at(beside)]);
                }
                Ok(())
            });
        match result {
            Ok(()) => {}
        }
    }
}
