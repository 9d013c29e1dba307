//! Products of a matrix of values and a constant one, which `MatMul` and `Gemm` are.

use super::linear::{add_product, check_layer, sum_of_scales};
use super::{Operand, Operands, required};
use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::limits::PRODUCTS_MAX;
use crate::tensor::{Array, Codes, Precision, QuantParams, Tensor, broadcast, checked_len, zip};

/// Which operand is the constant one, and which are transposed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dense {
    /// Position of the weights.
    pub weights: usize,
    /// Whether each operand is transposed.
    pub transposed: [bool; 2],
}

impl Dense {
    /// With the position of the constant operand.
    pub fn placed(self, inputs: &Operands) -> Self {
        let constant = |i: usize| required(inputs, i).constant.is_some();
        Dense { weights: usize::from(constant(1) || !constant(0)), ..self }
    }

    /// Position of the values.
    pub fn data(self) -> usize {
        1 - self.weights
    }

    /// Dimension of values of this rank that is summed over.
    pub fn over(self, rank: usize) -> usize {
        // The columns of the first operand, the rows of the second.
        rank - 1 - usize::from((self.weights == 0) != self.transposed[self.data()])
    }

    /// Dimension of weights of this rank that has the outputs.
    pub fn outputs(self, rank: usize) -> usize {
        rank - 1 - usize::from((self.weights == 0) != self.transposed[self.weights])
    }

    /// Position and output axis of the weights, if they are a matrix.
    pub fn output_axis(self, inputs: &Operands) -> Option<(usize, usize)> {
        let rank = required(inputs, self.weights).dims.len();
        (rank >= 2).then(|| (self.weights, self.outputs(rank)))
    }

    /// Checks the inputs and gives the shape of the output.
    pub fn infer(self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let (a, b) = (required(inputs, 0), required(inputs, 1));
        let refuse = || {
            limits::DENSE_SHAPES
                .refuse(format!("a product of shapes {:?} and {:?}", a.dims, b.dims))
        };
        let matrix = |operand: Operand, transposed: bool| match *operand.dims {
            [.., rows, columns] if !operand.dims.contains(&0) => {
                Some(if transposed { [columns, rows] } else { [rows, columns] })
            }
            _ => None,
        };
        let [rows, inner] = matrix(a, self.transposed[0]).ok_or_else(refuse)?;
        let [b_inner, columns] = matrix(b, self.transposed[1]).ok_or_else(refuse)?;
        let (data, weights) = if self.weights == 1 { (a, b) } else { (b, a) };
        let [outer, outer_of_weights] =
            [data, weights].map(|operand| &operand.dims[..operand.dims.len() - 2]);
        if inner != b_inner || outer_of_weights.iter().any(|&size| size != 1) {
            return Err(refuse());
        }
        check_layer(data, weights, self.outputs(weights.dims.len()))?;
        let mut dims = vec![1; outer_of_weights.len().saturating_sub(outer.len())];
        dims.extend(outer.iter().copied().chain([rows, columns]));
        let values = checked_len(&dims).ok_or_else(refuse)?;
        let products = (values as u64).saturating_mul(inner as u64);
        if products > PRODUCTS_MAX {
            return Err(limits::PRODUCTS.refuse(format!("a layer of {products} MACs")));
        }
        Ok(dims)
    }

    /// The integers or values of weights as a matrix of outputs by inputs.
    pub fn matrix(self, weights: &Array) -> Array {
        let [.., rows, columns] = weights.dims[..] else {
            unreachable!("checked when the shape was inferred")
        };
        let matrix = Array { dims: vec![rows, columns], data: weights.data.clone() };
        if self.outputs(2) == 0 { matrix } else { matrix.transpose(&[1, 0]) }
    }

    /// The whole output: sums over integers where both operands are on a grid. Where the scale of
    /// the data varies along what is summed over, integers of one scale are summed up, and the
    /// sums added as real values.
    pub fn eval(self, inputs: &[Option<&Tensor>], dims: &[usize], precision: Precision) -> Tensor {
        let (data, weights) = (required(inputs, self.data()), required(inputs, self.weights));
        let (rank, rank_of_weights) = (data.array.dims.len(), weights.array.dims.len());
        let over = self.over(rank);
        // Sums of a matrix of values by outputs, as they stand in the result.
        let sum = |values: &Array, matrix: &Array| -> Array {
            let (inputs, outputs) = (values.dims[over], matrix.dims[0]);
            // Of each matrix of values.
            let count = values.dims[rank - 1] * values.dims[rank - 2] / inputs;
            let (step, next) = if over + 1 == rank { (1, inputs) } else { (count, 1) };
            let mut sums = vec![0.0; dims.iter().product()];
            let mut row = vec![0.0; inputs];
            for (values, sums) in
                values.data.chunks(count * inputs).zip(sums.chunks_mut(count * outputs))
            {
                for at in 0..count {
                    row.iter_mut().enumerate().for_each(|(i, x)| *x = values[at * next + i * step]);
                    for (o, weights) in matrix.data.chunks(inputs).enumerate() {
                        let products = weights.iter().zip(&row);
                        sums[if self.outputs_last() { at * outputs + o } else { o * count + at }] =
                            match precision {
                                Precision::Double => {
                                    products.map(|(weight, value)| weight * value).sum()
                                }
                                Precision::Single => products
                                    .fold(0.0, |sum, (&weight, &value)| {
                                        add_product(sum, weight, value)
                                    }),
                            };
                    }
                }
            }
            Array { dims: dims.to_vec(), data: sums }
        };
        let (Some(of_data), Some(of_weights)) = (&data.grid, &weights.grid) else {
            return Tensor::real(sum(&data.to_real(), &self.matrix(&weights.to_real())));
        };
        let scale = of_weights
            .scale
            .along(self.outputs(rank_of_weights), rank_of_weights)
            .expect("checked");
        let scale = match self.outputs_last() {
            true => Array { dims: vec![scale.len()], data: scale.to_vec() },
            false => Array { dims: vec![scale.len(), 1], data: scale.to_vec() },
        };
        let grid = |scale: Array| {
            Some(QuantParams {
                codes: Codes::Accumulator,
                scale,
                zero: Array::scalar(0.0),
                divisor: of_data.divisor,
                typed: false,
            })
        };
        let (values, integers) = (data.centered(), self.matrix(&weights.centered()));
        let mut of_data = of_data.scale.clone();
        if let [one] = of_data.data[..] {
            return Tensor { array: sum(&values, &integers), grid: grid(scale.map(|s| one * s)) };
        }
        of_data.dims.splice(0..0, vec![1; rank - of_data.dims.len()]);
        if of_data.dims[over] == 1 {
            // One of the two has one value only, so that nothing moves.
            if (over + 1 == rank) != self.outputs_last() {
                of_data.dims.swap(rank - 1, rank - 2);
            }
            let sizes = broadcast([&of_data.dims[..], &scale.dims[..]])
                .expect("one along rows, one along columns");
            let scale = zip(&sizes, &[&of_data, &scale], |v| v[0] * v[1]);
            return Tensor { array: sum(&values, &integers), grid: grid(scale) };
        }
        let of_scale = |values: &Array, step: f64| Tensor {
            array: sum(values, &integers),
            grid: grid(scale.map(|s| step * s)),
        };
        sum_of_scales(&values, &of_data, of_scale)
    }

    /// Whether the outputs are the last dimension of the result.
    pub fn outputs_last(self) -> bool {
        self.weights == 1
    }
}
