//! Fits of costs to tables of measurements, and what they gave.
//!
//! A fit takes longer than a short program runs, so its numbers stand beside its table, written by
//! `cargo run -p qnnsim-simulator --example fits` (twice where the areas' table has changed); a test
//! holds them against the tables.

use qnnsim_isa::HardwarePoint;
use qnnsim_isa::hardware::Overrides;

/// Most terms that a cost has.
pub(crate) const TERMS: usize = 10;

/// The numbers of a fit as they stand in the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its file, from the repository's root.
    pub path: &'static str,
    /// What it says.
    pub text: &'static str,
}

/// Every fit: the numbers that stand in the repository, and those that its table gives now. That of
/// energies takes the flip-flops of the stored fit of areas.
pub const FITS: [fn() -> (Stored, String); 3] =
    [crate::area::refitted, crate::clock::refitted, crate::energy::refitted];

/// Reads the numbers of a fit, row by row.
pub(crate) struct Numbers<'a>(std::str::Lines<'a>);

impl<'a> Numbers<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        Numbers(text.lines())
    }

    pub(crate) fn row<const N: usize>(&mut self) -> [f64; N] {
        let mut cells = self.0.next().expect("a row of the fit").split(' ');
        std::array::from_fn(|_| {
            cells.next().and_then(|cell| cell.parse().ok()).expect("a number of the fit")
        })
    }
}

/// The rows of a fit, as [`Numbers`] reads them: a number's shortest text that means it.
pub(crate) fn write<'a>(rows: impl Iterator<Item = &'a [f64]>) -> String {
    let row = |row: &[f64]| row.iter().map(f64::to_string).collect::<Vec<_>>().join(" ") + "\n";
    rows.map(row).collect()
}

/// The hardware point of a table's row, whose parameters it names as the RTL does.
pub(crate) fn point_of(parameters: &str) -> HardwarePoint {
    let mut overrides = Overrides::default();
    for assignment in parameters.split_whitespace() {
        let key = assignment.to_lowercase().replacen('_', ".", 1);
        overrides.set(&key).expect("a parameter of the hardware point");
    }
    overrides.resolve().expect("a point that was synthesized")
}

/// Costs of the terms with the least sum of squares of relative errors. A term whose cost would be
/// negative is left out.
pub(crate) fn least_squares(rows: &[([f64; TERMS], f64)]) -> [f64; TERMS] {
    let mut used: Vec<usize> =
        (0..TERMS).filter(|&t| rows.iter().any(|(terms, _)| terms[t] != 0.0)).collect();
    while !used.is_empty() {
        let costs = solve(rows, &used);
        let lowest = (0..used.len()).min_by(|&a, &b| costs[a].total_cmp(&costs[b]));
        match lowest {
            Some(at) if costs[at] < 0.0 => used.remove(at),
            _ => {
                let mut all = [0.0; TERMS];
                used.iter().zip(&costs).for_each(|(&term, &cost)| all[term] = cost);
                return all;
            }
        };
    }
    [0.0; TERMS]
}

/// The costs of some terms, of any sign. Terms are brought to one scale, so that terms that say the
/// same share its cost.
fn solve(rows: &[([f64; TERMS], f64)], used: &[usize]) -> Vec<f64> {
    let weight = |value: f64| 1.0 / value.max(1.0);
    let column = |&term: &usize| rows.iter().map(|(terms, v)| terms[term] * weight(*v)).collect();
    let mut columns: Vec<Vec<f64>> = used.iter().map(column).collect();
    let scale: Vec<f64> = columns.iter().map(|column| dot(column, column).sqrt()).collect();
    for (column, scale) in columns.iter_mut().zip(&scale) {
        column.iter_mut().for_each(|x| *x /= scale);
    }
    let wanted = rows.iter().map(|(_, value)| value * weight(*value)).collect();
    let costs = shortest(columns, wanted);
    costs.iter().zip(&scale).map(|(cost, scale)| cost / scale).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Of all factors with which a sum of columns comes nearest to `wanted`, the shortest: through
/// Householder reflections to a triangle, and its singular values by one-sided Jacobi rotations
/// (Golub and Van Loan, Matrix Computations, 5.2 and 8.6). Columns that say the same leave a
/// singular value that is nothing but rounding, which is taken for 0.
fn shortest(mut columns: Vec<Vec<f64>>, wanted: Vec<f64>) -> Vec<f64> {
    const NOTHING: f64 = 1e-9;
    /// What a column of length 1 has at the least that no column before it has.
    const OWN: f64 = 1e-4;
    let count = columns.len();
    columns.push(wanted);
    for k in 0..count.min(columns[count].len()) {
        let mut mirror = columns[k][k..].to_vec();
        let length = dot(&mirror, &mirror).sqrt();
        mirror[0] += length.copysign(mirror[0]);
        let square = dot(&mirror, &mirror);
        for column in columns[k..].iter_mut().filter(|_| square > 0.0) {
            let by = 2.0 * dot(&mirror, &column[k..]) / square;
            column[k..].iter_mut().zip(&mirror).for_each(|(x, m)| *x -= by * m);
        }
    }
    columns.iter_mut().for_each(|column| column.truncate(count));
    let wanted = columns.pop().expect("pushed above");
    // Columns that all say something of their own have one best sum, from the last factor on.
    if wanted.len() == count && (0..count).all(|k| columns[k][k].abs() > OWN) {
        let mut factors = vec![0.0; count];
        for k in (0..count).rev() {
            let rest: f64 = (k + 1..count).map(|other| columns[other][k] * factors[other]).sum();
            factors[k] = (wanted[k] - rest) / columns[k][k];
        }
        return factors;
    }

    // Each is rotated to be orthogonal to the others, and `turned` along with it.
    let unit = |at| (0..count).map(|i| if i == at { 1.0 } else { 0.0 }).collect();
    let mut turned: Vec<Vec<f64>> = (0..count).map(unit).collect();
    let mut turns = true;
    for _ in 0..60 {
        if !std::mem::take(&mut turns) {
            break;
        }
        for (p, q) in (0..count).flat_map(|p| (p + 1..count).map(move |q| (p, q))) {
            let [pp, qq, pq] = [(p, p), (q, q), (p, q)].map(|(a, b)| dot(&columns[a], &columns[b]));
            let rounding = NOTHING * NOTHING * 1e-6;
            if pp.min(qq) < rounding || pq.abs() <= 1e-14 * (pp * qq).sqrt() {
                continue;
            }
            turns = true;
            let zeta = (qq - pp) / (2.0 * pq);
            let tangent = 1.0_f64.copysign(zeta) / (zeta.abs() + zeta.hypot(1.0));
            let cosine = 1.0 / tangent.hypot(1.0);
            for all in [&mut columns, &mut turned] {
                for i in 0..all[p].len() {
                    let (a, b) = (all[p][i], all[q][i]);
                    all[p][i] = cosine * (a - tangent * b);
                    all[q][i] = cosine * (b + tangent * a);
                }
            }
        }
    }
    let mut factors = vec![0.0; count];
    for (column, turned) in columns.iter().zip(&turned) {
        let square = dot(column, column);
        if square > NOTHING * NOTHING {
            let by = dot(column, &wanted) / square;
            factors.iter_mut().zip(turned).for_each(|(factor, turn)| *factor += by * turn);
        }
    }
    factors
}
