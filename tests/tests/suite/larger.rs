//! Networks larger than the memory for weights on the default point, and than that for maps on one
//! with a quarter of it: every map equals that of the integer reference, cold and warm.

use qnnsim_compiler::import::Import;
use qnnsim_compiler::ir::Network;
use qnnsim_compiler::lower_to;
use qnnsim_isa::{HardwarePoint, Program};
use qnnsim_simulator::{Simulation, Start, Technology};
use qnnsim_tests::larger::{resnet, vgg};
use qnnsim_tests::{Sequence, cases, dram_bytes};

use qnnsim_tests::models::{Model, float, int, ints};

fn agree(network: &Network, act_words: u32) {
    let name = &network.name;
    let hw = HardwarePoint::default().with(|p| p.act_words = act_words).expect("a valid point");
    let (plan, program) = lower_to(network, &hw).unwrap_or_else(|e| panic!("{name}: {}", e[0]));
    let striped = plan.placement.maps.layers.iter().any(|layer| layer.runs.len() > 1);
    assert_eq!(striped, act_words < HardwarePoint::default().act_words, "{name}");
    let program = Program::from_bytes(&program.to_bytes()).expect("a program file");
    let described = program.clone();
    let simulation = Simulation::new(program)
        .unwrap_or_else(|trap| panic!("{name}: {}", trap.describe(&described)));

    let mut sequence = Sequence::new(3);
    let mut executor = simulation.cold_executor();
    let mut output = Vec::new();
    // A warm image at the least.
    for image in 0..cases(2, 3) {
        let codes: Vec<i64> =
            (0..network.input.shape.values()).map(|_| sequence.within(-128, 127)).collect();
        let reference = qnnsim_reference::evaluate(network, &codes);
        let maps = executor.run_with_maps(&dram_bytes(&network.input, &codes), &mut output);
        assert_eq!(maps.len(), network.layers.len(), "{name}");
        for map in maps {
            let wanted = &reference[map.layer as usize + 1].values;
            let layer = &network.layers[map.layer as usize].name;
            assert!(map.values == *wanted, "{name}, image {image}, map of {layer}");
            // A map that is constant would show nothing.
            let ones = wanted.iter().filter(|&&code| code != wanted[0]).count();
            assert!(
                10 * ones > wanted.len(),
                "{name}, image {image}, map of {layer}: {ones} of {}",
                wanted.len()
            );
        }
        assert_eq!(output, reference[network.layers.len()].values, "{name}");
        executor = simulation.next_executor(executor);
    }

    // What does not stay is written anew for every image.
    let written = |start: Start| {
        simulation.profile(start).events.iter().map(|e| e.weight_writes).sum::<u64>()
    };
    let words = |network: &Network| {
        network.layers.iter().flat_map(|l| &l.terms).map(|t| t.weights.data.len()).sum::<usize>()
    };
    assert!(plan.placement.rings.weights.words > 0 && written(Start::Warm) > 0, "{name}");
    assert!(written(Start::Cold) > written(Start::Warm), "{name}");
    let report = simulation.report(&Technology::builtin("45nm").expect("known"), 200);
    // For `cargo test -- --nocapture`.
    println!(
        "{name}, act.words={act_words}: {} weights, {} MACs, {} cycles warm, {} cold, {:.1} uJ warm, {} bytes of weights loaded \
         an image, {} of maps and image, {} stored",
        words(network),
        network.layers.iter().map(|layer| network.macs(layer)).sum::<u64>(),
        report.cycles.warm,
        report.cycles.cold,
        report.energy_pj.warm / 1e6,
        simulation.cost().events.warm.weight_dram_bytes,
        simulation.cost().events.warm.load_dram_bytes,
        simulation.cost().events.warm.store_dram_bytes,
    );
}

/// A test a network.
macro_rules! run {
    ($($name:ident: $test:ident($network:expr $(, $act_words:literal)?);)*) => {
        $(#[test]
        fn $name() {
            $test(&$network $(, $act_words)?);
        })*
    };
}

run! {
    a_vgg_of_1_bit_larger_than_the_memory_runs: agree(vgg(1, 1), 512);
    a_vgg_of_2_bits_larger_than_the_memory_runs: agree(vgg(2, 2), 512);
    a_resnet_of_1_bit_larger_than_the_memory_runs: agree(resnet(1, 1), 512);
    a_resnet_of_2_bits_larger_than_the_memory_runs: agree(resnet(2, 2), 512);
    a_quarter_of_the_memory_for_maps_is_enough_for_a_vgg_of_1_bit: agree(vgg(1, 1), 128);
    a_quarter_of_the_memory_for_maps_is_enough_for_a_vgg_of_2_bits: agree(vgg(2, 2), 128);
    a_quarter_of_the_memory_for_maps_is_enough_for_a_resnet_of_1_bit: agree(resnet(1, 1), 128);
    a_quarter_of_the_memory_for_maps_is_enough_for_a_resnet_of_2_bits: agree(resnet(2, 2), 128);
    an_exported_vgg_of_1_bit_runs_as_well: agree_with_graph(exported_vgg(1));
    an_exported_vgg_of_2_bits_runs_as_well: agree_with_graph(exported_vgg(2));
    an_exported_resnet_of_1_bit_runs_as_well: agree_with_graph(exported_resnet(1));
    an_exported_resnet_of_2_bits_runs_as_well: agree_with_graph(exported_resnet(2));
}

/// A model of 3 x 32 x 32 pixels as Brevitas exports it, layer by layer.
struct Exported {
    m: Model,
    noise: Sequence,
    bits: u32,
}

impl Exported {
    fn new(bits: u32) -> (Self, String) {
        let mut m = Model::new(&[1, 3, 32, 32]);
        let x = m.quant("x", 1.0, 8, true);
        (Exported { m, noise: Sequence::new(7 + u64::from(bits)), bits }, x)
    }

    fn real(&mut self) -> f32 {
        self.noise.within(-1000, 1000) as f32 / 1000.0
    }

    fn list(&mut self, count: i64, least: f32) -> Vec<f32> {
        (0..count).map(|_| self.real().max(least)).collect()
    }

    fn weights(&mut self, dims: &[i64]) -> String {
        let count = dims.iter().product();
        let list = self.list(count, -1.0);
        let weights = self.m.constant(dims, &list);
        match self.bits {
            1 => self.m.bipolar(&weights, 0.25),
            bits => self.m.quant(&weights, 0.75, bits, true),
        }
    }

    /// Convolution and batch normalization, by which values are about 1 in size.
    fn conv(
        &mut self,
        x: &str,
        inputs: i64,
        outputs: i64,
        kernel: i64,
        stride: i64,
        size: f32,
    ) -> String {
        let weights = self.weights(&[outputs, inputs, kernel, kernel]);
        let pad = kernel / 2;
        let attributes = [ints("strides", &[stride; 2]), ints("pads", &[pad; 4])];
        let x = self.m.node("Conv", &[x, &weights], &attributes);
        let spread = 0.3 * size * ((inputs * kernel * kernel) as f32).sqrt();
        let lists = [self.list(outputs, -1.0), self.list(outputs, -1.0), self.list(outputs, -1.0)];
        let gain: Vec<f32> = lists[0].iter().map(|x| 1.0 + 0.3 * x).collect();
        let mean: Vec<f32> = lists[1].iter().map(|x| 0.3 * spread * x).collect();
        let constants = [&gain, &lists[2], &mean, &vec![spread * spread; outputs as usize]];
        let [gain, bias, mean, variance] = constants.map(|list| self.m.constant(&[outputs], list));
        self.m.node(
            "BatchNormalization",
            &[&x, &gain, &bias, &mean, &variance],
            &[float("epsilon", 1e-5)],
        )
    }

    /// The quantizer of an activation: a sign, or a few unsigned bits behind a `Relu`.
    fn activation(&mut self, x: &str) -> String {
        match self.bits {
            1 => self.m.bipolar(x, 1.0),
            bits => {
                let x = self.m.node("Relu", &[x], &[]);
                self.m.quant(&x, 1.0, bits, false)
            }
        }
    }

    fn linear(&mut self, x: &str, inputs: i64, outputs: i64) -> String {
        let weights = self.weights(&[outputs, inputs]);
        self.m.node("Gemm", &[x, &weights], &[int("transB", 1)])
    }

    fn import(self, output: &str) -> Import {
        self.m.import(output).unwrap_or_else(|errors| panic!("{}", errors[0]))
    }
}

/// Six convolutions of 64, 64, 128, 128, 256 and 256 channels, three linear layers.
fn exported_vgg(bits: u32) -> Import {
    let (mut net, mut x) = Exported::new(bits);
    let (mut inputs, mut size) = (3, 70.0);
    for (index, outputs) in [64, 64, 128, 128, 256, 256].into_iter().enumerate() {
        x = net.conv(&x, inputs, outputs, 3, 1, size);
        x = net.activation(&x);
        if index % 2 == 1 {
            x = net.m.node(
                "MaxPool",
                &[&x],
                &[ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])],
            );
        }
        (inputs, size) = (outputs, 1.0);
    }
    x = net.m.node("Flatten", &[&x], &[]);
    for (inputs, outputs) in [(4096, 256), (256, 256)] {
        x = net.linear(&x, inputs, outputs);
        x = net.activation(&x);
    }
    let output = net.linear(&x, 256, 10);
    net.import(&output)
}

/// Three stages of two residual blocks, whose sums are quantized again, and a mean over what is
/// left.
fn exported_resnet(bits: u32) -> Import {
    let (mut net, x) = Exported::new(bits);
    let mut x = net.conv(&x, 3, 64, 3, 1, 70.0);
    x = net.activation(&x);
    let mut inputs = 64;
    for (stage, outputs) in [64, 128, 256].into_iter().enumerate() {
        for block in 0..2 {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let mut y = net.conv(&x, inputs, outputs, 3, stride, 1.0);
            y = net.activation(&y);
            y = net.conv(&y, outputs, outputs, 3, 1, 1.0);
            // Both operands through quantizers of the same scale, as a shared one makes it.
            y = net.m.quant(&y, 0.5, 4, true);
            if inputs != outputs {
                x = net.conv(&x, inputs, outputs, 1, stride, 1.0);
                x = net.m.quant(&x, 0.5, 4, true);
            }
            x = net.m.node("Add", &[&x, &y], &[]);
            x = net.activation(&x);
            inputs = outputs;
        }
    }
    x = net.m.node("GlobalAveragePool", &[&x], &[]);
    x = net.m.node("Flatten", &[&x], &[]);
    let output = net.linear(&x, 256, 10);
    net.import(&output)
}

/// One image on the default point: every map equals that of the integer reference. Gives the image
/// and the reference's maps.
pub fn an_image_agrees(network: &Network) -> (Vec<i64>, Vec<qnnsim_reference::Map>) {
    let program =
        lower_to(network, &HardwarePoint::default()).unwrap_or_else(|e| panic!("{}", e[0])).1;
    let described = program.clone();
    let simulation =
        Simulation::new(program).unwrap_or_else(|trap| panic!("{}", trap.describe(&described)));
    let mut sequence = Sequence::new(11);
    let codes: Vec<i64> =
        (0..network.input.shape.values()).map(|_| sequence.within(-128, 127)).collect();
    let reference = qnnsim_reference::evaluate(network, &codes);
    let mut output = Vec::new();
    for map in simulation.executor().run_with_maps(&dram_bytes(&network.input, &codes), &mut output)
    {
        let layer = &network.layers[map.layer as usize].name;
        assert!(map.values == reference[map.layer as usize + 1].values, "map of {layer}");
        // A map that is constant would show nothing.
        let distinct = map.values.iter().filter(|&&code| code != map.values[0]).count();
        assert!(20 * distinct > map.values.len(), "{layer}: {distinct} of {}", map.values.len());
    }
    (codes, reference)
}

/// From the ONNX file: every map of an image equals that of the integer reference and the integers
/// of the graph.
fn agree_with_graph(import: &Import) {
    let network = &import.network;
    let (codes, reference) = an_image_agrees(network);
    // The input's scale is 1.
    let tensors =
        import.graph.eval(&codes.iter().map(|&x| x as f64).collect::<Vec<_>>()).expect("values");
    for ((at, map), layer) in import.maps.iter().zip(&reference).skip(1).zip(&network.layers) {
        let value = at.value.expect("each map is in the graph");
        let tensor = tensors[import.graph.value(value).name.as_str()].centered();
        let integers = tensor.data.iter().map(|&x| x as i64 + at.zero_point);
        assert!(integers.eq(map.values.iter().copied()), "tensor of {}", layer.name);
    }
}
