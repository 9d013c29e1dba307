//! The parts of a program, as plain numbers, and how they are drawn.

use proptest::prelude::*;

/// One part of a program.
#[derive(Debug, Clone)]
pub enum Item {
    /// A map loaded as it is in DRAM.
    Map(Map),
    /// Rows of the input, packed.
    Pack(Pack),
    /// Random words loaded to some memory.
    Fill(Fill),
    /// A convolution, thresholded and pooled: its weights and thresholds, MAC and THR.
    Layer(Layer),
    /// Words of a map stored to the output.
    Store(Store),
    /// A SYNC that nothing needs.
    Sync(SyncItem),
    /// Register groups with which nothing runs.
    Configure(Configure),
}

impl Item {
    /// The seed of small choices.
    pub fn dice(&self) -> u64 {
        match self {
            Item::Map(x) => x.dice,
            Item::Pack(x) => x.dice,
            Item::Fill(x) => x.dice,
            Item::Layer(x) => x.dice,
            Item::Store(x) => x.dice,
            Item::Sync(x) => x.dice,
            Item::Configure(x) => x.dice,
        }
    }
}

/// A step that fills its buffers to the last byte.
pub const FULL: u32 = u32::MAX;

/// How a transfer is cut.
#[derive(Debug, Clone)]
pub struct Transmission {
    /// Words of a step; [`FULL`]: as many as the buffers hold.
    pub step: u32,
    /// Steps of an instruction.
    pub chunk: u32,
    /// Steps post; 0: not.
    pub announce: u32,
}

/// Shape and layout of a map.
#[derive(Debug, Clone)]
pub struct Geometry {
    pub height: u32,
    pub width: u32,
    /// Phases.
    pub s: [u32; 2],
    /// Pitch beyond the least.
    pub margin: u32,
    /// Words between phases.
    pub slack: u32,
    /// Where in the memory.
    pub place: u32,
}

/// See [`Item::Map`].
#[derive(Debug, Clone)]
pub struct Map {
    pub geometry: Geometry,
    pub planes: u32,
    pub words: u32,
    pub from_input: bool,
    pub plain: Transmission,
    pub dice: u64,
}

/// See [`Item::Pack`].
#[derive(Debug, Clone)]
pub struct Pack {
    /// Its width is that of the packed map.
    pub geometry: Geometry,
    /// Rows are those of the input.
    pub natural: bool,
    pub width: u32,
    pub channels: u32,
    /// First row.
    pub first: u32,
    pub step: u32,
    pub taps: u32,
    pub left: u32,
    pub xor: u32,
    pub pad: u32,
    /// Words of a block that nothing is packed into.
    pub gap: u32,
    pub plain: Transmission,
    pub dice: u64,
}

/// See [`Item::Fill`].
#[derive(Debug, Clone)]
pub struct Fill {
    pub memory: u32,
    pub place: u32,
    pub bank: u32,
    pub span: u32,
    pub words: u32,
    /// The last step goes on from bytes and to addresses that lie so much lower and higher.
    pub turn: [u32; 2],
    pub plain: Transmission,
    pub dice: u64,
}

/// One part of a kernel, which the others are added to.
#[derive(Debug, Clone)]
pub struct Part {
    pub a: u32,
    pub w: u32,
    pub bipolar: bool,
    pub signed: bool,
    pub byte: bool,
    pub words: u32,
    /// If it is added: which map of the same pitch it reads; 0: the same.
    pub source: u32,
    /// Which planes and words of the source.
    pub offset: u32,
    pub tail: u32,
    pub k: [u32; 2],
    pub pad: u32,
    /// How often it is added, if it is neither the first nor the last.
    pub times: u32,
    /// Columns, and outputs of a row, that MAC leaves out and THR does not.
    pub less: [u32; 2],
}

/// See [`Item::Layer`].
#[derive(Debug, Clone)]
pub struct Layer {
    /// Which map it reads; 0: the newest.
    pub source: u32,
    pub parts: Vec<Part>,
    /// All planes of the source are the first.
    pub fold: bool,
    /// The words of a pixel are planes.
    pub upright: bool,
    pub out: [u32; 2],
    pub pool: [u32; 2],
    pub step: [u32; 2],
    /// Distance of neighbouring entries of the tap tables, of the first from the map's edge, and
    /// what is added to some.
    pub dilation: u32,
    pub pad: [u32; 2],
    pub jitter: [i32; 4],
    /// Some taps are left out at the edge.
    pub narrow: u32,
    pub tiles: u32,
    pub last: u32,
    pub kind: u32,
    pub bits: u32,
    /// Raw: bits beyond the least.
    pub spare: u32,
    pub fraction: u32,
    pub bipolar: bool,
    pub signed: bool,
    pub masked: bool,
    pub masks: [[u32; 2]; 4],
    /// Layout of the output; its shape is `out`.
    pub target: Geometry,
    /// Words between planes of the output.
    pub plane_gap: u32,
    /// Words between channel tiles.
    pub gap: u32,
    /// Channel tiles share weights (1), thresholds (2).
    pub share: u32,
    pub wgt_place: u32,
    pub thr_place: u32,
    /// Takes what is in the memories, if everything is there.
    pub reuse: bool,
    /// A warm image takes what is in the memories.
    pub resident: bool,
    pub weights: Transmission,
    pub thresholds: Transmission,
    /// Banks that MAC may run ahead; 0: in groups.
    pub credits: u32,
    pub chunk: [u32; 2],
    pub late: bool,
    pub announce: u32,
    /// Some thresholds are of any size.
    pub extreme: bool,
    /// Reads a map of its own whose words are all ones or all zeros, with such weights, and adds
    /// its kernel up to 2 to the power of this times: accumulators use all of their bits.
    pub deep: Option<u32>,
    pub dice: u64,
}

/// See [`Item::Store`].
#[derive(Debug, Clone)]
pub struct Store {
    /// Which map; 0: the newest.
    pub source: u32,
    /// First pixel, and how many.
    pub pixel: u32,
    pub pixels: u32,
    /// First word of a pixel, and how many.
    pub word: u32,
    pub words: u32,
    /// Twice, to the same place.
    pub again: bool,
    /// Counts banks beyond the last, and goes on with pixels so much further from the middle on.
    pub turn: [u32; 2],
    pub plain: Transmission,
    pub dice: u64,
}

/// See [`Item::Sync`].
#[derive(Debug, Clone)]
pub struct SyncItem {
    pub unit: u32,
    pub to: u32,
    pub repeat: u32,
    /// Takes what is in one of the unit's semaphores.
    pub take: bool,
    pub dice: u64,
}

/// See [`Item::Configure`].
#[derive(Debug, Clone)]
pub struct Configure {
    pub groups: u32,
    pub dice: u64,
}

/// Any program: something to read, some items, something to store.
pub fn items() -> impl Strategy<Value = Vec<Item>> {
    let source = prop_oneof![map().prop_map(Item::Map), pack().prop_map(Item::Pack)];
    let others = prop::collection::vec(item(), 0..6);
    (source, layer(), others, store()).prop_map(|(source, layer, others, store)| {
        let mut items = vec![source, Item::Layer(layer)];
        items.extend(others);
        items.push(Item::Store(store));
        items
    })
}

fn item() -> impl Strategy<Value = Item> {
    prop_oneof![
        6 => layer().prop_map(Item::Layer),
        2 => map().prop_map(Item::Map),
        2 => pack().prop_map(Item::Pack),
        2 => fill().prop_map(Item::Fill),
        3 => store().prop_map(Item::Store),
        2 => sync().prop_map(Item::Sync),
        1 => (1u32..4, dice()).prop_map(|(groups, dice)| Item::Configure(Configure { groups, dice })),
    ]
}

fn dice() -> impl Strategy<Value = u64> {
    prop_oneof![1 => Just(0u64), 6 => 1..u64::MAX]
}

fn pair(range: impl Strategy<Value = u32> + Clone) -> impl Strategy<Value = [u32; 2]> {
    (range.clone(), range).prop_map(|(y, x)| [y, x])
}

fn transmission() -> impl Strategy<Value = Transmission> {
    let announce = prop_oneof![1 => Just(0u32), 2 => 1u32..4];
    let step = prop_oneof![4 => 1u32..=3, 4 => 1u32..=60, 1 => Just(FULL)];
    (step, prop_oneof![1u32..=2, 1u32..=40], announce)
        .prop_map(|(step, chunk, announce)| Transmission { step, chunk, announce })
}

fn geometry() -> impl Strategy<Value = Geometry> {
    let s = prop_oneof![4 => Just([1, 1]), 3 => pair(1u32..=2), 1 => pair(1u32..=3)];
    let slack = prop_oneof![4 => Just(0u32), 1 => 1u32..=3];
    (1u32..=7, 1u32..=7, s, prop_oneof![2 => Just(0u32), 1 => 1u32..=2], slack, 0u32..256).prop_map(
        |(height, width, s, margin, slack, place)| Geometry {
            height,
            width,
            s,
            margin,
            slack,
            place,
        },
    )
}

fn map() -> impl Strategy<Value = Map> {
    let words = prop_oneof![3 => Just(1u32), 1 => 2u32..=3];
    let planes = prop_oneof![2 => 1u32..=3, 3 => 1u32..=8, 1 => Just(8u32)];
    (geometry(), planes, words, prop::bool::weighted(0.3), transmission(), dice()).prop_map(
        |(geometry, planes, words, from_input, plain, dice)| Map {
            geometry,
            planes,
            words,
            from_input,
            plain,
            dice,
        },
    )
}

fn pack() -> impl Strategy<Value = Pack> {
    let row = (any::<bool>(), 1u32..=12, 1u32..=6, 0u32..4);
    let windows = (1u32..=3, prop_oneof![2 => 1u32..=4, 1 => 1u32..=12], 0u32..=3);
    let bytes = (prop_oneof![Just(0u32), Just(0x80u32), 0u32..256], 0u32..256);
    let gap = prop_oneof![4 => Just(0u32), 1 => 1u32..=2];
    (geometry(), row, windows, bytes, gap, transmission(), dice()).prop_map(
        |(
            geometry,
            (natural, width, channels, first),
            (step, taps, left),
            (xor, pad),
            gap,
            plain,
            dice,
        )| Pack {
            geometry,
            natural,
            width,
            channels,
            first,
            step,
            taps,
            left,
            xor,
            pad,
            gap,
            plain,
            dice,
        },
    )
}

fn fill() -> impl Strategy<Value = Fill> {
    let turn = prop_oneof![1 => Just([0, 0]), 1 => pair(0u32..=3)];
    (0u32..3, 0u32..256, 0u32..20, 1u32..=20, 1u32..=24, turn, transmission(), dice()).prop_map(
        |(memory, place, bank, span, words, turn, plain, dice)| Fill {
            memory,
            place,
            bank,
            span,
            words,
            turn,
            plain,
            dice,
        },
    )
}

fn part() -> impl Strategy<Value = Part> {
    let bits = || prop_oneof![2 => Just(1u32), 2 => 1u32..=4, 3 => 1u32..=8];
    let flags = (any::<bool>(), any::<bool>(), prop::bool::weighted(0.2));
    let source = prop_oneof![1 => Just(0u32), 1 => 1u32..4];
    let words = (prop_oneof![2 => Just(1u32), 1 => 1u32..=3], 0u32..8, source);
    let k = prop_oneof![2 => Just([1, 1]), 4 => pair(1u32..=3), 1 => pair(1u32..=5)];
    let pad = prop_oneof![Just(0u32), 0u32..256];
    let less = prop_oneof![5 => Just([0, 0]), 1 => pair(0u32..=2)];
    (bits(), bits(), flags, words, 1u32..=72, k, pad, 1u32..=3, less).prop_map(
        |(a, w, (bipolar, signed, byte), (words, offset, source), tail, k, pad, times, less)| {
            Part { a, w, bipolar, signed, byte, words, source, offset, tail, k, pad, times, less }
        },
    )
}

fn layer() -> impl Strategy<Value = Layer> {
    let parts = prop_oneof![
        3 => part().prop_map(|p| vec![p]),
        1 => prop::collection::vec(part(), 2..=3),
    ];
    let pool = prop_oneof![3 => Just([1, 1]), 3 => pair(1u32..=2), 1 => pair(1u32..=5)];
    let source = prop_oneof![3 => Just(0u32), 1 => 1u32..4];
    let planes = (prop::bool::weighted(0.15), prop::bool::weighted(0.25));
    let shape = (source, parts, planes, pair(1u32..=6), pool, pair(0u32..=3));
    let jitter = prop_oneof![3 => Just([0; 4]), 1 => prop::array::uniform4(-2i32..=2)];
    let taps = (
        prop_oneof![4 => Just(1u32), 1 => 0u32..=2],
        pair(0u32..=2),
        jitter,
        prop_oneof![3 => Just(0u32), 1 => 1u32..8],
    );
    let channels = (prop_oneof![Just(1u32), 1u32..=4, 1u32..=12], 1u32..=72);
    let bits = prop_oneof![2 => 1u32..=3, 3 => 1u32..=8, 1 => 6u32..=8];
    let fraction = prop_oneof![Just(0u32), 0u32..=15];
    let spare = prop_oneof![3 => Just(0u32), 1 => 1u32..=16];
    // Long tables fit only some points.
    let kind = prop_oneof![8 => (0u32..3, bits), 1 => (Just(2u32), 7u32..=8)];
    let mode = (kind, spare, fraction, any::<bool>(), any::<bool>());
    let masks = (prop::bool::weighted(0.4), prop::array::uniform4(pair(0u32..=4)));
    let target = (geometry(), prop_oneof![3 => Just(0u32), 1 => Just(1u32)]);
    let places = (
        prop_oneof![2 => Just(0u32), 1 => 1u32..3],
        prop_oneof![4 => Just(0u32), 1 => 1u32..4],
        0u32..256,
        0u32..256,
    );
    let loads =
        (prop::bool::weighted(0.3), prop::bool::weighted(0.8), transmission(), transmission());
    let order = (
        0u32..=4,
        [prop_oneof![1u32..=2, 1u32..=40], prop_oneof![1u32..=2, 1u32..=40]],
        any::<bool>(),
        0u32..4,
    );
    let times = prop_oneof![1 => 4u32..=11, 2 => Just(14u32)];
    let deep = prop::option::weighted(0.015, times);
    let small = (prop::bool::weighted(0.25), deep, dice());
    (shape, taps, channels, mode, masks, target, places, loads, order, small).prop_map(
        |(
            shape,
            taps,
            (tiles, last),
            mode,
            (masked, masks),
            target,
            places,
            loads,
            order,
            (extreme, deep, dice),
        )| {
            let (source, parts, (fold, upright), out, pool, step) = shape;
            let (dilation, pad, jitter, narrow) = taps;
            let ((kind, bits), spare, fraction, bipolar, signed) = mode;
            let (target, plane_gap) = target;
            let (gap, share, wgt_place, thr_place) = places;
            let (reuse, resident, weights, thresholds) = loads;
            let (credits, chunk, late, announce) = order;
            Layer {
                source,
                parts,
                fold,
                upright,
                out,
                pool,
                step,
                dilation,
                pad,
                jitter,
                narrow,
                tiles,
                last,
                kind,
                bits,
                spare,
                fraction,
                bipolar,
                signed,
                masked,
                masks,
                target,
                plane_gap,
                gap,
                share,
                wgt_place,
                thr_place,
                reuse,
                resident,
                weights,
                thresholds,
                credits,
                chunk,
                late,
                announce,
                extreme,
                deep,
                dice,
            }
        },
    )
}

fn store() -> impl Strategy<Value = Store> {
    let source = prop_oneof![2 => Just(0u32), 1 => 1u32..4];
    let first = prop_oneof![2 => Just(0u32), 1 => 1u32..12];
    let turn = prop_oneof![2 => Just([0, 0]), 1 => pair(0u32..=2)];
    (
        source,
        first,
        1u32..=30,
        0u32..4,
        1u32..=8,
        prop::bool::weighted(0.15),
        turn,
        transmission(),
        dice(),
    )
        .prop_map(|(source, pixel, pixels, word, words, again, turn, plain, dice)| Store {
            source,
            pixel,
            pixels,
            word,
            words,
            again,
            turn,
            plain,
            dice,
        })
}

fn sync() -> impl Strategy<Value = SyncItem> {
    let repeat = prop_oneof![Just(1u32), 1u32..=4];
    (0u32..4, 0u32..4, repeat, any::<bool>(), dice())
        .prop_map(|(unit, to, repeat, take, dice)| SyncItem { unit, to, repeat, take, dice })
}
