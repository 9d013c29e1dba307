//! Integers that are recognized by their values: constants that are small integers times a scale,
//! whatever made them.

use crate::tensor::{Array, Codes, QuantParams, Tensor};

/// Largest integer that is looked for.
const LARGEST: u32 = 255;

/// Constants without a grid as integers times one scale, or one for each index of `axis`; `None` if
/// they are none. Each value is the product of integer and scale, exactly or rounded to float32.
pub fn on_grid(tensor: &Tensor, axis: usize) -> Option<Tensor> {
    if tensor.grid.is_some() || tensor.array.data.is_empty() {
        return None;
    }
    let array = &tensor.array;
    let &size = array.dims.get(axis)?;
    let inner: usize = array.dims[axis + 1..].iter().product();
    let index = |i: usize| i / inner % size;
    let scales = match scale_of(|| array.data.iter().copied()) {
        Some(scale) => vec![scale],
        None => (0..size)
            .map(|channel| {
                let blocks = array.data.chunks(inner).skip(channel).step_by(size);
                scale_of(move || blocks.clone().flatten().copied())
            })
            .collect::<Option<Vec<f64>>>()?,
    };
    let scale = |i: usize| scales[if scales.len() == 1 { 0 } else { index(i) }];
    let data: Vec<f64> =
        array.data.iter().enumerate().map(|(i, x)| (x / scale(i)).round()).collect();
    let of = |f: fn(f64, f64) -> f64| data.iter().copied().reduce(f).unwrap_or(0.0) as i64;
    let codes = match data.iter().all(|x| x.abs() == 1.0) {
        true => Codes::Bipolar,
        false => Codes::Int { min: of(f64::min), max: of(f64::max) },
    };
    let scale = match scales[..] {
        [one] => Array::scalar(one),
        _ => {
            let mut dims = vec![1; array.dims.len()];
            dims[axis] = size;
            Array { dims, data: scales }
        }
    };
    let grid = QuantParams { codes, scale, zero: Array::scalar(0.0), divisor: 1.0, typed: false };
    Some(Tensor { array: Array { dims: array.dims.clone(), data }, grid: Some(grid) })
}

/// The largest scale of which all values are multiples, at most [`LARGEST`] times.
fn scale_of<I: Iterator<Item = f64>>(values: impl Fn() -> I) -> Option<f64> {
    let most = values().map(f64::abs).fold(0.0, f64::max);
    if most == 0.0 {
        return Some(1.0);
    }
    (1..=LARGEST).find_map(|levels| {
        let step = most / f64::from(levels);
        // Both the largest value and each other may have been rounded to float32.
        let near = |x: f64| {
            let multiple = x / step;
            (multiple - multiple.round()).abs() <= f64::from(levels) * f64::from(f32::EPSILON)
        };
        if !values().all(near) {
            return None;
        }
        let single = step as f32;
        let candidates = [single.into(), single.next_up().into(), single.next_down().into(), step];
        candidates.into_iter().find(|&scale| {
            values().all(|x| {
                let product = (x / step).round() * scale;
                product == x || f64::from(product as f32) == x
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(dims: &[usize], data: Vec<f64>) -> Tensor {
        Tensor::real(Array { dims: dims.to_vec(), data })
    }

    #[test]
    fn products_that_were_rounded_to_float32_are_recognized() {
        let scales = [0.008_967_73_f32, 0.1, 3.0e-7];
        let integers = [[-127.0f32, 79.0, 3.0], [5.0, -6.0, 1.0], [0.0, 64.0, -128.0]];
        let data = integers.iter().zip(scales);
        let data = data.flat_map(|(row, scale)| row.map(|q| f64::from(q * scale))).collect();
        let found = on_grid(&tensor(&[3, 3], data), 0).expect("a grid for each row");
        // 64 and -128 are 1 and -2 times a larger scale.
        let expected = [-127.0, 79.0, 3.0, 5.0, -6.0, 1.0, 0.0, 1.0, -2.0];
        assert_eq!(found.array.data, expected);
        let scale = &found.grid.expect("one").scale;
        assert_eq!(scale.data, [scales[0].into(), scales[1].into(), f64::from(64.0 * scales[2])]);
        assert_eq!(scale.dims, [3, 1]);
    }

    #[test]
    fn integers_and_signs_are_their_own_grid() {
        let found = on_grid(&tensor(&[2, 2], vec![-128.0, 127.0, 1.0, 0.0]), 0).expect("integers");
        assert_eq!(found.grid.expect("one").codes, Codes::Int { min: -128, max: 127 });
        let found = on_grid(&tensor(&[2, 2], vec![-0.5, 0.5, 0.5, 0.5]), 0).expect("signs");
        let grid = found.grid.expect("one");
        assert_eq!((grid.codes, &grid.scale.data[..]), (Codes::Bipolar, &[0.5][..]));
    }

    #[test]
    fn other_values_have_none() {
        let data = (1..=40).map(|x| f64::from((x as f32).sqrt())).collect();
        assert_eq!(on_grid(&tensor(&[2, 20], data), 0), None);
    }
}
