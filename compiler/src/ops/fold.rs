//! Arithmetic of shapes: operators of which constants are made. None of them reads a map's values.

use super::attributes::Attributes;
use super::{Operand, Operands};
use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::onnx::{TensorProto, data_type};
use crate::tensor::{Array, Tensor, checked_len};

/// An operator that depends on shapes or constants alone.
#[derive(Debug, Clone, PartialEq)]
pub enum Fold {
    /// The shape of the input, from an axis to another.
    Shape {
        /// The first axis.
        start: i64,
        /// The axis behind the last.
        end: i64,
    },
    /// The number of values of the input.
    Size,
    /// Values picked along an axis.
    Gather {
        /// The axis.
        axis: i64,
    },
    /// One value, as often as a shape says.
    ConstantOfShape {
        /// The value.
        value: f64,
        /// Its type.
        data_type: i32,
    },
    /// Another type. A map stays what it is between types of float.
    Cast {
        /// The type.
        to: i32,
    },
    /// Numbers from one to another, by a step.
    Range,
    /// Product along all axes.
    ReduceProd,
}

impl Fold {
    /// Reads an operator; `None` if it is none of these.
    pub fn parse(op_type: &str, at: &mut Attributes) -> Result<Option<Fold>, Diagnostic> {
        Ok(Some(match op_type {
            "Shape" => Fold::Shape { start: at.int("start", 0)?, end: at.int("end", i64::MAX)? },
            "Size" => Fold::Size,
            "Gather" => Fold::Gather { axis: at.int("axis", 0)? },
            "ConstantOfShape" => {
                let zero = TensorProto {
                    dims: vec![1],
                    data_type: data_type::FLOAT,
                    float_data: vec![0.0],
                    ..TensorProto::default()
                };
                let value = at.tensor("value")?.unwrap_or(&zero);
                let array = value.array()?;
                let [one] = array.data[..] else {
                    let found = format!("a value of shape {:?}", array.dims);
                    return Err(limits::FOLD_ARGUMENTS
                        .refuse(found)
                        .at(at.place())
                        .attribute("value"));
                };
                Fold::ConstantOfShape { value: one, data_type: value.data_type }
            }
            "Cast" => {
                at.ignore(&["saturate", "round_mode"]);
                Fold::Cast { to: i32::try_from(at.required_int("to")?).unwrap_or(0) }
            }
            "Range" => Fold::Range,
            "ReduceProd" => {
                at.ignore(&["noop_with_empty_axes"]);
                let keep = at.int("keepdims", 1)?;
                if keep != 0 || at.ints("axes")?.is_some_and(|axes| axes != [0]) {
                    return Err(limits::FOLD_ARGUMENTS
                        .refuse("a product along some axes")
                        .at(at.place()));
                }
                Fold::ReduceProd
            }
            _ => return Ok(None),
        }))
    }

    /// How many inputs there must be and may be.
    pub fn arity(&self) -> std::ops::RangeInclusive<usize> {
        match self {
            Fold::Gather { .. } => 2..=2,
            Fold::Range => 3..=3,
            Fold::ReduceProd => 1..=2,
            _ => 1..=1,
        }
    }

    /// Whether a map with float values stays as it is.
    pub fn keeps_maps(&self) -> bool {
        matches!(self, Fold::Cast { to: data_type::FLOAT | data_type::DOUBLE })
    }

    /// The result. The inputs have the number that [`Fold::arity`] says.
    pub fn eval(&self, inputs: &Operands) -> Result<Tensor, Diagnostic> {
        let first = inputs[0].expect("every operator has a first input");
        let refuse = |found: String| Err(limits::FOLD_ARGUMENTS.refuse(found));
        let integers = |data: Vec<f64>, dims: Vec<usize>| {
            Tensor::of_type(Array { dims, data }, data_type::range(data_type::INT64))
        };
        match self {
            Fold::Shape { start, end } => {
                let rank = first.dims.len() as i64;
                let axis = |at: i64| {
                    if at < 0 { at.saturating_add(rank) } else { at }.clamp(0, rank) as usize
                };
                let axes = axis(*start)..axis(*end).max(axis(*start));
                let sizes: Vec<f64> = first.dims[axes].iter().map(|&size| size as f64).collect();
                let dims = vec![sizes.len()];
                return Ok(integers(sizes, dims));
            }
            Fold::Size => {
                return Ok(integers(vec![first.dims.iter().product::<usize>() as f64], vec![]));
            }
            _ => {}
        }
        let mut constants = Vec::new();
        for input in inputs.iter().flatten() {
            match input.constant {
                Some(constant) => constants.push(constant),
                None => return Err(limits::FOLD_CONSTANT.refuse("a value that is computed")),
            }
        }
        let data = constants[0];
        match self {
            Fold::Gather { axis } => gather(first, data, constants[1], *axis),
            Fold::ConstantOfShape { value, data_type: kind } => {
                let sizes = data.to_real();
                let dims: Option<Vec<usize>> = sizes
                    .data
                    .iter()
                    .map(|&size| (size >= 0.0 && size.fract() == 0.0).then_some(size as usize))
                    .collect();
                match dims.as_ref().and_then(|dims| checked_len(dims)) {
                    Some(count) => {
                        let array = Array {
                            dims: dims.expect("it has a length"),
                            data: vec![*value; count],
                        };
                        Ok(Tensor::of_type(array, data_type::range(*kind)))
                    }
                    None => refuse(format!("a constant of shape {:?}", sizes.data)),
                }
            }
            Fold::Cast { to } => {
                let real = data.to_real();
                let array = match *to {
                    data_type::DOUBLE => real.into_owned(),
                    data_type::FLOAT => real.map(|x| f64::from(x as f32)),
                    data_type::BOOL => real.map(|x| f64::from(x != 0.0)),
                    to => match data_type::range(to) {
                        Some((min, max))
                            if real
                                .data
                                .iter()
                                .all(|&x| x.trunc() >= min as f64 && x.trunc() <= max as f64) =>
                        {
                            real.map(f64::trunc)
                        }
                        Some(_) => return refuse(format!("a number beyond the type {to}")),
                        None => {
                            return Err(
                                limits::CONSTANT_TYPE.refuse(format!("a `Cast` to type {to}"))
                            );
                        }
                    },
                };
                Ok(Tensor::of_type(array, data_type::range(*to)))
            }
            Fold::Range => {
                let mut ends = Vec::new();
                for constant in &constants {
                    match constant.to_real().data[..] {
                        [end] => ends.push(end),
                        _ => return refuse("a `Range` between lists".to_owned()),
                    }
                }
                let count = ((ends[1] - ends[0]) / ends[2]).ceil().max(0.0);
                if !count.is_finite() || checked_len(&[count as usize]).is_none() {
                    return refuse(format!("a `Range` of {count} numbers"));
                }
                let numbers = (0..count as usize).map(|i| ends[0] + i as f64 * ends[2]).collect();
                let range = data.grid.as_ref().map(|grid| (grid.codes.min(), grid.codes.max()));
                Ok(Tensor::of_type(Array { dims: vec![count as usize], data: numbers }, range))
            }
            Fold::ReduceProd => {
                let product = data.to_real().data.iter().product();
                Ok(Tensor { array: Array::scalar(product), grid: data.grid.clone() })
            }
            Fold::Shape { .. } | Fold::Size => unreachable!("done"),
        }
    }
}

fn gather(
    data: Operand,
    tensor: &Tensor,
    indices: &Tensor,
    axis: i64,
) -> Result<Tensor, Diagnostic> {
    let rank = data.dims.len() as i64;
    let refuse = |found: String| limits::FOLD_ARGUMENTS.refuse(found);
    let axis = if axis < 0 { axis.saturating_add(rank) } else { axis };
    let Some(&size) = usize::try_from(axis).ok().and_then(|axis| data.dims.get(axis)) else {
        return Err(refuse(format!("axis {axis} of shape {:?}", data.dims)));
    };
    let axis = axis as usize;
    let index = |at: f64| {
        let at = if at < 0.0 { at + size as f64 } else { at };
        (at >= 0.0 && at < size as f64 && at.fract() == 0.0).then_some(at as usize)
    };
    let wanted = indices.to_real();
    let picks: Option<Vec<usize>> = wanted.data.iter().map(|&at| index(at)).collect();
    let Some(picks) = picks else {
        return Err(refuse(format!("indices {:?} of {size}", wanted.data)));
    };
    let mut dims = data.dims[..axis].to_vec();
    dims.extend(&wanted.dims);
    dims.extend(&data.dims[axis + 1..]);
    if checked_len(&dims).is_none() {
        return Err(refuse(format!("a result of shape {dims:?}")));
    }
    let single = tensor
        .grid
        .as_ref()
        .is_none_or(|grid| grid.scale.data.len() == 1 && grid.zero.data.len() == 1);
    let (values, grid) = if single {
        (tensor.array.clone(), tensor.grid.clone())
    } else {
        (tensor.to_real().into_owned(), None)
    };
    let inner: usize = data.dims[axis + 1..].iter().product();
    let mut out = Vec::with_capacity(dims.iter().product());
    for block in values.data.chunks((size * inner).max(1)) {
        for &pick in &picks {
            out.extend(&block[pick * inner..][..inner]);
        }
    }
    Ok(Tensor { array: Array { dims, data: out }, grid })
}
