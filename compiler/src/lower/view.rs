//! How a tensor of the graph names the values of a map: by which of the map's axes, or parts of
//! them, its dimensions run.
//!
//! `Reshape`, `Flatten`, `Squeeze`, `Unsqueeze` and `Transpose` change nothing but this.

use qnnsim_isa::descriptor::{MapShape, TensorLayout};

use crate::tensor::Array;

/// Part of an axis of the map: coordinate `i` of `size` stands for `i * stride`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Atom {
    /// 0 for channels, 1 for rows, 2 for columns.
    axis: usize,
    size: usize,
    stride: usize,
}

/// Of each dimension, what it runs through, the outermost first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View(Vec<Vec<Atom>>);

/// A tensor of pixels, as [`View::as_pixels`] finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pixels {
    /// How many rows and columns of the tensor one of the map stands for.
    pub phases: [usize; 2],
    /// Channel of the map for each channel of the tensor, and in it for each row and column of a
    /// pixel of the map.
    pub order: Vec<usize>,
}

impl Pixels {
    /// Whether the channels of the map are in this order.
    pub fn in_order(&self) -> bool {
        self.order.iter().copied().eq(0..self.order.len())
    }

    /// Whether a pixel is one of the map.
    pub fn is_map(&self) -> bool {
        self.phases == [1, 1]
    }
}

impl View {
    /// A map as a tensor of these dimensions, in row-major order. `None` if they do not hold the
    /// map's values, or cut across its axes.
    pub fn of_map(shape: MapShape, dims: &[usize]) -> Option<View> {
        let sizes = [shape.channels, shape.height, shape.width].map(|size| size as usize);
        View(vec![(0..3).map(|axis| Atom { axis, size: sizes[axis], stride: 1 }).collect()])
            .reshape(dims)
    }

    /// The view as a tensor of other dimensions.
    pub fn reshape(&self, dims: &[usize]) -> Option<View> {
        let mut atoms = self
            .0
            .iter()
            .flatten()
            .copied()
            .filter(|atom| atom.size != 1)
            .rev()
            .collect::<Vec<_>>();
        let mut out = Vec::with_capacity(dims.len());
        for &dim in dims {
            let mut left = dim;
            let mut dimension: Vec<Atom> = Vec::new();
            while left > 1 {
                let Atom { axis, size, stride } = atoms.pop()?;
                let taken = size.min(left);
                if left % taken != 0 || size % taken != 0 {
                    return None;
                }
                if size > taken {
                    atoms.push(Atom { axis, size: size / taken, stride });
                }
                left /= taken;
                push(&mut dimension, Atom { axis, size: taken, stride: stride * (size / taken) });
            }
            out.push(dimension);
        }
        (atoms.is_empty() && !dims.contains(&0)).then_some(View(out))
    }

    /// The dimensions in another order.
    pub fn transpose(&self, perm: &[usize]) -> View {
        View(perm.iter().map(|&axis| self.0[axis].clone()).collect())
    }

    /// The tensor as channels, rows and columns of pixels, where a pixel of the map may stand for
    /// several of the tensor, which are among its channels. `None` if it is nothing like that.
    pub fn as_pixels(&self, shape: MapShape) -> Option<Pixels> {
        let none: &[Atom] = &[];
        let (channels, spatial) = match &self.0[..] {
            [batch, channels] if batch.is_empty() => (channels, [none, none]),
            [batch, channels, columns] if batch.is_empty() => (channels, [none, columns]),
            [batch, channels, rows, columns] if batch.is_empty() => {
                (channels, [rows.as_slice(), columns])
            }
            _ => return None,
        };
        let sizes = [shape.height, shape.width].map(|size| size as usize);
        let mut orders = [0, 1].map(|_| vec![0]);
        for axis in 0..2 {
            let inner = match spatial[axis] {
                [atom, inner @ ..]
                    if *atom == (Atom { axis: axis + 1, size: sizes[axis], stride: 1 }) =>
                {
                    inner
                }
                inner if sizes[axis] == 1 => inner,
                _ => return None,
            };
            orders[axis] = channels_of(inner)?;
        }
        let [rows, columns] = &orders;
        let mut order = Vec::with_capacity(shape.channels as usize);
        for channel in channels_of(channels)? {
            order.extend(
                rows.iter()
                    .flat_map(|row| columns.iter().map(move |column| channel + row + column)),
            );
        }
        (order.len() == shape.channels as usize)
            .then_some(Pixels { phases: [rows.len(), columns.len()], order })
    }

    /// The view that has these phases, with the channels of the map in its order, as a tensor of
    /// these dimensions.
    pub fn of_pixels(shape: MapShape, phases: [usize; 2], dims: &[usize]) -> Option<View> {
        let [y, x] = phases;
        let channels = shape.channels as usize / (y * x);
        let atoms = [
            Atom { axis: 0, size: channels, stride: y * x },
            Atom { axis: 1, size: shape.height as usize, stride: 1 },
            Atom { axis: 0, size: y, stride: x },
            Atom { axis: 2, size: shape.width as usize, stride: 1 },
            Atom { axis: 0, size: x, stride: 1 },
        ];
        View(vec![atoms.to_vec()]).reshape(dims)
    }

    /// Where a map of this shape, or the first channels of one, has the values of the tensor,
    /// without its batch.
    pub fn layout(&self, map: MapShape) -> TensorLayout {
        let distances = [1, (map.width * map.channels) as usize, map.channels as usize];
        let step = |atom: &Atom| (atom.size as u32, (atom.stride * distances[atom.axis]) as u32);
        let batch = usize::from(self.0.first().is_some_and(Vec::is_empty));
        let steps = |atoms: &Vec<Atom>| atoms.iter().map(step).collect();
        TensorLayout(self.0[batch..].iter().map(steps).collect())
    }

    /// The sizes of the dimensions.
    pub fn dims(&self) -> Vec<usize> {
        self.0.iter().map(|dimension| dimension.iter().map(|atom| atom.size).product()).collect()
    }

    /// Whether the values are in the order channel, row, column.
    pub fn is_row_major(&self, shape: MapShape) -> bool {
        View::of_map(shape, &self.dims()).as_ref() == Some(self)
    }

    /// The channel, row and column of the map of each value, in the order of the tensor.
    pub fn places(&self) -> Vec<[usize; 3]> {
        order(&self.0.concat())
    }

    /// The values of a constant, which broadcasts against the tensor, for each channel: one if they
    /// are all the same. `None` if it varies along anything else.
    pub fn by_channel(&self, array: &Array, channels: usize) -> Option<Vec<f64>> {
        if let [value] = array.data[..] {
            return Some(vec![value]);
        }
        let outer = array.dims.len().saturating_sub(self.0.len());
        let skipped = (self.0.len() + outer).checked_sub(array.dims.len())?;
        if array.dims[..outer].iter().any(|&size| size != 1) {
            return None;
        }
        let mut values = vec![0; channels];
        let mut step = 1;
        for (&size, dimension) in array.dims[outer..].iter().zip(&self.0[skipped..]).rev() {
            if size == 1 {
                continue;
            }
            let own = step;
            for atom in dimension.iter().rev() {
                if atom.axis != 0 {
                    return None;
                }
                for (channel, at) in values.iter_mut().enumerate() {
                    *at += channel / atom.stride % atom.size * step;
                }
                step *= atom.size;
            }
            if step != own * size {
                return None;
            }
        }
        Some(values.into_iter().map(|at| array.data[at]).collect())
    }

    /// What remains if values are summed along these dimensions, weighted in `outputs` ways. `None`
    /// if they run through a part of the map's rows or columns.
    pub fn contract(&self, over: &[usize], outputs: usize, shape: MapShape) -> Option<Contraction> {
        let sizes = [shape.channels, shape.height, shape.width].map(|size| size as usize);
        let summed: Vec<Atom> =
            over.iter().flat_map(|&dimension| &self.0[dimension]).copied().collect();
        let mut spatial = [false; 2];
        for atom in summed.iter().filter(|atom| atom.axis != 0) {
            if atom.size != sizes[atom.axis] {
                return None;
            }
            spatial[atom.axis - 1] = true;
        }
        let kept = |dimension: usize| -> &[Atom] {
            if over.contains(&dimension) { &[] } else { &self.0[dimension] }
        };
        let mut channels: Vec<Atom> =
            (0..self.0.len()).flat_map(kept).filter(|atom| atom.axis == 0).copied().collect();
        channels.sort_by_key(|atom| std::cmp::Reverse(atom.stride));
        // The outputs of each sum stand together.
        let of = |atom: &Atom| -> Atom {
            let finer = channels
                .iter()
                .filter(|other| other.axis == atom.axis && other.stride < atom.stride);
            match atom.axis {
                0 => Atom {
                    stride: finer.map(|other| other.size).product::<usize>() * outputs,
                    ..*atom
                },
                _ => *atom,
            }
        };
        let mut dimensions = Vec::with_capacity(self.0.len());
        for dimension in 0..self.0.len() {
            let mut to = Vec::new();
            kept(dimension).iter().for_each(|atom| push(&mut to, of(atom)));
            if over.first() == Some(&dimension) && outputs > 1 {
                to.push(Atom { axis: 0, size: outputs, stride: 1 });
            }
            dimensions.push(to);
        }
        let first_channels = order(&channels).into_iter().map(|place| place[0]).collect();
        Some(Contraction {
            places: order(&summed),
            first_channels,
            spatial,
            view: View(dimensions),
        })
    }
}

/// A sum along some dimensions of a view.
#[derive(Debug)]
pub struct Contraction {
    /// Of each value that a sum adds up, its channel beyond the sum's first, its row and its
    /// column.
    pub places: Vec<[usize; 3]>,
    /// First channel of each sum.
    pub first_channels: Vec<usize>,
    /// Whether rows and columns are summed over.
    pub spatial: [bool; 2],
    /// The view of the result: its channels are the outputs of the first sum, then those of the
    /// next.
    pub view: View,
}

/// Adds an atom behind others, as one with the last where they run on.
fn push(dimension: &mut Vec<Atom>, atom: Atom) {
    match dimension.last_mut() {
        Some(last) if last.axis == atom.axis && last.stride == atom.size * atom.stride => {
            last.size *= atom.size;
            last.stride = atom.stride;
        }
        _ => dimension.push(atom),
    }
}

/// The channel of the map that each coordinate stands for, if the atoms are of channels only.
fn channels_of(atoms: &[Atom]) -> Option<Vec<usize>> {
    let channels = atoms.iter().all(|atom| atom.axis == 0);
    channels.then(|| order(atoms).into_iter().map(|place| place[0]).collect())
}

/// The channel, row and column that each coordinate of a dimension stands for.
fn order(dimension: &[Atom]) -> Vec<[usize; 3]> {
    let mut places = vec![[0; 3]];
    for atom in dimension {
        let mut next = Vec::with_capacity(places.len() * atom.size);
        for place in &places {
            for i in 0..atom.size {
                let mut place = *place;
                place[atom.axis] += i * atom.stride;
                next.push(place);
            }
        }
        places = next;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: MapShape = MapShape { channels: 6, height: 2, width: 3 };

    #[test]
    fn a_shuffle_is_an_order_of_channels() {
        let view = View::of_map(SHAPE, &[1, 6, 2, 3]).unwrap();
        assert!(view.as_pixels(SHAPE).unwrap().in_order());
        let groups = view.reshape(&[1, 2, 3, 2, 3]).unwrap();
        assert_eq!(groups.as_pixels(SHAPE), None);
        let shuffled = groups.transpose(&[0, 2, 1, 3, 4]).reshape(&[1, 6, 2, 3]).unwrap();
        // Channels 0, 1, 2 and 3, 4, 5 in turn.
        let pixels = Pixels { phases: [1, 1], order: vec![0, 3, 1, 4, 2, 5] };
        assert_eq!(shuffled.as_pixels(SHAPE), Some(pixels));
        let back = shuffled.reshape(&[1, 3, 2, 2, 3]).unwrap().transpose(&[0, 2, 1, 3, 4]);
        assert_eq!(back.reshape(&[1, 6, 2, 3]), Some(view));
    }

    #[test]
    fn a_vector_knows_its_places() {
        let shape = MapShape { channels: 2, height: 1, width: 2 };
        let view = View::of_map(shape, &[1, 2, 1, 2]).unwrap();
        let flat = view.reshape(&[1, 4]).unwrap();
        assert_eq!(flat.places(), [[0, 0, 0], [0, 0, 1], [1, 0, 0], [1, 0, 1]]);
        let last = view.transpose(&[0, 2, 3, 1]).reshape(&[1, 4]).unwrap();
        assert_eq!(last.places(), [[0, 0, 0], [1, 0, 0], [0, 0, 1], [1, 0, 1]]);
        assert_eq!(flat.as_pixels(shape), None);
    }

    #[test]
    fn channels_as_pixels() {
        // Depth to space: of 6 channels, one with 2 x 3 pixels for each of the map.
        let view = View::of_map(SHAPE, &[1, 6, 2, 3]).unwrap();
        let blocks = view.reshape(&[1, 2, 3, 1, 2, 3]).unwrap();
        let tensor = blocks.transpose(&[0, 3, 4, 1, 5, 2]).reshape(&[1, 1, 4, 9]).unwrap();
        let pixels = tensor.as_pixels(SHAPE).unwrap();
        assert_eq!((pixels.phases, pixels.in_order()), ([2, 3], true));
        assert_eq!(View::of_pixels(SHAPE, [2, 3], &[1, 1, 4, 9]), Some(tensor));
        // Pixels that count through the channels the other way round.
        let tensor = view.reshape(&[1, 3, 2, 1, 2, 3]).unwrap().transpose(&[0, 3, 4, 2, 5, 1]);
        let pixels = tensor.reshape(&[1, 1, 4, 9]).unwrap().as_pixels(SHAPE).unwrap();
        assert_eq!(pixels, Pixels { phases: [2, 3], order: vec![0, 2, 4, 1, 3, 5] });
    }

    #[test]
    fn a_sum_along_a_part_of_the_channels() {
        // Channels as 3 x 2; what is summed over are the 3, so sums begin at channels 0 and 1.
        let view = View::of_map(SHAPE, &[1, 3, 2, 2, 3]).unwrap();
        let sum = view.contract(&[1], 5, SHAPE).unwrap();
        assert_eq!(sum.places, [[0, 0, 0], [2, 0, 0], [4, 0, 0]]);
        assert_eq!((sum.first_channels, sum.spatial), (vec![0, 1], [false; 2]));
        // The 5 outputs of the first, then those of the second.
        let result = MapShape { channels: 10, ..SHAPE };
        let expected = View::of_map(result, &[1, 2, 5, 2, 3]).unwrap().transpose(&[0, 2, 1, 3, 4]);
        assert_eq!(sum.view, expected);
        let columns = view.contract(&[4], 1, SHAPE).unwrap();
        assert_eq!((columns.places.len(), columns.spatial), (3, [false, true]));
        assert_eq!(columns.view.dims(), [1, 3, 2, 2, 1]);
    }

    #[test]
    fn constants_by_channel() {
        let tokens = View::of_map(SHAPE, &[1, 6, 6]).unwrap().transpose(&[0, 2, 1]);
        let constant =
            |dims: &[usize]| Array { dims: dims.to_vec(), data: (0..6).map(f64::from).collect() };
        let values = Some((0..6).map(f64::from).collect());
        assert_eq!(tokens.by_channel(&constant(&[6]), 6), values);
        assert_eq!(tokens.by_channel(&constant(&[1, 6, 1]), 6), None);
        let swapped = View::of_map(SHAPE, &[1, 3, 2, 6]).unwrap().transpose(&[0, 2, 1, 3]);
        // Channel 1 is the second of the 2, and the first of the 3.
        let values = swapped.by_channel(&constant(&[2, 3, 1]), 6);
        assert_eq!(values, Some(vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0]));
    }

    #[test]
    fn shapes_that_cut_across_axes_are_none() {
        assert_eq!(View::of_map(SHAPE, &[1, 4, 9]), None);
        assert_eq!(View::of_map(SHAPE, &[1, 35]), None);
        assert!(View::of_map(SHAPE, &[1, 2, 18]).is_some());
        assert!(View::of_map(SHAPE, &[6, 6]).is_some());
    }
}
