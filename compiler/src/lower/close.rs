//! Step functions of a quantized part: what its operators make of exact sums, as codes.

use std::rc::Rc;

use super::Fuel;
use super::affine::{Affine, MOST_LAYER_WEIGHT, MapInfo};
use super::materialize::accumulators;
use super::part::Part;
use crate::diagnostic::Diagnostic;
use crate::epilogue::{Channel, Epilogue, NotAffine, Shapeless, Slopes, is_line, widest};
use crate::ir::StepFunction;
use crate::limits;
use crate::limits::{PAIRS_MAX, TUPLES_MAX};
use crate::step_function::Shape;

/// A part as a layer sees it: one exact sum, which step functions take to codes.
pub struct Closed {
    pub affine: Rc<Affine>,
    pub epilogue: Epilogue,
    pub channels: Vec<Shape>,
    /// By channel, how the codes go with what is pooled.
    pub behind_pool: Vec<BehindPool>,
}

/// How codes go with values that are pooled before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BehindPool {
    /// The code of a maximum is the maximum of the codes.
    Rises,
    /// It is their minimum.
    Falls,
    /// It is neither.
    Turns,
}

impl Part {
    /// The part as one exact sum and step functions; `maps` is what is known of the maps.
    pub fn close(&self, maps: &[MapInfo], fuel: &mut Fuel) -> Result<Closed, Diagnostic> {
        let [affine] = self.sums() else { return self.close_sums(maps, fuel) };
        let epilogue = self.epilogue();
        let mut channels = Vec::with_capacity(affine.channels());
        let mut behind_pool = Vec::with_capacity(affine.channels());
        for (channel, bounds) in accumulators(affine.bounds(maps))?.into_iter().enumerate() {
            let mut chain = epilogue.channel(channel);
            let (shape, evaluations) = chain.shape(bounds).map_err(|why| match why {
                Shapeless::NotFinite(acc) => {
                    limits::FINITE.refuse(format!("channel {channel} at the accumulator {acc}"))
                }
                Shapeless::Turns => {
                    limits::MONOTONE.refuse(format!("channel {channel}, whose codes fall and rise"))
                }
            })?;
            fuel.take_evaluations(evaluations * (1 + self.ops.len() as u64))?;
            self.check(&shape)?;
            behind_pool.push(self.direction_behind_pool(&chain, &shape));
            fuel.take_integers(shape.thresholds())?;
            channels.push(shape);
        }
        Ok(Closed { affine: affine.clone(), epilogue, channels, behind_pool })
    }

    /// What must hold for the step functions of a channel.
    fn check(&self, shape: &Shape) -> Result<(), Diagnostic> {
        let codes = self.quantized.expect("what is closed is quantized").codes;
        let (low, high) = shape.codes();
        if low < codes.min() || high > codes.max() {
            return Err(limits::TRUNC_RANGE.refuse(format!("integers from {low} to {high}")));
        }
        Ok(())
    }

    /// How the code of a channel goes with what is pooled: the maximum moves behind the operators
    /// that follow it, which must keep order.
    fn direction_behind_pool(&self, chain: &Channel, shape: &Shape) -> BehindPool {
        let Some(pool) = &self.pool else { return BehindPool::Rises };
        let line = |first: usize| is_line(&self.ops, self.sums().len(), first);
        let rises = match (chain.turning(pool.after), shape) {
            (_, Shape::Monotone(steps)) if steps.thresholds.is_empty() => true,
            _ if !line(pool.after) => return BehindPool::Turns,
            (None, _) => chain.direction(pool.after..) >= 0,
            // Where one side of the turn is not reached, what is reached says how the rest goes.
            (Some(at), Shape::Monotone(steps))
                if line(0) && chain.turning(0) == Some(at) && chain.turning(at + 1).is_none() =>
            {
                steps.rising == (chain.direction(..pool.after) >= 0)
            }
            (Some(_), _) => return BehindPool::Turns,
        };
        if rises { BehindPool::Rises } else { BehindPool::Falls }
    }

    /// Several sums with real factors become one with integer factors, if some have the same codes
    /// at all values that the sums can have.
    fn close_sums(&self, maps: &[MapInfo], fuel: &mut Fuel) -> Result<Closed, Diagnostic> {
        let of_sums = self
            .sums()
            .iter()
            .map(|affine| accumulators(affine.bounds(maps)))
            .collect::<Result<Vec<_>, _>>()?;
        let epilogue = self.epilogue();
        let (mut factors, mut channels, mut behind_pool) = (Vec::new(), Vec::new(), Vec::new());
        for channel in 0..self.channels() {
            let bounds: Vec<(i64, i64)> = of_sums.iter().map(|bounds| bounds[channel]).collect();
            let mut chain = epilogue.channel(channel);
            let slopes = chain.slopes().map_err(|why| match why {
                NotAffine::Sums => {
                    limits::SUM_AFFINE.refuse(format!("channel {channel} of a sum of such values"))
                }
                NotAffine::Turns => limits::MONOTONE
                    .refuse(format!("channel {channel} of a sum, whose codes fall and rise")),
            })?;
            let largest = self.sums().iter().map(|affine| affine.largest_weight(channel)).collect();
            let search = Search { bounds: &bounds, slopes: &slopes, largest };
            let found = search.run(channel, &mut chain, 2 + self.ops.len() as u64, fuel)?;
            let shape = Shape::Monotone(found.steps);
            self.check(&shape)?;
            behind_pool.push(self.direction_behind_pool(&chain, &shape));
            fuel.take_integers(shape.thresholds())?;
            factors.push(found.factors);
            channels.push(shape);
        }
        let mut affine: Option<Affine> = None;
        for (index, leaf) in self.sums().iter().enumerate() {
            let scaled = leaf.scaled(|channel| factors[channel][index], fuel)?;
            affine = Some(match affine {
                None => scaled,
                Some(mut affine) => {
                    for term in scaled.terms {
                        affine.merge(term, fuel)?;
                    }
                    affine.products += scaled.products;
                    affine
                }
            });
        }
        let mut affine = affine.expect("a sum has a form");
        (affine.offset, affine.data_scale, affine.weight_scale, affine.divisor) =
            (Vec::new(), 1.0, vec![1.0], 1.0);
        affine.node = self.node;
        Ok(Closed { affine: Rc::new(affine), epilogue, channels, behind_pool })
    }
}

/// The question which integer factors stand for real ones.
struct Search<'a> {
    /// Least and greatest value of each exact sum.
    bounds: &'a [(i64, i64)],
    slopes: &'a Slopes,
    /// Largest weight of each.
    largest: Vec<i64>,
}

struct Found {
    factors: Vec<i64>,
    steps: StepFunction,
}

impl Search<'_> {
    /// The smallest factors that give, with some thresholds, the right code at all sums. An
    /// evaluation of `chain` takes so many operators.
    ///
    /// For each tuple of sums of all exact sums but the widest, the thresholds of the widest are found
    /// as those of any layer. Factors are right if, for each code, all sums where it is reached
    /// lie above all where it is not.
    fn run(
        &self,
        channel: usize,
        chain: &mut Channel,
        operators: u64,
        fuel: &mut Fuel,
    ) -> Result<Found, Diagnostic> {
        let Slopes { slopes, direction } = self.slopes;
        let count = self.bounds.len();
        let main = widest(self.bounds, slopes);
        let others: Vec<usize> = (0..count).filter(|&i| i != main && slopes[i] != 0.0).collect();
        let sizes = others.iter().map(|&i| (self.bounds[i].1 - self.bounds[i].0 + 1) as usize);
        let tuples = sizes.fold(1usize, usize::saturating_mul);
        if tuples > TUPLES_MAX {
            return Err(limits::SUM_PAIRS
                .refuse(format!("a sum in which {tuples} values meet those of another map")));
        }
        let sign = if slopes[main] * f64::from(*direction) < 0.0 { -1 } else { 1 };
        let (low, high) = self.bounds[main];
        let range = if sign > 0 { (low, high) } else { (-high, -low) };
        // Of each tuple, its steps over the widest sum.
        let mut tables: Vec<(Vec<i64>, StepFunction)> = Vec::with_capacity(tuples);
        let mut pairs = 0;
        chain.sweep(self.bounds, self.slopes, |_, accs, _, shape| {
            let steps = match shape {
                Ok(Shape::Monotone(steps)) => steps,
                Err(Shapeless::NotFinite(_)) => {
                    return Err(limits::FINITE
                        .refuse(format!("channel {channel} at the accumulators {accs:?}")));
                }
                Ok(Shape::Sum { .. }) | Err(Shapeless::Turns) => {
                    return Err(limits::MONOTONE
                        .refuse(format!("channel {channel} of a sum, whose codes fall and rise")));
                }
            };
            // Bisection takes about so many evaluations for each step.
            let bisections = u64::from(i64::BITS - (high - low).leading_zeros()) + 2;
            fuel.take_evaluations((1 + steps.thresholds.len() as u64) * bisections * operators)?;
            pairs += steps.thresholds.len();
            if pairs > PAIRS_MAX {
                return Err(limits::SUM_PAIRS
                    .refuse(format!("a sum with more than {PAIRS_MAX} thresholds")));
            }
            tables.push((others.iter().map(|&i| accs[i]).collect(), steps));
            Ok(())
        })?;
        let lowest = tables.iter().map(|(_, steps)| steps.lowest).min().expect("a tuple");
        let highest =
            tables.iter().map(|(_, steps)| steps.lowest + steps.thresholds.len() as i64).max();
        let codes = highest.expect("a tuple") - lowest;
        let most = |i: usize| MOST_LAYER_WEIGHT / self.largest[i].max(1);
        for factor in 1..=most(main).max(1) {
            let unit = slopes[main].abs() / factor as f64;
            let factors: Vec<i64> = (0..count)
                .map(|i| if unit == 0.0 { 0 } else { (slopes[i] / unit).round() as i64 })
                .collect();
            if others.iter().any(|&i| factors[i].abs() > most(i)) {
                break;
            }
            let rest = |tuple: &[i64]| -> i64 {
                tuple.iter().zip(&others).map(|(&acc, &i)| factors[i] * acc).sum()
            };
            let turn = if *direction < 0 { -1 } else { 1 };
            let rests: Vec<i64> = tables.iter().map(|(tuple, _)| turn * rest(tuple)).collect();
            fuel.take_evaluations(tables.len() as u64)?;
            let mut thresholds = Vec::with_capacity(codes as usize);
            let mut right = true;
            for step in 1..=codes {
                let (mut met, mut missed) = (i64::MAX, i64::MIN);
                for ((_, steps), rest) in tables.iter().zip(&rests) {
                    let index = lowest + step - steps.lowest - 1;
                    let first = match usize::try_from(index) {
                        Err(_) => range.0,
                        Ok(index) => steps.thresholds.get(index).map_or(range.1 + 1, |&t| sign * t),
                    };
                    if first <= range.1 {
                        met = met.min(factor * first + rest);
                    }
                    if first > range.0 {
                        missed = missed.max(factor * (first - 1) + rest);
                    }
                }
                fuel.take_evaluations(tables.len() as u64 / 4)?;
                if met <= missed {
                    right = false;
                    break;
                }
                thresholds.push(met);
            }
            if right {
                let rising = turn > 0 || thresholds.is_empty();
                let thresholds = thresholds.into_iter().map(|t| turn * t).collect();
                return Ok(Found { factors, steps: StepFunction { lowest, rising, thresholds } });
            }
        }
        let ratios: Vec<f64> = others.iter().map(|&i| slopes[i] / slopes[main]).collect();
        let found = format!("a sum whose scales are as 1 to {ratios:?} in channel {channel}");
        Err(limits::SUM_SCALES.refuse(found))
    }
}
