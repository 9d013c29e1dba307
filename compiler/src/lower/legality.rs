//! Why exact sums do not go through a linear operation as they are, as data: what [`Affine::apply`]
//! answers, and what decides whether they become a map first.
//!
//! [`Affine::apply`]: super::affine::Affine::apply

use crate::diagnostic::Diagnostic;
use crate::limits;

/// What stands against an operation on exact sums.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhyNot {
    /// There is padding around the sums, where their maps have other values than their own padding.
    Padding,
    /// A window moves over means that count differently at the borders.
    Borders,
    /// A weight of this size, which the 8 bits of several terms do not add up to.
    Weight(i64),
    /// A value that counts so often in a sum.
    Factor(i64),
    /// A kernel of this height and width, with its padding.
    Kernel([i64; 2]),
    /// A sum of so many terms.
    Terms(usize),
    /// A map of so many channels.
    Channels(usize),
    /// A layer of so many weights.
    Weights(usize),
    /// More integers, in weights, thresholds and constants, than a network may have.
    Integers,
    /// More evaluations of operators than a model may take.
    Evaluations,
}

impl WhyNot {
    /// Whether a map of the sums goes through the operation where they themselves do not.
    pub fn a_map_helps(&self) -> bool {
        use WhyNot::{Borders, Factor, Padding, Weight};
        matches!(self, Padding | Borders | Weight(_) | Factor(_))
    }
}

impl From<WhyNot> for Diagnostic {
    fn from(why: WhyNot) -> Diagnostic {
        use WhyNot::*;
        match why {
            Padding => limits::COMPOSED_PADDING.refuse("padding around values that are not a map"),
            Borders => limits::COMPOSED_PADDING.refuse("a layer of means that vary at the borders"),
            Weight(weight) => limits::COMPOSED_WEIGHTS.refuse(format!("a weight of {weight}")),
            Factor(factor) => {
                limits::COMPOSED_WEIGHTS.refuse(format!("a value {factor} times in a sum"))
            }
            Kernel(size) => limits::CONV_SIZES.refuse(format!("a kernel of {size:?} with padding")),
            Terms(terms) => limits::TERMS.refuse(format!("a sum of {terms} terms")),
            Channels(channels) => limits::MAP_SIZE.refuse(format!("a map of {channels} channels")),
            Weights(count) => limits::INTEGERS.refuse(format!("a layer of {count} weights")),
            Integers => limits::INTEGERS.refuse("a model of this size"),
            Evaluations => limits::SEARCH.refuse("a model of this size"),
        }
    }
}
