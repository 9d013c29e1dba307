//! Poolings with every combination of kernel, stride, padding, dilation, `ceil_mode` and
//! `count_include_pad`, averages and maxima, quantized at once or read by a convolution: what the
//! simulator and the integer reference make of them is what the graph says in double precision.

use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use qnnsim_compiler::diagnostic::{Diagnostic, Diagnostics, Rule};
use qnnsim_compiler::import::Import;
use qnnsim_compiler::limits;
use qnnsim_tests::models::{Model, Noise, int, ints};
use qnnsim_tests::{cases, for_all, hardware_point};

use super::graphs::agree;

/// What may stand against a pooling: its own sizes, a window without values, means over numbers
/// without a small common multiple, and what does not fit between two quantizers.
static REFUSALS: [&Rule; 6] = [
    &limits::POOL_SIZES,
    &limits::POOL_DILATION,
    &limits::POOL_DIVISOR,
    &limits::COMPOSED_PADDING,
    &limits::COMPOSED_WEIGHTS,
    &limits::UPSAMPLE_MIXED,
];

/// What reads the pooling.
#[derive(Debug, Clone, Copy)]
enum Reader {
    Quantizer,
    Conv,
    Dense,
}

#[derive(Debug, Clone)]
struct Pooling {
    average: bool,
    size: [i64; 2],
    kernel: [i64; 2],
    stride: [i64; 2],
    dilation: [i64; 2],
    /// Top, left, bottom, right.
    pads: [i64; 4],
    ceil_mode: bool,
    include_padding: bool,
    reader: Reader,
}

fn pooling() -> impl Strategy<Value = Pooling> {
    let two = |least: i64, most: i64| [least..=most, least..=most];
    let pads = prop_oneof![Just([0; 4]), [0..3i64, 0..3i64, 0..3i64, 0..3i64]];
    let dilation = prop_oneof![3 => Just([1, 1]), 1 => two(1, 2)];
    let reader = prop_oneof![Just(Reader::Quantizer), Just(Reader::Conv), Just(Reader::Dense)];
    let sizes = (two(1, 9), two(1, 4), two(1, 4), dilation);
    (any::<[bool; 3]>(), sizes, pads, reader).prop_map(
        |(
            [average, ceil_mode, include_padding],
            (size, kernel, stride, dilation),
            pads,
            reader,
        )| {
            Pooling {
                average,
                size,
                kernel,
                stride,
                dilation,
                pads,
                ceil_mode,
                include_padding,
                reader,
            }
        },
    )
}

fn import(pooling: &Pooling) -> Result<Import, Diagnostics> {
    let [height, width] = pooling.size;
    let mut model = Model::new(&[1, 2, height, width]);
    model.opset = 19;
    let input = model.quant("x", 0.5, 3, true);
    let mut attributes = vec![
        ints("kernel_shape", &pooling.kernel),
        ints("strides", &pooling.stride),
        ints("pads", &pooling.pads),
        ints("dilations", &pooling.dilation),
        int("ceil_mode", i64::from(pooling.ceil_mode)),
    ];
    if pooling.average {
        attributes.push(int("count_include_pad", i64::from(pooling.include_padding)));
    }
    let op = if pooling.average { "AveragePool" } else { "MaxPool" };
    let pooled = model.node(op, &[&input], &attributes);
    let output = match pooling.reader {
        Reader::Quantizer => {
            let codes = model.quant(&pooled, 0.25, 4, true);
            let weights = model.weights(&[2, 2, 1, 1], &[1.0, -2.0, 0.0, 3.0]);
            model.node("Conv", &[&codes, &weights], &[])
        }
        Reader::Conv => {
            let weights: Vec<f32> = (0..16).map(|i| (i % 5) as f32 - 2.0).collect();
            let weights = model.weights(&[2, 2, 2, 2], &weights);
            let attributes = [ints("strides", &[2, 2]), ints("pads", &[1, 1, 1, 1])];
            model.node("Conv", &[&pooled, &weights], &attributes)
        }
        Reader::Dense => {
            let weights = model.weights(&[1, 2, 1, 1], &[3.0, -1.0]);
            let sums = model.node("Conv", &[&pooled, &weights], &[]);
            model.node("GlobalAveragePool", &[&sums], &[])
        }
    };
    model.import(&output)
}

#[test]
fn poolings_of_every_geometry() {
    let drawn = cases(400, 20_000);
    // Accepted ones, and of these averages whose last windows may be partial.
    let (accepted, partial) = (AtomicU32::new(0), AtomicU32::new(0));
    for_all(
        drawn,
        || (pooling(), any::<u32>(), hardware_point()),
        |(pooling, seed, hw)| {
            match import(&pooling) {
                Ok(import) => {
                    agree(&import, &hw, &mut Noise(seed))?;
                    accepted.fetch_add(1, Ordering::Relaxed);
                    partial.fetch_add(
                        u32::from(pooling.average && pooling.ceil_mode),
                        Ordering::Relaxed,
                    );
                }
                Err(errors) => {
                    let rightly = |error: &Diagnostic| REFUSALS.iter().any(|rule| error.is(rule));
                    prop_assert!(errors.iter().all(rightly), "{}", errors[0]);
                }
            }
            Ok(())
        },
    );
    let (accepted, partial) = (accepted.into_inner(), partial.into_inner());
    assert!(accepted >= drawn / 3 && partial >= drawn / 10, "{accepted}, {partial}");
}
