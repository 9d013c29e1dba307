//! How a tensor of the graph names the values of a map: by which of the map's axes, or parts of them, its dimensions run.
//!
//! `Reshape`, `Flatten`, `Squeeze`, `Unsqueeze` and `Transpose` change nothing but this.

use qnnsim_isa::descriptor::MapShape;

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

/// A view whose second dimension are the channels and whose others are rows and columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AsMap {
    /// Channels in their order.
    Same,
    /// Channel of the map for each channel of the view.
    Channels(Vec<usize>),
}

impl View {
    /// A map as a tensor of these dimensions, in row-major order. `None` if they do not hold the map's values, or cut
    /// across its axes.
    pub fn of_map(shape: MapShape, dims: &[usize]) -> Option<View> {
        let sizes = [shape.channels, shape.height, shape.width].map(|size| size as usize);
        View(vec![(0..3).map(|axis| Atom { axis, size: sizes[axis], stride: 1 }).collect()]).reshape(dims)
    }

    /// The view as a tensor of other dimensions.
    pub fn reshape(&self, dims: &[usize]) -> Option<View> {
        let mut atoms = self.0.iter().flatten().copied().filter(|atom| atom.size != 1).rev().collect::<Vec<_>>();
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

    /// Whether the view is `[1, channels]`, `[1, channels, columns]` or `[1, channels, rows, columns]` of a map.
    pub fn as_map(&self, shape: MapShape) -> Option<AsMap> {
        let whole = |dimension: &[Atom], axis: usize, size: u32| match dimension {
            [] => size == 1,
            [atom] => *atom == Atom { axis, size: size as usize, stride: 1 },
            _ => false,
        };
        let spatial = match &self.0[..] {
            [batch, _] => batch.is_empty() && shape.height == 1 && shape.width == 1,
            [batch, _, columns] => batch.is_empty() && shape.height == 1 && whole(columns, 2, shape.width),
            [batch, _, rows, columns] => {
                batch.is_empty() && whole(rows, 1, shape.height) && whole(columns, 2, shape.width)
            }
            _ => false,
        };
        let channels = shape.channels as usize;
        if !spatial {
            return None;
        }
        if whole(&self.0[1], 0, shape.channels) {
            return Some(AsMap::Same);
        }
        if self.0[1].iter().any(|atom| atom.axis != 0) {
            return None;
        }
        let order = order(&self.0[1]);
        (order.len() == channels).then(|| AsMap::Channels(order.into_iter().map(|at| at[0]).collect()))
    }

    /// The sizes of the dimensions.
    pub fn dims(&self) -> Vec<usize> {
        self.0.iter().map(|dimension| dimension.iter().map(|atom| atom.size).product()).collect()
    }

    /// Whether the values are in the order channel, row, column.
    pub fn is_row_major(&self, shape: MapShape) -> bool {
        View::of_map(shape, &self.dims()).as_ref() == Some(self)
    }

    /// The channel, row and column of each value, if the view is a vector: all dimensions but the last are 1.
    pub fn as_vector(&self) -> Option<Vec<[usize; 3]>> {
        let (last, others) = self.0.split_last()?;
        others.iter().all(Vec::is_empty).then(|| order(last))
    }

    /// Which axes of the map these dimensions run through, each as a whole; `None` if only parts of one.
    pub fn axes(&self, dims: &[usize], shape: MapShape) -> Option<Vec<usize>> {
        let sizes = [shape.channels, shape.height, shape.width].map(|size| size as usize);
        let mut axes = Vec::new();
        for atom in dims.iter().flat_map(|&dim| &self.0[dim]) {
            if atom.size != sizes[atom.axis] {
                return None;
            }
            axes.push(atom.axis);
        }
        Some(axes)
    }

    /// The view without what has been summed along these axes of the map; `dims` are the dimensions of the result.
    pub fn without(&self, axes: &[usize], dims: &[usize]) -> Option<View> {
        let kept = |dimension: &Vec<Atom>| dimension.iter().filter(|a| !axes.contains(&a.axis)).copied().collect();
        View(self.0.iter().map(kept).collect()).reshape(dims)
    }
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
        assert_eq!(view.as_map(SHAPE), Some(AsMap::Same));
        let groups = view.reshape(&[1, 2, 3, 2, 3]).unwrap();
        assert_eq!(groups.as_map(SHAPE), None);
        let shuffled = groups.transpose(&[0, 2, 1, 3, 4]).reshape(&[1, 6, 2, 3]).unwrap();
        // Channels 0, 1, 2 and 3, 4, 5 in turn.
        assert_eq!(shuffled.as_map(SHAPE), Some(AsMap::Channels(vec![0, 3, 1, 4, 2, 5])));
        let back = shuffled.reshape(&[1, 3, 2, 2, 3]).unwrap().transpose(&[0, 2, 1, 3, 4]);
        assert_eq!(back.reshape(&[1, 6, 2, 3]), Some(view));
    }

    #[test]
    fn a_vector_knows_its_places() {
        let shape = MapShape { channels: 2, height: 1, width: 2 };
        let view = View::of_map(shape, &[1, 2, 1, 2]).unwrap();
        let flat = view.reshape(&[1, 4]).unwrap();
        assert_eq!(flat.as_vector(), Some(vec![[0, 0, 0], [0, 0, 1], [1, 0, 0], [1, 0, 1]]));
        let last = view.transpose(&[0, 2, 3, 1]).reshape(&[1, 4]).unwrap();
        assert_eq!(last.as_vector(), Some(vec![[0, 0, 0], [1, 0, 0], [0, 0, 1], [1, 0, 1]]));
        assert_eq!(flat.as_map(shape), None);
    }

    #[test]
    fn shapes_that_cut_across_axes_are_none() {
        assert_eq!(View::of_map(SHAPE, &[1, 4, 9]), None);
        assert_eq!(View::of_map(SHAPE, &[1, 35]), None);
        assert!(View::of_map(SHAPE, &[1, 2, 18]).is_some());
        assert!(View::of_map(SHAPE, &[6, 6]).is_some());
    }
}
