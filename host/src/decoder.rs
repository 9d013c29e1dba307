//! Last accumulators to the model's outputs.

use qnnsim_compiler::host::HostGraph;
use qnnsim_isa::descriptor::{OutputDescriptor, OutputTensor};

use crate::HostError;

/// Turns the accumulators of a program's output into the model's outputs.
#[derive(Debug)]
pub struct Decoder {
    output: OutputDescriptor,
    /// For each value of the descriptor, the places of its numbers in the map.
    places: Vec<Vec<usize>>,
    graph: Option<HostGraph>,
}

impl Decoder {
    /// A decoder for a program's output, which has passed the program's own check.
    ///
    /// # Errors
    /// What stands behind the last layer cannot be computed.
    pub fn new(output: &OutputDescriptor) -> Result<Self, HostError> {
        let place = |value: &qnnsim_isa::descriptor::OutputValue| {
            let positions = value.layout.positions();
            positions.into_iter().map(|at| at + value.first_channel as usize).collect()
        };
        let places: Vec<Vec<usize>> = output.values.iter().map(place).collect();
        let graph = match output.model.is_empty() {
            true => None,
            false => Some(HostGraph::read(&output.model)?),
        };
        if let Some(graph) = &graph {
            let size = |(_, dims): (&str, &[usize])| dims.iter().product::<usize>();
            if !graph.inputs().map(size).eq(places.iter().map(Vec::len)) {
                return Err(HostError::Shape("inputs"));
            }
            if !graph.outputs().map(size).eq(output.outputs.iter().map(OutputTensor::values)) {
                return Err(HostError::Shape("outputs"));
            }
        }
        Ok(Decoder { output: output.clone(), places, graph })
    }

    /// The model's outputs: names and shapes for one image.
    pub fn outputs(&self) -> &[OutputTensor] {
        &self.output.outputs
    }

    /// Number of accumulators of one image.
    pub fn accumulators(&self) -> usize {
        self.output.shape.values()
    }

    /// The outputs of one image, each in row-major order, from its accumulators as the simulator
    /// gives them: pixel after pixel, channels innermost.
    ///
    /// # Panics
    /// If there are not as many accumulators as the output's map has values.
    pub fn decode(&self, accumulators: &[i64]) -> Vec<Vec<f64>> {
        assert_eq!(accumulators.len(), self.accumulators(), "accumulators of an image");
        let channels = self.output.shape.channels as usize;
        let values = self.output.values.iter().zip(&self.places).map(|(value, places)| {
            let first = value.first_channel as usize;
            let real = |&at: &usize| {
                let channel = at % channels - first;
                value.ops.iter().fold(accumulators[at] as f64, |x, op| op.apply(x, channel))
            };
            places.iter().map(real).collect()
        });
        let values: Vec<Vec<f64>> = values.collect();
        match &self.graph {
            None => values,
            Some(graph) => graph.eval(values),
        }
    }

    /// The last accumulators of one image by the tensors that they stand for, each in row-major
    /// order: name, shape, integers.
    pub fn integers(&self, accumulators: &[i64]) -> Vec<Vec<i64>> {
        let value = |places: &Vec<usize>| places.iter().map(|&at| accumulators[at]).collect();
        self.places.iter().map(value).collect()
    }

    /// Names and shapes of the tensors that [`Decoder::integers`] gives.
    pub fn integer_tensors(&self) -> impl Iterator<Item = (&str, Vec<usize>)> {
        self.output.values.iter().map(|value| (value.name.as_str(), value.layout.dims()))
    }

    /// The class of an image: the lowest index of the maximum of the one output vector, or the
    /// class number that is the one output. `None` where there are several outputs or a map.
    pub fn class(&self, outputs: &[Vec<f64>]) -> Option<usize> {
        self.output.class_count()?;
        match self.output.outputs[0].index_of {
            None => Some(argmax(&outputs[0])),
            Some(_) => Some(outputs[0][0] as usize),
        }
    }
}

/// The lowest index of the maximum. What is not a number is never it, unless nothing else is
/// there.
pub fn argmax(values: &[f64]) -> usize {
    let higher = |best: usize, i: usize| {
        if values[i] > values[best] || values[best].is_nan() { i } else { best }
    };
    (1..values.len()).fold(0, higher)
}

#[cfg(test)]
mod tests {
    use qnnsim_isa::descriptor::{Code, HostOp, MapShape, OutputValue, TensorLayout};

    use super::*;

    #[test]
    fn the_class_is_the_lowest_index_of_the_maximum() {
        assert_eq!(argmax(&[1.0, 3.0, 3.0, 2.0]), 1);
        assert_eq!(argmax(&[-1.0]), 0);
        assert_eq!(argmax(&[f64::NAN, -3.0, -2.0]), 2);
    }

    #[test]
    fn channels_come_first_and_have_constants_of_their_own() {
        let shape = MapShape { channels: 2, height: 1, width: 3 };
        let code = Code { bits: 8, signed: true };
        let ops = vec![HostOp::Mul(vec![1.0, 10.0]), HostOp::Add(vec![0.5])];
        let decoder = Decoder::new(&OutputDescriptor::of_map("y", shape, code, ops)).unwrap();
        let accumulators = [1, -1, 2, -2, 3, -3];
        assert_eq!(decoder.decode(&accumulators), [[1.5, 2.5, 3.5, -9.5, -19.5, -29.5]]);
        assert_eq!(decoder.integers(&accumulators), [[1, 2, 3, -1, -2, -3]]);
        assert_eq!(decoder.class(&decoder.decode(&accumulators)), None);
    }

    #[test]
    fn several_values_share_a_map() {
        let shape = MapShape { channels: 3, height: 1, width: 1 };
        let code = Code { bits: 8, signed: true };
        let mut output = OutputDescriptor::of_map("a", shape, code, vec![HostOp::Mul(vec![1.0])]);
        let value = |name: &str, first_channel, channels| OutputValue {
            name: name.into(),
            first_channel,
            channels,
            layout: TensorLayout(vec![vec![(channels, 1)]]),
            ops: vec![HostOp::Mul(vec![2.0; channels as usize])],
        };
        output.values = vec![value("a", 0, 1), value("b", 1, 2)];
        let tensor =
            |name: &str, size| OutputTensor { name: name.into(), dims: vec![size], index_of: None };
        output.outputs = vec![tensor("a", 1), tensor("b", 2)];
        let decoder = Decoder::new(&output).unwrap();
        assert_eq!(decoder.decode(&[5, 6, 7]), [vec![10.0], vec![12.0, 14.0]]);
        assert_eq!(decoder.class(&decoder.decode(&[5, 6, 7])), None);
    }
}
