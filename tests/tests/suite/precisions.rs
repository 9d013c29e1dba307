//! The network TCV at every precision, 1 to 8 bits of weights by 1 to 8 bits of activations, with
//! random parameters: from an ONNX file to the simulator, every map equals that of the integer
//! reference and that of the graph in double precision.

use qnnsim_compiler::import::{Import, ImportOptions, import};
use qnnsim_compiler::ir::{Network, WeightKind};
use qnnsim_compiler::lower_to;
use qnnsim_isa::hardware::Overrides;
use qnnsim_isa::{HardwarePoint, Program};
use qnnsim_simulator::Simulation;
use qnnsim_tests::models::{Model, float, int, ints};
use qnnsim_tests::{Sequence, cases, dram_bytes, fitted};
use rayon::prelude::*;

const PIXELS: usize = 28 * 28;

/// A number in -1..1 with a few bits more than a float holds, so rounded as trained numbers are.
fn real(sequence: &mut Sequence) -> f32 {
    (sequence.within(-1 << 30, 1 << 30) as f64 / f64::from(1 << 30)) as f32
}

/// Weights of `bits` bits: bipolar for one bit, else signed and narrow as Brevitas makes them.
fn weights(m: &mut Model, sequence: &mut Sequence, dims: &[i64], bits: u32) -> String {
    let data: Vec<f32> = (0..dims.iter().product::<i64>()).map(|_| real(sequence)).collect();
    let weights = m.constant(dims, &data);
    let scale = 0.9 + 0.1 * real(sequence);
    if bits == 1 {
        return m.bipolar(&weights, scale);
    }
    let scale = m.scalar(scale / ((1 << (bits - 1)) - 1) as f32);
    let (zero, bits) = (m.scalar(0.0), m.scalar(bits as f32));
    m.node("Quant", &[&weights, &scale, &zero, &bits], &[int("signed", 1), int("narrow", 1)])
}

/// Batch normalization of `channels` whose real values are about `spread`, then a quantized ReLU to
/// 0..2.
fn activate(
    m: &mut Model,
    sequence: &mut Sequence,
    x: &str,
    channels: usize,
    spread: f32,
    bits: u32,
) -> String {
    let mut list = |f: &dyn Fn(f32) -> f32| -> String {
        let data: Vec<f32> = (0..channels).map(|_| f(real(sequence))).collect();
        m.constant(&[channels as i64], &data)
    };
    // Gains of both signs: rising and falling channels.
    let gain = list(&|r| 0.5 * r + 0.6f32.copysign(r));
    let bias = list(&|r| 0.8 + 0.4 * r);
    let mean = list(&|r| 0.3 * spread * r);
    let variance = list(&|r| spread * spread * (1.0 + 0.5 * r));
    let x = m.node(
        "BatchNormalization",
        &[x, &gain, &bias, &mean, &variance],
        &[float("epsilon", 1e-5)],
    );
    let x = m.node("Relu", &[&x], &[]);
    let scale = (2.0 + 0.1 * real(sequence)) / ((1 << bits) - 1) as f32;
    m.quant(&x, scale, bits, false)
}

/// TCV as an ONNX file.
fn model(weight_bits: u32, activation_bits: u32) -> Vec<u8> {
    let mut sequence = Sequence::new(u64::from(100 * weight_bits + activation_bits));
    let sequence = &mut sequence;
    let mut m = Model::new(&[1, 1, 28, 28]);
    let mut x = m.input();
    // Weights of one bit are all of size 1, others are spread evenly.
    let weight_size = if weight_bits == 1 { 1.0 } else { 0.6 };
    let mut channels = 1;
    for value_size in [74.0, 1.0] {
        let weights = weights(&mut m, sequence, &[64, channels, 3, 3], weight_bits);
        x = m.node("Conv", &[&x, &weights], &[ints("pads", &[1, 1, 1, 1])]);
        let spread = ((9 * channels) as f32).sqrt() * weight_size * value_size;
        x = activate(&mut m, sequence, &x, 64, spread, activation_bits);
        x = m.node("MaxPool", &[&x], &[ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])]);
        channels = 64;
    }
    x = m.node("Flatten", &[&x], &[]);
    let fc1 = weights(&mut m, sequence, &[3136, 64], weight_bits);
    x = m.node("MatMul", &[&x, &fc1], &[]);
    x = activate(&mut m, sequence, &x, 64, 3136f32.sqrt() * weight_size * 1.5, activation_bits);
    let out = weights(&mut m, sequence, &[64, 10], weight_bits);
    x = m.node("MatMul", &[&x, &out], &[]);
    m.bytes(&x)
}

fn simulation(network: &Network, hw: &HardwarePoint) -> Simulation {
    let program = lower_to(network, hw).unwrap_or_else(|e| panic!("{}", e[0])).1;
    // Through the file, as a user would.
    let program = Program::from_bytes(&program.to_bytes()).expect("a program file");
    let described = program.clone();
    Simulation::new(program).unwrap_or_else(|trap| panic!("{}", trap.describe(&described)))
}

/// Every map of an image: graph, reference, simulator cold and warm.
fn agree(import: &Import, simulation: &Simulation, codes: &[i64]) {
    let Import { graph, network, maps: values, .. } = import;
    let reference = qnnsim_reference::evaluate(network, codes);
    assert_eq!(reference.len(), values.len());

    let reals: Vec<f64> = codes.iter().map(|&code| code as f64).collect();
    let tensors = graph.eval(&reals).expect("an image of the right size");
    for (map, at) in reference.iter().zip(values) {
        let name = graph.value(at.value.expect("each map is in the graph")).name.as_str();
        let integers = tensors[name].array.data.iter().map(|&x| x as i64);
        assert!(integers.eq(map.values.iter().copied()), "graph, `{name}`");
    }

    let bytes = dram_bytes(&network.input, codes);
    let mut output = Vec::new();
    for mut executor in [simulation.cold_executor(), simulation.executor()] {
        let maps = executor.run_with_maps(&bytes, &mut output);
        assert_eq!(maps.len(), network.layers.len());
        for map in maps {
            assert!(
                map.values == reference[map.layer as usize + 1].values,
                "simulator, layer {}",
                map.layer
            );
        }
        assert_eq!(output, reference[network.layers.len()].values, "output");
    }
}

/// TCV with weights of so many bits, at every width of activations, or at two of them where a
/// thorough test is not asked for: over all weights, every width twice.
fn every_activation_is_exact(weight_bits: u32) {
    // A small array of odd size besides the default, its memories as large as needed.
    let mut odd = Overrides::default();
    ["mac.rows=3", "mac.cols=5", "mac.lanes=24"]
        .iter()
        .try_for_each(|setting| odd.set(setting))
        .expect("settings");
    let odd = odd.resolve().expect("a valid point");
    let widths = 0..cases(2, 8);
    widths.into_par_iter().map(|i| 1 + (weight_bits - 1 + 7 * i) % 8).for_each(|activation_bits| {
        let import = import(&model(weight_bits, activation_bits), &ImportOptions::default());
        let import =
            import.unwrap_or_else(|e| panic!("W{weight_bits}A{activation_bits}: {}", e[0]));
        let network = &import.network;
        let kind =
            if weight_bits == 1 { WeightKind::Bipolar } else { WeightKind::Signed(weight_bits) };
        assert!(network.layers.iter().all(|layer| layer.terms[0].weights.kind == kind));

        let mut sequence = Sequence::new(7);
        let images: [Vec<i64>; 2] =
            [(); 2].map(|()| (0..PIXELS).map(|_| sequence.within(-128, 127)).collect());
        for (map, reference) in
            qnnsim_reference::evaluate(network, &images[0]).iter().enumerate().skip(1).take(3)
        {
            let mut seen = [false; 256];
            reference.values.iter().for_each(|&code| seen[code as usize] = true);
            let count = seen.iter().filter(|&&seen| seen).count();
            // A network whose maps are constant would show nothing.
            let of = (1usize << activation_bits).min(reference.values.len());
            assert!(
                count > 1 && 4 * count > of,
                "W{weight_bits}A{activation_bits}, map {map}: {count} codes"
            );
        }
        let default = simulation(network, &HardwarePoint::default());
        images.iter().for_each(|image| agree(&import, &default, image));
        agree(&import, &simulation(network, &fitted(network, &odd)), &images[0]);
    });
}

macro_rules! every_activation_is_exact {
    ($($name:ident: $weight_bits:literal;)*) => {
        $(#[test]
        fn $name() {
            every_activation_is_exact($weight_bits);
        })*
    };
}

every_activation_is_exact! {
    weights_of_1_bit_are_exact: 1;
    weights_of_2_bits_are_exact: 2;
    weights_of_3_bits_are_exact: 3;
    weights_of_4_bits_are_exact: 4;
    weights_of_5_bits_are_exact: 5;
    weights_of_6_bits_are_exact: 6;
    weights_of_7_bits_are_exact: 7;
    weights_of_8_bits_are_exact: 8;
}
