//! assemble(disassemble(p)) == p, for random programs.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use qnnsim_assembler::{assemble, disassemble};
use qnnsim_isa::descriptor::{
    Code, HostModel, HostOp, InputDescriptor, InputModel, MapShape, OutputDescriptor, OutputTensor,
    Quantizer, Rounding, TensorLayout,
};
use qnnsim_isa::hardware::Overrides;
use qnnsim_isa::program::{LayerInfo, MapPlace, Program, Scratch, Segment, Stream};
use qnnsim_isa::{HardwarePoint, Instruction, MapLayout};

/// A random instruction of the table: the random bits of the operands brought into their ranges.
pub(crate) fn instruction() -> impl Strategy<Value = u128> {
    (select(Instruction::TABLE), vec(any::<(i64, i64, i64, i64)>(), 16), any::<u16>()).prop_map(
        |(row, bits, given)| {
            let operands: Vec<[i64; 4]> = row
                .fields
                .iter()
                .zip(&bits)
                .enumerate()
                .map(|(i, (field, &(a, b, c, d)))| {
                    let mut parts = field.kind.default_parts();
                    if given >> i & 1 == 1 {
                        for (part, bits) in
                            [a, b, c, d].into_iter().enumerate().take(field.kind.parts().len())
                        {
                            let (min, max) = field.kind.limits(part);
                            parts[part] = min + bits.rem_euclid(max - min + 1);
                        }
                    }
                    parts
                })
                .collect();
            row.instruction(&operands).and_then(|i| i.encode()).unwrap()
        },
    )
}

fn word() -> impl Strategy<Value = u128> {
    prop_oneof![8 => instruction(), 1 => any::<u128>()]
}

/// Names that can stand alone, names that cannot, and names that mean something else.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c]",
        "[a-z_][a-z0-9_.]{0,8}",
        any::<String>(),
        select(vec![
            "", "none", "INPUT", "s3", "s15", "x3", "a b", "\"", "\\", "a\nb;", "0", "\u{feff}"
        ])
        .prop_map(String::from),
    ]
}

fn finite() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>().prop_filter("finite", |x| x.is_finite()),
        select(vec![0.0, -0.0, 1.0, 0.1, f64::MAX, f64::MIN_POSITIVE, 5e-324])
    ]
}

fn hardware() -> impl Strategy<Value = HardwarePoint> {
    let range = |range: std::ops::RangeInclusive<u32>| option::of(range);
    (range(1..=9), range(1..=40), range(1..=64), range(1..=16), name()).prop_map(
        |(rows, cols, lanes, queue, technology)| {
            let mut overrides = Overrides { technology: Some(technology), ..Default::default() };
            overrides.mac.rows = rows;
            overrides.mac.cols = cols;
            overrides.mac.lanes = lanes.map(|l| 8 * l);
            overrides.queue.depth = queue;
            overrides.resolve().expect("a valid point")
        },
    )
}

fn shape() -> impl Strategy<Value = MapShape> {
    (1..12u32, 1..9u32, 1..9u32).prop_map(|(channels, height, width)| MapShape {
        channels,
        height,
        width,
    })
}

fn code(bits_max: u32) -> impl Strategy<Value = Code> {
    (1..=bits_max, any::<bool>()).prop_map(|(bits, signed)| Code { bits, signed })
}

/// The channels first, or last.
fn layout(shape: MapShape) -> impl Strategy<Value = TensorLayout> {
    let MapShape { channels, height, width } = shape;
    let last = vec![vec![(height, channels * width)], vec![(width, channels)], vec![(channels, 1)]];
    select(vec![TensorLayout::channels_first(shape), TensorLayout(last)])
}

fn input() -> impl Strategy<Value = InputDescriptor> {
    shape().prop_flat_map(move |shape| {
        let rounding = select(Rounding::ALL.to_vec());
        let reals = (finite(), finite());
        let channels = shape.channels as usize;
        let pixels = move || prop_oneof![vec(finite(), 1), vec(finite(), channels)];
        let model = (layout(shape), vec(any::<u8>(), 0..9))
            .prop_map(|(layout, model)| InputModel { model: HostModel(model), layout });
        let all = (layout(shape), option::of(model), pixels(), pixels());
        (name(), code(8), reals, rounding, any::<u8>(), all).prop_map(
            move |(name, code, (scale, zero_point), rounding, xor, all)| {
                let (layout, model, pixel_scale, pixel_offset) = all;
                let scale = if scale == 0.0 { 1.0 } else { scale };
                let quantizer =
                    Quantizer { scale, zero_point, min: code.min(), max: code.max(), rounding };
                InputDescriptor {
                    name,
                    shape,
                    layout,
                    code,
                    model,
                    quantizer,
                    pixel_scale,
                    pixel_offset,
                    xor,
                    dram: 0,
                }
            },
        )
    })
}

/// An operation of the host on each channel by itself.
fn op(channels: usize) -> impl Strategy<Value = HostOp> {
    let constants = move || prop_oneof![vec(finite(), 1), vec(finite(), channels)];
    prop_oneof![
        constants().prop_map(HostOp::Mul),
        constants().prop_map(HostOp::Div),
        constants().prop_map(HostOp::Add),
    ]
}

fn output() -> impl Strategy<Value = OutputDescriptor> {
    shape().prop_flat_map(|shape| {
        let channels = shape.channels as usize;
        let whole = (name(), code(32), vec(op(channels), 0..3), any::<bool>()).prop_map(
            move |(name, code, ops, named)| {
                let output = OutputDescriptor::of_map(&name, shape, code, ops);
                let count = output.class_count().filter(|_| named).unwrap_or(0);
                let classes = (0..count).map(|class| format!("{name}{class}")).collect();
                OutputDescriptor { classes, ..output }
            },
        );
        let parts = (name(), code(32), layout(shape), vec(any::<u8>(), 1..9), 1..9u32).prop_map(
            move |(name, code, layout, model, size)| {
                let mut output = OutputDescriptor::of_map(&name, shape, code, Vec::new());
                output.values[0].layout = layout;
                output.model = HostModel(model);
                let dims = vec![size, 2];
                output.outputs.push(OutputTensor { name, dims, index_of: Some(size) });
                output
            },
        );
        prop_oneof![2 => whole, 1 => parts]
    })
}

fn layer() -> impl Strategy<Value = LayerInfo> {
    let place = (
        0..1u64 << 20,
        0..1u32 << 14,
        0..1u32 << 10,
        0..1u64 << 20,
        1..1u32 << 12,
        option::of(any::<u32>()),
    );
    let map = (shape(), code(32), place, 1..=15u32, 1..=15u32).prop_map(
        |(shape, code, (base, block, plane, phase, pitch, dram), y, x)| MapPlace {
            shape,
            code,
            layout: MapLayout { base, block, plane, s: [y, x], phase, pitch },
            dram,
        },
    );
    (name(), name(), any::<u64>(), any::<[u32; 2]>(), option::of(map)).prop_map(
        |(name, summary, macs, precision, map)| LayerInfo { name, summary, macs, precision, map },
    )
}

fn stream(layers: usize) -> impl Strategy<Value = Stream> {
    vec((word(), option::of(0..layers.max(1) as u32), any::<bool>()), 1..12).prop_map(
        move |lines| {
            let words = lines.iter().map(|(word, ..)| *word).collect();
            let mut layer = None;
            let layers = lines
                .iter()
                .map(|&(_, next, switch)| {
                    if switch && layers > 0 {
                        layer = next;
                    }
                    layer
                })
                .collect();
            Stream { dram: 0, words, layers }
        },
    )
}

/// Random bytes with runs of equal ones among them.
fn bytes(lengths: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    vec((any::<u8>(), prop_oneof![4 => 1..3usize, 1 => 1..200usize]), lengths).prop_map(|runs| {
        runs.into_iter().flat_map(|(byte, count)| std::iter::repeat_n(byte, count)).collect()
    })
}

prop_compose! {
    fn program()(layers in vec(layer(), 0..4))(
        name in name(),
        hardware in hardware(),
        cold in stream(layers.len()),
        warm in stream(layers.len()),
        segments in vec((name(), bytes(0..20)), 0..4),
        input in input(),
        output in output(),
        scratch in 0..4u32,
        sample in option::of(any::<u8>()),
        semaphores in vec(name(), 0..=16),
        gaps in vec(0..200u32, 9),
        turn in 0..8usize,
        layers in Just(layers),
    ) -> Program {
        let data = segments.into_iter().map(|(name, bytes)| Segment { name, dram: 0, bytes }).collect();
        let q = &input.quantizer;
        let code = |i: usize| q.min + i as i64 % (q.max - q.min + 1);
        let byte = |seed: u8, i: usize| code(usize::from(seed) + i) as u8 ^ input.xor;
        let sample = sample.map(|seed| (0..input.shape.values()).map(|i| byte(seed, i)).collect());
        let scratch = Scratch { dram: 0, bytes: scratch * hardware.word_bytes() };
        let mut program =
            Program { name, hardware, cold, warm, data, input, output, scratch, sample, layers, semaphores };
        scatter(&mut program, &gaps, turn);
        program
    }
}

/// Places the regions without overlap, in any order, with gaps.
fn scatter(program: &mut Program, gaps: &[u32], turn: usize) {
    let output_bytes = program.output_bytes() as u32;
    let input_bytes = program.input.shape.values() as u32;
    let align = program.hardware.word_bytes().max(program.hardware.dram_width);
    // Address, bytes, and of what the address is a multiple.
    let mut regions: Vec<(&mut u32, u32, u32)> = vec![
        (&mut program.cold.dram, 16 * program.cold.words.len() as u32, 16),
        (&mut program.warm.dram, 16 * program.warm.words.len() as u32, 16),
        (&mut program.input.dram, input_bytes, 1),
        (&mut program.output.dram, output_bytes, 1),
    ];
    regions.extend(program.data.iter_mut().map(|s| (&mut s.dram, s.bytes.len() as u32, 1)));
    if !program.scratch.is_empty() {
        regions.push((&mut program.scratch.dram, program.scratch.bytes, align));
    }
    let count = regions.len();
    regions.rotate_left(turn % count);
    let mut next = 0;
    for ((address, bytes, unit), gap) in regions.into_iter().zip(gaps) {
        *address = (next + gap).next_multiple_of(unit);
        next = *address + bytes;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn text_is_complete(program in program()) {
        prop_assert!(program.check().is_ok(), "{:?}", program.check());
        let text = disassemble(&program);
        match assemble("round.qnn", &text) {
            // The file is compared as well: it tells -0.0 from 0.0.
            Ok(back) => {
                prop_assert_eq!(&back, &program, "\n{}", text);
                prop_assert_eq!(back.to_bytes(), program.to_bytes());
            }
            Err(mistakes) => prop_assert!(false, "{mistakes}\n{text}"),
        }
    }
}
