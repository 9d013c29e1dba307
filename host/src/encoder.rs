//! Images and arrays to the bytes of a program's input.

use std::sync::OnceLock;

use qnnsim_compiler::host::HostGraph;
use qnnsim_isa::descriptor::{InputDescriptor, MapShape, TensorLayout};

use crate::HostError;

/// Turns images into the bytes of a program's input in DRAM.
#[derive(Debug)]
pub struct Encoder {
    input: InputDescriptor,
    /// Shape of one image as the model has it.
    dims: Vec<usize>,
    /// For each value of the map, in DRAM's order, its index in an image of each [`Order`].
    orders: [Vec<u32>; 3],
    front: Option<Front>,
    /// For each channel, or for all, the byte of each pixel and whether the quantizer clips it.
    pixels: OnceLock<Vec<[(u8, bool); 256]>>,
}

/// What is computed in front of the quantizer.
#[derive(Debug)]
struct Front {
    graph: HostGraph,
    /// For each value of the map, its index in what the graph makes.
    order: Vec<u32>,
}

/// In which order an array holds the values of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As the model's input does.
    Model,
    /// Channel, row, column.
    ChannelsFirst,
    /// Row, column, channel, as pictures do.
    ChannelsLast,
}

/// How an array holds images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// How many.
    pub count: usize,
    /// The order of the values of each.
    pub order: Order,
}

/// Which codes images were encoded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codes {
    /// Values that the quantizer clipped.
    pub clipped: u64,
    /// The smallest code.
    pub min: i64,
    /// The largest code.
    pub max: i64,
}

impl Default for Codes {
    /// Of no image.
    fn default() -> Self {
        Codes { clipped: 0, min: i64::MAX, max: i64::MIN }
    }
}

impl Codes {
    /// The codes of all images of two sets.
    pub fn merge(self, other: Codes) -> Codes {
        Codes {
            clipped: self.clipped + other.clipped,
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }
}

/// The inverse of a layout: for each value of the map its index in the tensor.
fn inverse(layout: &TensorLayout) -> Vec<u32> {
    let positions = layout.positions();
    let mut order = vec![0; positions.len()];
    positions.iter().enumerate().for_each(|(index, &at)| order[at] = index as u32);
    order
}

impl Encoder {
    /// An encoder for a program's input, which has passed the program's own check.
    ///
    /// # Errors
    /// What stands in front of its quantizer cannot be computed.
    pub fn new(input: &InputDescriptor) -> Result<Self, HostError> {
        let values = input.shape.values();
        let front = match &input.model {
            None => None,
            Some(model) => {
                let graph = HostGraph::read(&model.model)?;
                let fits = |dims: &[usize]| dims.iter().product::<usize>() == values;
                if graph.inputs().count() != 1 || !graph.inputs().all(|(_, dims)| fits(dims)) {
                    return Err(HostError::Shape("inputs"));
                }
                if graph.outputs().count() != 1 || !graph.outputs().all(|(_, dims)| fits(dims)) {
                    return Err(HostError::Shape("outputs"));
                }
                Some(Front { graph, order: inverse(&model.layout) })
            }
        };
        let shape = input.shape;
        let orders = [
            inverse(&input.layout),
            inverse(&TensorLayout::channels_first(shape)),
            (0..values as u32).collect(),
        ];
        let (dims, input) = (input.layout.dims(), input.clone());
        Ok(Encoder { input, dims, orders, front, pixels: OnceLock::new() })
    }

    /// Name of the model's input.
    pub fn name(&self) -> &str {
        &self.input.name
    }

    /// Shape of one image as the model has it, without the batch.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Number of values of one image.
    pub fn values(&self) -> usize {
        self.input.shape.values()
    }

    /// What a person may give: the arrays that [`Encoder::batch`] takes, for a message.
    pub fn forms(&self) -> String {
        let list = self.dims.iter().map(|size| format!(", {size}")).collect::<String>();
        let picture = match *self.dims {
            [1, height, width] => format!(", or images of {height} x {width}"),
            [3, height, width] => format!(", or colour pictures of {height} x {width}"),
            [channels, height, width] => format!(", or [N, {height}, {width}, {channels}]"),
            _ => String::new(),
        };
        format!("give arrays of [N{list}]{picture}")
    }

    /// How an array of this shape holds images: as the model has them, or pictures with the
    /// channels first or last, one channel without its 1, or flat; with or without their number in
    /// front. `None` if it holds none.
    pub fn batch(&self, dims: &[usize]) -> Option<Batch> {
        let MapShape { channels, height, width } = self.input.shape;
        let [c, h, w] = [channels, height, width].map(|size| size as usize);
        let mut forms = vec![(self.dims.clone(), Order::Model)];
        // Of a one-dimensional model only its own form is a picture.
        if self.dims.len() == 3 {
            forms.push((vec![c, h, w], Order::ChannelsFirst));
            if c == 1 {
                forms.push((vec![h, w], Order::ChannelsFirst));
            }
            forms.push((vec![h, w, c], Order::ChannelsLast));
        }
        forms.push((vec![self.values()], Order::Model));
        for (form, order) in forms {
            if dims == form {
                return Some(Batch { count: 1, order });
            }
            if let [count, rest @ ..] = dims
                && rest == form
            {
                return Some(Batch { count: *count, order });
            }
        }
        // Whatever has as many values is a vector.
        match dims {
            _ if self.dims.iter().filter(|&&size| size != 1).count() > 1 => None,
            _ if dims.iter().product::<usize>() == self.values() => {
                Some(Batch { count: 1, order: Order::Model })
            }
            [count, rest @ ..] if rest.iter().product::<usize>() == self.values() => {
                Some(Batch { count: *count, order: Order::Model })
            }
            _ => None,
        }
    }

    fn order(&self, order: Order) -> &[u32] {
        match order {
            Order::Model => &self.orders[0],
            Order::ChannelsFirst => &self.orders[1],
            Order::ChannelsLast => &self.orders[2],
        }
    }

    /// The real input of one image, in the model's order, from real values in another.
    pub fn reals(&self, reals: &[f64], order: Order) -> Vec<f64> {
        if order == Order::Model {
            return reals.to_vec();
        }
        let mut out = vec![0.0; reals.len()];
        for (&to, &from) in self.order(Order::Model).iter().zip(self.order(order)) {
            out[to as usize] = reals[from as usize];
        }
        out
    }

    /// The real input of one image, in the model's order, from 8-bit pixels.
    pub fn reals_of_pixels(&self, pixels: &[u8], order: Order) -> Vec<f64> {
        let channels = self.input.shape.channels as usize;
        let mut out = vec![0.0; pixels.len()];
        for (at, (&to, &from)) in self.order(Order::Model).iter().zip(self.order(order)).enumerate()
        {
            out[to as usize] = self.input.real_of_pixel(pixels[from as usize], at % channels);
        }
        out
    }

    /// The bytes of one image of real values. NaN becomes the smallest code, clipped.
    ///
    /// # Panics
    /// If there are not as many values, or bytes, as the input has.
    pub fn encode_reals(&self, reals: &[f64], order: Order, bytes: &mut [u8]) -> Codes {
        assert_eq!([reals.len(), bytes.len()], [self.values(); 2], "values of an image");
        match &self.front {
            None => self.quantize(reals, self.order(order), bytes),
            Some(front) => {
                let computed = front.graph.eval(vec![self.reals(reals, order)]).remove(0);
                self.quantize(&computed, &front.order, bytes)
            }
        }
    }

    fn quantize(&self, reals: &[f64], order: &[u32], bytes: &mut [u8]) -> Codes {
        let mut codes = Codes::default();
        for (byte, &from) in bytes.iter_mut().zip(order) {
            let (code, clipped) = self.input.quantizer.quantize(reals[from as usize]);
            *byte = self.input.byte(code);
            codes = codes.merge(Codes { clipped: u64::from(clipped), min: code, max: code });
        }
        codes
    }

    /// The codes of one image of real values, in DRAM's order.
    pub fn codes(&self, reals: &[f64], order: Order) -> Vec<i64> {
        let mut bytes = vec![0; self.values()];
        self.encode_reals(reals, order, &mut bytes);
        bytes.iter().map(|&byte| self.input.code_of_byte(byte)).collect()
    }

    /// The bytes of one image of 8-bit pixels.
    ///
    /// # Panics
    /// If there are not as many pixels, or bytes, as the input has values.
    pub fn encode_pixels(&self, pixels: &[u8], order: Order, bytes: &mut [u8]) -> Codes {
        assert_eq!([pixels.len(), bytes.len()], [self.values(); 2], "values of an image");
        let mut clipped = 0;
        let places = bytes.iter_mut().zip(self.order(order));
        let mut put = |byte: &mut u8, (code, clips): (u8, bool)| {
            *byte = code;
            clipped += u64::from(clips);
        };
        match self.pixel_tables() {
            [of_all] => {
                places.for_each(|(b, &from)| put(b, of_all[usize::from(pixels[from as usize])]));
            }
            of_channels => places
                .zip(of_channels.iter().cycle())
                .for_each(|((b, &from), table)| put(b, table[usize::from(pixels[from as usize])])),
        }
        // Codes of 8 bits or fewer rise with their bytes, but for the sign.
        let code = |byte: &u8| self.input.code_of_byte(*byte);
        let (mut seen, mut codes) = ([false; 256], Codes { clipped, ..Codes::default() });
        bytes.iter().for_each(|&byte| seen[usize::from(byte)] = true);
        for byte in (0..=255u8).filter(|&byte| seen[usize::from(byte)]) {
            let code = code(&byte);
            codes = Codes { min: codes.min.min(code), max: codes.max.max(code), ..codes };
        }
        codes
    }

    /// Whether every pixel goes into DRAM as it is, so that the host does nothing.
    pub fn pixels_unchanged(&self) -> bool {
        let unchanged = |table: &[(u8, bool); 256]| {
            table.iter().zip(0..=255).all(|(&entry, pixel)| entry == (pixel, false))
        };
        self.pixel_tables().iter().all(unchanged)
    }

    fn pixel_tables(&self) -> &[[(u8, bool); 256]] {
        self.pixels.get_or_init(|| match &self.front {
            None => {
                let lists = [&self.input.pixel_scale, &self.input.pixel_offset];
                let count = lists.iter().map(|list| list.len()).max().unwrap_or(1);
                let byte = |channel: usize, pixel: usize| {
                    self.byte_of(self.input.real_of_pixel(pixel as u8, channel))
                };
                (0..count).map(|c| std::array::from_fn(|pixel| byte(c, pixel))).collect()
            }
            Some(front) => self.tables_behind(front),
        })
    }

    fn byte_of(&self, real: f64) -> (u8, bool) {
        let (code, clipped) = self.input.quantizer.quantize(real);
        (self.input.byte(code), clipped)
    }

    /// Each channel by itself: images whose places hold one pixel after the other.
    fn tables_behind(&self, front: &Front) -> Vec<[(u8, bool); 256]> {
        let channels = self.input.shape.channels as usize;
        let places = self.values() / channels;
        let mut tables = vec![[(0, false); 256]; channels];
        for first in (0..256).step_by(places) {
            let pixel = |at: usize| (first + at / channels).min(255);
            let mut real = vec![0.0; self.values()];
            for (at, &index) in self.order(Order::Model).iter().enumerate() {
                real[index as usize] = self.input.real_of_pixel(pixel(at) as u8, at % channels);
            }
            let computed = front.graph.eval(vec![real]).remove(0);
            for (at, &index) in front.order.iter().enumerate() {
                tables[at % channels][pixel(at)] = self.byte_of(computed[index as usize]);
            }
        }
        tables
    }
}

#[cfg(test)]
mod tests {
    use qnnsim_isa::descriptor::{Code, Quantizer, Rounding};

    use super::*;

    fn input(shape: MapShape, layout: TensorLayout) -> InputDescriptor {
        let quantizer = Quantizer {
            scale: 0.5,
            zero_point: 0.0,
            min: -128,
            max: 127,
            rounding: Rounding::HalfEven,
        };
        InputDescriptor {
            name: "x".into(),
            shape,
            layout,
            code: Code { bits: 8, signed: true },
            model: None,
            quantizer,
            pixel_scale: vec![0.5],
            pixel_offset: vec![-64.0],
            xor: 0x80,
            dram: 0,
        }
    }

    #[test]
    fn an_image_is_told_by_its_shape() {
        // 2 channels, 1 row, 3 columns.
        let shape = MapShape { channels: 2, height: 1, width: 3 };
        let encoder = Encoder::new(&input(shape, TensorLayout::channels_first(shape))).unwrap();
        let batch = |dims: &[usize]| encoder.batch(dims).map(|batch| (batch.count, batch.order));
        assert_eq!(batch(&[2, 1, 3]), Some((1, Order::Model)));
        assert_eq!(batch(&[7, 2, 1, 3]), Some((7, Order::Model)));
        assert_eq!(batch(&[7, 1, 3, 2]), Some((7, Order::ChannelsLast)));
        assert_eq!(batch(&[5, 6]), Some((5, Order::Model)));
        assert_eq!(batch(&[6]), Some((1, Order::Model)));
        for none in [&[3, 2][..], &[5], &[7, 3, 2, 1], &[]] {
            assert_eq!(batch(none), None);
        }
        // A model that has the channels last takes its own form first.
        let last = TensorLayout(vec![vec![], vec![(3, 2)], vec![(2, 1)]]);
        let encoder = Encoder::new(&input(shape, last)).unwrap();
        assert_eq!(encoder.dims(), [1, 3, 2]);
        let order = |dims: &[usize]| encoder.batch(dims).unwrap().order;
        assert_eq!((order(&[1, 3, 2]), order(&[2, 1, 3])), (Order::Model, Order::ChannelsFirst));
        // One dimension: only its own form, or flat.
        let one =
            Encoder::new(&input(shape, TensorLayout(vec![vec![(2, 1)], vec![(3, 2)]]))).unwrap();
        assert_eq!(one.batch(&[4, 2, 3]), Some(Batch { count: 4, order: Order::Model }));
        assert_eq!(one.batch(&[4, 2, 1, 3]), None);
    }

    #[test]
    fn values_take_their_places_whatever_the_order() {
        let shape = MapShape { channels: 2, height: 1, width: 3 };
        let encoder = Encoder::new(&input(shape, TensorLayout::channels_first(shape))).unwrap();
        // Steps of 1/2: channel 0 holds 1, 2, 3 and channel 1 holds -1, -2, and what is clipped.
        let first = [0.5, 1.0, 1.5, -0.5, -1.0, -100.0];
        let last = [0.5, -0.5, 1.0, -1.0, 1.5, -100.0];
        let expected = [1, -1, 2, -2, 3, -128].map(|code: i64| code as u8 ^ 0x80);
        let codes = Codes { clipped: 1, min: -128, max: 3 };
        for (reals, order) in [(first, Order::ChannelsFirst), (last, Order::ChannelsLast)] {
            let mut bytes = [0; 6];
            assert_eq!(encoder.encode_reals(&reals, order, &mut bytes), codes);
            assert_eq!(bytes, expected);
            assert_eq!(encoder.reals(&reals, order), first);
        }
        assert_eq!(encoder.codes(&last, Order::ChannelsLast), [1, -1, 2, -2, 3, -128]);
    }

    #[test]
    fn pixels_go_in_as_they_are_or_through_a_table() {
        let shape = MapShape { channels: 2, height: 1, width: 1 };
        let mut descriptor = input(shape, TensorLayout::channels_first(shape));
        let encoder = Encoder::new(&descriptor).unwrap();
        // (pixel / 2 - 64) / (1/2) is pixel - 128.
        assert!(encoder.pixels_unchanged());
        let mut bytes = [0; 2];
        let codes = encoder.encode_pixels(&[3, 200], Order::Model, &mut bytes);
        assert_eq!((bytes, codes), ([3, 200], Codes { clipped: 0, min: -125, max: 72 }));
        // Channel 1 in steps twice as large, so that 200 becomes 2 x (200 - 64) = 272.
        descriptor.pixel_scale = vec![0.5, 1.0];
        let encoder = Encoder::new(&descriptor).unwrap();
        let codes = encoder.encode_pixels(&[3, 200], Order::Model, &mut bytes);
        assert_eq!((bytes, codes.clipped, codes.max), ([3, 255], 1, 127));
        assert_eq!(encoder.reals_of_pixels(&[3, 200], Order::Model), [-62.5, 136.0]);
    }
}
