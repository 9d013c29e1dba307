//! Objectives and fronts.
//!
//! All objectives are costs here: less is better (a figure of which more is better is negated). A
//! point dominates another if it is as good in all of them and better in one; the front is what
//! nothing dominates, so equal points are on it together.

use std::collections::BTreeMap;

use qnnsim_isa::nearest::nearest;

use crate::columns::{FIGURES, Figure, Figures};

/// What a front is of: columns of figures.
#[derive(Clone)]
pub struct Objectives(Vec<&'static Figure>);

impl Objectives {
    /// Objectives by the names of their columns.
    ///
    /// # Errors
    /// A name is not that of a column that can be an objective, or is there twice.
    pub fn new(names: &[String]) -> Result<Self, String> {
        let mut all: Vec<&'static Figure> = Vec::new();
        for name in names {
            let found = FIGURES.iter().find(|figure| figure.name == name && figure.goal.is_some());
            let figure = found.ok_or_else(|| {
                let known: Vec<&str> =
                    FIGURES.iter().filter(|f| f.goal.is_some()).map(|f| f.name).collect();
                let best = nearest(name, known.iter().copied(), 0.8);
                let near =
                    best.map_or_else(String::new, |best| format!("; did you mean `{best}`?"));
                format!("`{name}` is not an objective{near}\nobjectives are {}", known.join(", "))
            })?;
            if all.iter().any(|other| other.name == figure.name) {
                return Err(format!("`{name}` is an objective twice"));
            }
            all.push(figure);
        }
        if all.is_empty() {
            Err("a front needs at least one objective".into())
        } else {
            Ok(Objectives(all))
        }
    }

    /// Names of their columns.
    pub fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|figure| figure.name).collect()
    }

    /// The costs of a point.
    pub fn costs(&self, figures: &Figures) -> Vec<f64> {
        self.0.iter().map(|figure| figure.cost(figures)).collect()
    }

    /// Costs that no point has less of whose images take at least this.
    pub fn least(&self, bound: &Figures) -> Vec<f64> {
        let least = |figure: &&Figure| match figure.goal {
            Some(goal) if goal.is_bounded() => figure.cost(bound),
            _ => f64::NEG_INFINITY,
        };
        self.0.iter().map(least).collect()
    }
}

/// Whether costs `a` are nowhere more than `b` and somewhere less.
pub fn dominates(a: &[f64], b: &[f64]) -> bool {
    a.iter().zip(b).all(|(a, b)| a <= b) && a.iter().zip(b).any(|(a, b)| a < b)
}

/// Points that nothing dominates, with a number each.
#[derive(Debug, Clone, Default)]
pub struct Front {
    points: Vec<(u64, Vec<f64>)>,
}

impl Front {
    /// Takes a point in, and out what it dominates.
    pub fn add(&mut self, number: u64, costs: &[f64]) {
        if self.dominator(costs).is_none() {
            self.points.retain(|(_, other)| !dominates(costs, other));
            self.points.push((number, costs.to_vec()));
        }
    }

    /// The number of a point that dominates these costs.
    pub fn dominator(&self, costs: &[f64]) -> Option<u64> {
        self.points.iter().find(|(_, point)| dominates(point, costs)).map(|&(number, _)| number)
    }

    /// Numbers of its points.
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        self.points.iter().map(|&(number, _)| number)
    }
}

/// A front for each source.
pub type Fronts = BTreeMap<usize, Front>;

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: 1 and 2 are better than each other in one objective each; 3 equals 1; 4 is
    /// dominated by 2, 5 dominates 2.
    #[test]
    fn a_front_holds_what_nothing_dominates() {
        let mut front = Front::default();
        for (number, costs) in
            [(1, [1.0, 5.0]), (2, [3.0, 3.0]), (3, [1.0, 5.0]), (4, [3.0, 4.0]), (5, [2.0, 3.0])]
        {
            front.add(number, &costs);
        }
        assert_eq!(front.numbers().collect::<Vec<_>>(), [1, 3, 5]);
        assert_eq!(front.dominator(&[2.0, 3.0]), None);
        assert_eq!(front.dominator(&[2.0, 3.5]), Some(5));
    }

    #[test]
    fn objectives_are_columns() {
        let names = |all: &[&str]| all.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            Objectives::new(&names(&["cycles", "energy_pj"])).unwrap().names(),
            ["cycles", "energy_pj"]
        );
        let error = Objectives::new(&names(&["cycle"])).err().unwrap();
        assert!(
            error.starts_with("`cycle` is not an objective; did you mean `cycles`?"),
            "{error}"
        );
        assert!(Objectives::new(&names(&["status"])).is_err());
        assert!(Objectives::new(&names(&["cycles", "cycles"])).is_err());
        assert!(Objectives::new(&[]).is_err());
    }
}
