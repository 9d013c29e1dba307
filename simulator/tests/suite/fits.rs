//! What fits gave stands in the repository, and is what their tables give.

use qnnsim_simulator::fit::FITS;

/// Numbers agree to the last digits: a processor may add in another way.
const ROUNDING: f64 = 1e-9;

#[test]
fn stored_numbers_are_what_the_tables_give() {
    for refit in FITS {
        let (stored, fitted) = refit();
        let numbers = |text: &str| -> Vec<f64> {
            text.split_whitespace().map(|cell| cell.parse().expect("a number")).collect()
        };
        let (stored_numbers, fitted) = (numbers(stored.text), numbers(&fitted));
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= ROUNDING * a.abs().max(1.0);
        assert!(
            stored_numbers.len() == fitted.len() && stored_numbers.iter().zip(&fitted).all(near),
            "{} is not what its table gives: cargo run -p qnnsim-simulator --example fits",
            stored.path
        );
    }
}
