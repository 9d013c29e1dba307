//! The command line's words: commands, flags, their help and their examples.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, RangedU64ValueParser, TypedValueParser};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum, value_parser};
use qnnsim_compiler::input::InputType;
use qnnsim_compiler::pipeline::Stage;
use qnnsim_explore::sweep::Shard;

use crate::document::SCHEMAS;
use crate::version;

/// Bit-exact, cycle-accurate simulation of quantized neural networks on a small accelerator.
///
/// A trained, exported network (QONNX) is compiled into a program file; the program file and an
/// image give the network's exact result, the cycles it takes and the energy it costs.
#[derive(Debug, Parser)]
#[command(
    name = "qnnsim",
    version,
    long_version = version::text(),
    arg_required_else_help = true,
    after_help = OVERVIEW
)]
pub struct Cli {
    /// Say nothing but the result: no progress, warnings, notes, or what was written where.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Say what is waited for, and how long each stage took, on the standard error.
    #[arg(short, long, global = true)]
    pub verbose: bool,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const OVERVIEW: &str = "\
Examples:
  qnnsim compile model.onnx -o model.bin --pixel-offset -128
  qnnsim run model.bin --input digit.png --trace
  qnnsim eval model.bin --images images.idx.gz --labels labels.idx.gz

`qnnsim COMMAND --help` shows the flags and examples of one command. A file called - is the standard input or output.
Exit codes: 0; 1 if the machine trapped, a proof about the program failed or the RTL differs; 2 if something given is wrong.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Compile a trained network (QONNX) into a program file.
    Compile(CompileArgs),
    /// Run one image: result, cycles and energy by layer.
    Run(RunArgs),
    /// Look inside a running program: step both ways, stop, and follow values to their weights.
    Debug(DebugArgs),
    /// Run many images: accuracy, totals, and all results in a file.
    Eval(EvalArgs),
    /// Assemble a text into a program file.
    Asm(AsmArgs),
    /// Write a program as text that `asm` takes.
    Disasm(DisasmArgs),
    /// Show what a program file contains.
    Inspect(InspectArgs),
    /// Show a hardware point: every parameter and its value.
    Hw(HwArgs),
    /// Say what bounds each layer, and which parameter would help.
    Explain(ExplainArgs),
    /// Explore a space of hardware points: cycles, energy and memory of each, and the front.
    Sweep(SweepArgs),
    /// Compare a program with its model: simulator, integer reference and the graph on real values,
    /// layer by layer.
    Verify(VerifyArgs),
    /// Run the machine's RTL and compare it with the simulator, cycle by cycle and bit by bit.
    Cosim(CosimArgs),
    /// Print the schema of what a command writes as JSON.
    Schema(SchemaArgs),
    /// Say what the words of reports mean.
    Words,
    /// Write a shell's completions of the commands and their flags.
    Completions(CompletionsArgs),
    /// Write the manual pages of all commands.
    Man(ManArgs),
}

/// A hardware point: defaults, then a file, then single values.
#[derive(Debug, Args)]
pub struct PointArgs {
    /// Hardware point, a file in RON or JSON, or `-` for the standard input: any of the parameters
    /// that `qnnsim hw` lists.
    #[arg(long, value_name = "POINT.ron|-")]
    pub hw: Option<PathBuf>,

    /// One hardware parameter, as `mac.cols=32`; may be repeated, goes over --hw, the last one
    /// counts.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Hardware points line by line, for programs that choose the next by what came of the last.
#[derive(Debug, Args)]
pub struct StreamArgs {
    /// Take a hardware point from each line of a file, or of the standard input with `-`; answer
    /// each with a line of JSON.
    ///
    /// A line is JSON, as `{"mac.rows": 8, "acc": {"banks": 3}}`, or RON, and goes over --hw and
    /// --set. Answers come in order and at once. One for a point without figures has `error`
    /// and `kind` instead: `malformed` (the line is no point; exit code 2 at the end), `traps`
    /// (1), `invalid_point`, `needs_model` or `does_not_fit` (0, for these are results).
    #[arg(long, value_name = "FILE|-")]
    pub points: Option<PathBuf>,
}

/// What a model's file does not say; a program file has it all.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Real input of an 8-bit image: scale x pixel + offset; by default 1 x pixel + 0. One number,
    /// or one for each channel.
    #[arg(long, value_name = "S,...", value_parser = scale, value_delimiter = ',',
        allow_hyphen_values = true)]
    pub pixel_scale: Vec<f64>,

    /// Offset of the same, one number or one for each channel.
    #[arg(long, value_name = "O,...", value_parser = finite, value_delimiter = ',',
        allow_hyphen_values = true)]
    pub pixel_offset: Vec<f64>,

    /// What an input holds that the model does not quantize: uint8, int4, ... (1 to 8 bits),
    /// bipolar or ternary. Without it, what the file says in other ways is taken.
    #[arg(long, value_name = "TYPE", value_parser = input_type)]
    pub input_type: Option<InputType>,

    /// Real size of one step of these integers; by default 1.
    #[arg(long, value_name = "S", value_parser = positive, requires = "input_type")]
    pub input_scale: Option<f64>,

    /// The integer that stands for 0; by default 0.
    #[arg(long, value_name = "Z", value_parser = finite, requires = "input_type",
        allow_negative_numbers = true)]
    pub input_zero_point: Option<f64>,

    /// Names of the classes, one an output.
    #[arg(long, value_name = "A,B,...", value_delimiter = ',')]
    pub classes: Vec<String>,

    /// Read a BipolarQuant whose input cannot be negative as a 1-bit unsigned quantizer.
    ///
    /// Brevitas exports 1-bit QuantReLU as BipolarQuant behind a Relu, which is constant. With
    /// this flag such a node means what the trained network computes: 0 or 1.
    #[arg(long = "unsigned-1bit-relu")]
    pub unsigned_1bit_relu: bool,
}

/// What energy and time are computed with; results and cycles do not depend on it.
#[derive(Debug, Args)]
pub struct TechnologyArgs {
    /// Technology, by name or as a RON file, instead of the program's.
    #[arg(long, value_name = "NAME|FILE.ron")]
    pub tech: Option<String>,

    /// Clock frequency, instead of the program's.
    #[arg(long, value_name = "MHZ", value_parser = value_parser!(u32).range(1..=10_000))]
    pub clock: Option<u32>,
}

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// One JSON object with stable keys; `qnnsim schema` has their schemas.
    Json,
    /// The same in one line; with --points, the only one and the default.
    Jsonl,
}

/// How a hardware point is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PointFormat {
    /// For people.
    Table,
    /// One JSON object with stable keys; `qnnsim schema hw` is its schema.
    Json,
    /// The same in one line.
    Jsonl,
    /// A complete file for --hw.
    Ron,
}

/// Reads the name of a stage of the compiler, and lists them all.
fn stage() -> impl TypedValueParser<Value = Stage> {
    let names = Stage::ALL.iter().map(|s| PossibleValue::new(s.name()).help(s.about()));
    PossibleValuesParser::new(names).map(|name| {
        let named = Stage::ALL.iter().find(|stage| stage.name() == name);
        *named.expect("only these names are taken")
    })
}

/// `qnnsim compile`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  qnnsim compile programs/tcv_w1a1.onnx -o tcv.bin --pixel-offset -128
  qnnsim compile model.onnx -o model.bin --sample digit.png --classes zero,one,two
  qnnsim compile model.onnx -o model.bin --hw small.ron --set mac.cols=32 --set acc.banks=3
  qnnsim compile model.onnx --emit placement
  qnnsim compile model.onnx --explain              # could float32 give other codes?
  echo '{\"mac.cols\": 32}' | qnnsim compile model.onnx -o model.bin --hw - --format jsonl
  qnnsim compile model.onnx --points points.jsonl -o 'point{index}.bin'")]
pub struct CompileArgs {
    /// The trained network, a QONNX file.
    #[arg(value_name = "MODEL.onnx")]
    pub model: PathBuf,

    /// The program file to write; may be left out with --emit, --explain and --points.
    ///
    /// With --points each point has its own: {index} in the name stands for the number of the
    /// line, from 0.
    #[arg(short, long, value_name = "PROG.bin", required_unless_present_any = ["emit", "explain", "points"])]
    pub output: Option<PathBuf>,

    #[command(flatten)]
    pub point: PointArgs,

    #[command(flatten)]
    pub stream: StreamArgs,

    #[command(flatten)]
    pub import: ImportArgs,

    /// Image that the program file carries, for `run` without --input: PNG, JPEG, IDX, npy or npz.
    #[arg(long, value_name = "FILE")]
    pub sample: Option<PathBuf>,

    /// Which image of --sample, from 0.
    #[arg(long, value_name = "I", requires = "sample")]
    pub index: Option<usize>,

    /// Print a stage of the compiler.
    #[arg(long, value_name = "STAGE", value_parser = stage(), conflicts_with_all = ["points", "format"])]
    pub emit: Option<Stage>,

    /// Show by layer how near an accumulator comes to a change of its code, and whether float32
    /// could differ.
    #[arg(long, conflicts_with_all = ["emit", "points"])]
    pub explain: bool,

    /// How the summary, or --explain, is written.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

/// `qnnsim run`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("shown").args(["trace", "wave"]).multiple(true)))]
#[command(after_help = "\
Examples:
  qnnsim run programs/tcv_w1a1.bin
  qnnsim run programs/tcv_w1a1.bin --input programs/digits/digit_3.png --trace
  qnnsim run model.bin --input images.idx.gz --index 42 --format json
  qnnsim run model.bin --trace=timeline.pftrace    # open in https://ui.perfetto.dev
  qnnsim run model.bin --both --wave signals.fst   # open in GTKWave or Surfer
  qnnsim run model.bin --report page.html
  qnnsim run model.bin --tech 22nm --clock 500
  qnnsim run model.onnx --pixel-offset -128 --set mac.cols=32 --input digit.png
  qnnsim run model.onnx --pixel-offset -128 --input digit.png --points -    # a point a line, as {\"mac.rows\": 8}")]
pub struct RunArgs {
    /// The program file; or a model, a file whose name ends with .onnx, which is compiled on the
    /// way.
    ///
    /// A program runs on other points than its own as long as its code is not made for what
    /// differs.
    #[arg(value_name = "PROG.bin|MODEL.onnx")]
    pub program: PathBuf,

    #[command(flatten)]
    pub point: PointArgs,

    #[command(flatten)]
    pub stream: StreamArgs,

    #[command(flatten)]
    pub import: ImportArgs,

    /// Image: PNG, JPEG, IDX, IDX.gz, npy or npz, or a folder of pictures; without it, the sample in the program file.
    ///
    /// Pixels (uint8) become the model's real input as scale x pixel + offset, which the program
    /// file remembers; a float npy of the model's input shape is the real input itself.
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,

    /// Which image of --input, from 0; needed if there are several.
    #[arg(long, value_name = "I", requires = "input")]
    pub index: Option<usize>,

    /// Print the timeline, a line an instruction and stage; with =FILE write it instead, in true
    /// time: FILE.pftrace for Perfetto (every step, arrows along semaphores, counters), FILE.json as
    /// a Chrome trace (a span an instruction and stage), FILE.kanata for Konata.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, conflicts_with = "points")]
    pub trace: Option<Option<PathBuf>>,

    /// Write the machine's signals by cycle (issue, busy, stalls, queues, semaphores, ports):
    /// FILE.fst or FILE.vcd, for GTKWave or Surfer.
    ///
    /// A signal has in a cycle what the decisions of this cycle see. `stall` is 0, or what the
    /// instruction at the head waits for: 1 a semaphore (`stall_semaphore` is its number), 2 the
    /// pipe, 3 a buffer, 4 a port, 5 the DRAM, 6 a register group.
    #[arg(long, value_name = "FILE", conflicts_with = "points")]
    pub wave: Option<PathBuf>,

    /// Write a page about the program, to look at in a browser: layers, roofline, stalls, energy,
    /// timeline, memories, and which parameter would help.
    #[arg(long, value_name = "FILE.html", conflicts_with = "points")]
    pub report: Option<PathBuf>,

    /// Show the cold image in timeline and signals instead of the warm one.
    #[arg(long, requires = "shown", conflicts_with = "both")]
    pub cold: bool,

    /// Show the cold image in timeline and signals, and the warm one behind it.
    #[arg(long, requires = "shown")]
    pub both: bool,

    #[command(flatten)]
    pub technology: TechnologyArgs,

    /// How the report is written.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

/// How the debugger answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DebugFormat {
    /// For people: each command, then its answer.
    Text,
    /// A line of JSON for each command, with `schema`, `command` and `answer` or `error`.
    Json,
}

/// `qnnsim debug`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  qnnsim debug programs/tcv_w1a1.bin
  qnnsim debug model.bin --input digit.png --model model.onnx    # maps also as real values
  qnnsim debug model.bin --cold --script session.txt
  echo 'step layer' | qnnsim debug model.bin --format json

`help` lists the commands, `help COMMAND` explains one. docs/debugger.md is a session.")]
pub struct DebugArgs {
    /// The program file; or a model, a file whose name ends with .onnx, which is compiled on the
    /// way.
    #[arg(value_name = "PROG.bin|MODEL.onnx")]
    pub program: PathBuf,

    #[command(flatten)]
    pub point: PointArgs,

    #[command(flatten)]
    pub import: ImportArgs,

    /// The model that the program was made from, which says what the codes of maps stand for.
    #[arg(long, value_name = "MODEL.onnx")]
    pub model: Option<PathBuf>,

    /// Image: PNG, JPEG, IDX, IDX.gz, npy or npz, or a folder of pictures; without it, the sample in the program file.
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,

    /// Which image of --input, from 0; needed if there are several.
    #[arg(long, value_name = "I", requires = "input")]
    pub index: Option<usize>,

    /// Begin with the cold image instead of the warm one.
    #[arg(long)]
    pub cold: bool,

    /// Take the commands from a file, or from the standard input with `-`, and end at the first
    /// that cannot be done, with exit code 2.
    ///
    /// Without it they come from the standard input, and one that cannot be done is told and left
    /// out; the exit code is 2 then as well.
    #[arg(long, value_name = "FILE|-")]
    pub script: Option<PathBuf>,

    /// How answers are written.
    #[arg(long, value_enum, default_value = "text")]
    pub format: DebugFormat,
}

/// `qnnsim eval`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  qnnsim eval tcv.bin --images t10k-images-idx3-ubyte.gz --labels t10k-labels-idx1-ubyte.gz
  qnnsim eval tcv.bin --images images.npy --limit 100 --output real.npy --output-int accumulators.npy
  qnnsim eval tcv.bin --images images.npy --labels labels.npy --format json
  qnnsim eval model.onnx --images images.npy --labels labels.npy --points points.jsonl

Cycles and energy are those of one cold image and then warm ones.")]
pub struct EvalArgs {
    /// The program file; or a model, a file whose name ends with .onnx, which is compiled on the
    /// way.
    ///
    /// A program runs on other points than its own as long as its code is not made for what
    /// differs.
    #[arg(value_name = "PROG.bin|MODEL.onnx")]
    pub program: PathBuf,

    #[command(flatten)]
    pub point: PointArgs,

    #[command(flatten)]
    pub stream: StreamArgs,

    #[command(flatten)]
    pub import: ImportArgs,

    /// The images: IDX, IDX.gz, npy, npz, a picture (PNG, JPEG) or a folder of pictures.
    #[arg(long, value_name = "FILE")]
    pub images: PathBuf,

    /// Their classes: IDX, IDX.gz or an npy of integers.
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,

    /// Only the first N images.
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    pub limit: Option<u64>,

    /// Write the real outputs: npy, float64 [N, K].
    #[arg(long, value_name = "OUT.npy", conflicts_with = "points")]
    pub output: Option<PathBuf>,

    /// Write the last accumulators: npy, int32 [N, K].
    #[arg(long, value_name = "OUT.npy", conflicts_with = "points")]
    pub output_int: Option<PathBuf>,

    #[command(flatten)]
    pub technology: TechnologyArgs,

    /// How the report is written.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

/// `qnnsim asm`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  qnnsim asm kernel.qnn -o kernel.bin
  qnnsim disasm tcv.bin > tcv.qnn && qnnsim asm tcv.qnn -o again.bin")]
pub struct AsmArgs {
    /// The text.
    #[arg(value_name = "FILE")]
    pub source: PathBuf,

    /// The program file to write.
    #[arg(short, long, value_name = "PROG.bin")]
    pub output: PathBuf,
}

/// `qnnsim disasm`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  qnnsim disasm tcv.bin | less
  qnnsim disasm tcv.bin > tcv.qnn")]
pub struct DisasmArgs {
    /// The program file.
    #[arg(value_name = "PROG.bin")]
    pub program: PathBuf,
}

/// `qnnsim inspect`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  qnnsim inspect tcv.bin
  qnnsim inspect tcv.bin --format json")]
pub struct InspectArgs {
    /// The program file.
    #[arg(value_name = "PROG.bin")]
    pub program: PathBuf,

    /// How it is written.
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

/// `qnnsim hw`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  qnnsim hw
  qnnsim hw --set mac.rows=32 --set mac.cols=32
  qnnsim hw --set acc.banks=3 --format ron > point.ron && qnnsim hw --hw point.ron")]
pub struct HwArgs {
    #[command(flatten)]
    pub point: PointArgs,

    /// How it is written.
    #[arg(long, value_enum, default_value = "table")]
    pub format: PointFormat,
}

/// `qnnsim explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  qnnsim explain programs/tcv_w1a1.bin
  qnnsim explain programs/tcv_w1a1.onnx --pixel-offset -128 --set acc.banks=3
  qnnsim explain model.bin --cold
  qnnsim explain model.bin --format json

Every figure is simulated. What bounds a layer is what was at work for it, or waited for by the array, in most of its
cycles. Each parameter is then doubled, or halved where it is a latency, with everything else as it was, and the image
simulated again. A program file is simulated as it is, so parameters that its code is made for need the model.")]
pub struct ExplainArgs {
    /// The program file, or the model, which is then compiled for every point.
    #[arg(value_name = "PROG.bin|MODEL.onnx")]
    pub file: PathBuf,

    #[command(flatten)]
    pub point: PointArgs,

    #[command(flatten)]
    pub import: ImportArgs,

    #[command(flatten)]
    pub technology: TechnologyArgs,

    /// Show the cold image instead of the warm one; JSON has both.
    #[arg(long)]
    pub cold: bool,

    /// Write the model with cycles, energy, utilization and bound of each layer as metadata of its
    /// node, which Netron shows; everything else stays as it is.
    #[arg(long, value_name = "OUT.onnx")]
    pub onnx: Option<PathBuf>,

    /// Write the integer network with the same as a graph for Graphviz.
    #[arg(long, value_name = "OUT.dot")]
    pub dot: Option<PathBuf>,

    /// How the report is written.
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

/// `qnnsim sweep`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Examples:
  qnnsim sweep programs/sweep.ron -o sweep
  qnnsim sweep space.ron -o sweep --pareto energy_pj,cycles --exhaustive
  qnnsim sweep space.ron -o part3 --shard 3/8
  qnnsim sweep merge part1 part2 part3 part4 part5 part6 part7 part8 -o whole
  qnnsim sweep space.ron --points -                        # a point a line, as {\"mac.rows\": 8}

SPACE.ron:
  (
    models: [(file: \"model.onnx\", pixel_offset: -128)],    // and programs: [\"kernel.qnn\"]
    base: (acc: (banks: 3)),                                // or base_file: \"point.ron\", or both
    axes: {
      \"mac.rows\": Powers(from: 4, to: 32),
      \"mac.cols\": List([8, 12, 64]),
      \"dram.latency\": Range(from: 20, to: 100, step: 40),
      \"technology\": List([\"45nm\", \"22nm\"]),
    },
    tied: { \"thr.cols\": \"mac.cols / 2\" },
    constraints: [\"mac.rows * mac.cols <= 1024\"],
    sample: (points: 1000, seed: 1),                        // some at random instead of all
  )
Files are beside SPACE.ron. Expressions see every parameter that `qnnsim hw` lists, `technology` and `source`.

An interrupted sweep goes on where it was when it is started again with the same words. DIR gets report.html and plots/
(to choose by), points.csv and points.jsonl (one row a point), manifest.json (what the results were made from) and journal
(what was simulated)."
)]
pub struct SweepArgs {
    /// Join the parts of a space that was split by --shard.
    #[command(subcommand)]
    pub merge: Option<SweepCommand>,

    /// The space, a RON file.
    #[arg(value_name = "SPACE.ron", required = true)]
    pub space: Option<PathBuf>,

    /// The folder of the results; made if it is not there.
    #[arg(short, long, value_name = "DIR", required_unless_present = "points")]
    pub output: Option<PathBuf>,

    /// Take a hardware point from each line of a file, or of the standard input with `-`; answer
    /// each with a line of JSON.
    ///
    /// A line is JSON, as `{"mac.rows": 8, "acc": {"banks": 3}}`, or RON, and goes over the base
    /// point of a space of one model or program. Ties and constraints hold; axes and sample do
    /// not matter. Answers are as those of `run --points`, with the columns of points.jsonl as
    /// keys: exact figures without values, so much faster.
    #[arg(long, value_name = "FILE|-", conflicts_with_all = ["output", "pareto", "exhaustive", "shard", "jobs", "date"])]
    pub points: Option<PathBuf>,

    /// Columns that the front is of.
    #[arg(
        long,
        value_name = "A,B,...",
        value_delimiter = ',',
        default_value = "energy_pj,cycles,lut"
    )]
    pub pareto: Vec<String>,

    /// Simulate also points whose bounds say that they cannot reach the front.
    #[arg(long)]
    pub exhaustive: bool,

    /// Only part I of N, with I from 1.
    #[arg(long, value_name = "I/N")]
    pub shard: Option<Shard>,

    /// Threads, by default one a core.
    #[arg(long, value_name = "J", value_parser = RangedU64ValueParser::<usize>::new().range(1..=256))]
    pub jobs: Option<usize>,

    /// A date for the manifest, as you like it written; without it there is none.
    #[arg(long, value_name = "DATE")]
    pub date: Option<String>,

    /// How the summary is written.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

/// `qnnsim sweep merge`.
#[derive(Debug, Subcommand)]
pub enum SweepCommand {
    /// Join the parts of a space that was split by --shard.
    Merge(MergeArgs),
}

/// `qnnsim sweep merge`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  qnnsim sweep merge part1 part2 -o whole")]
pub struct MergeArgs {
    /// Folders of all parts.
    #[arg(value_name = "DIR", required = true)]
    pub parts: Vec<PathBuf>,

    /// The folder of the joined results; made if it is not there.
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,

    /// A date for the manifest; without it there is none.
    #[arg(long, value_name = "DATE")]
    pub date: Option<String>,

    /// How the summary is written.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

/// `qnnsim verify`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  qnnsim verify model.onnx model.bin --images images.idx.gz --limit 100
  qnnsim verify model.onnx model.bin --images images.npy --float32
  qnnsim verify model.onnx model.bin --images digit.png --format json

The simulator must equal the integer reference in every value of every map. Where the graph on real values differs, the
difference is a tie if rounding can reach the other side of the quantizer's boundary; anything else is an error, exit
code 1. Each layer begins with the reference's map, so that ties do not pile up.")]
pub struct VerifyArgs {
    /// The trained network, a QONNX file.
    #[arg(value_name = "MODEL.onnx")]
    pub model: PathBuf,

    /// The program file made from it.
    #[arg(value_name = "PROG.bin")]
    pub program: PathBuf,

    /// The images: IDX, IDX.gz, npy, npz, a picture (PNG, JPEG) or a folder of pictures.
    #[arg(long, value_name = "FILE")]
    pub images: PathBuf,

    /// Only the first N images.
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    pub limit: Option<u64>,

    /// Evaluate the graph in float32, as frameworks do, and not in double precision.
    #[arg(long)]
    pub float32: bool,

    /// As for `compile`, if the program was compiled with it.
    #[arg(long = "unsigned-1bit-relu")]
    pub unsigned_1bit_relu: bool,

    /// How the report is written.
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

/// `qnnsim cosim`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  qnnsim cosim programs/tcv_w1a1.bin
  qnnsim cosim model.bin --input images.idx.gz --index 42 --format json
  qnnsim cosim --random 1000 --points 8
  qnnsim cosim --random 1 --points 8 --seed 0 --case 17     # one of these again
  qnnsim cosim --random 1000 --points 8 --traps
  qnnsim cosim --random 1000 --hw point.ron

The RTL runs under Verilator 5.006 or newer, which must be installed. What is built for a hardware point is kept in
the folder QNNSIM_COSIM_DIR, by default qnnsim/cosim in the user's cache folder.")]
pub struct CosimArgs {
    /// The program file: runs cold, then warm.
    #[arg(value_name = "PROG.bin", required_unless_present = "random")]
    pub program: Option<PathBuf>,

    /// Image: PNG, JPEG, IDX, IDX.gz, npy or npz, or a folder of pictures; without it, the sample in the program file.
    #[arg(long, value_name = "FILE", conflicts_with = "random")]
    pub input: Option<PathBuf>,

    /// Which image of --input, from 0; needed if there are several.
    #[arg(long, value_name = "I", requires = "input")]
    pub index: Option<usize>,

    /// Run N random programs instead of a program file.
    #[arg(long, value_name = "N", conflicts_with = "program", value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    pub random: Option<u64>,

    /// The hardware point that they run on, instead of random ones: a file in RON or JSON, or `-`.
    #[arg(long, value_name = "POINT.ron|-", requires = "random", conflicts_with_all = ["program", "points"])]
    pub hw: Option<PathBuf>,

    /// Random hardware points that they run on, in turn.
    #[arg(long, value_name = "P", default_value = "4", conflicts_with = "program", value_parser = RangedU64ValueParser::<u64>::new().range(1..=1000))]
    pub points: u64,

    /// Seed of points and programs.
    #[arg(long, value_name = "S", default_value = "0", conflicts_with = "program")]
    pub seed: u64,

    /// Run one of the random programs alone, by its number.
    #[arg(long, value_name = "I", conflicts_with = "program")]
    pub case: Option<u64>,

    /// Write the RTL's signals by cycle, FILE.fst or FILE.vcd, under the names that `run --wave` has
    /// for the same things.
    ///
    /// Where the RTL differs from the simulator, the file holds the cycles around the difference,
    /// and FILE.simulator.fst beside it the simulator's.
    #[arg(long, value_name = "FILE", conflicts_with = "random")]
    pub wave: Option<PathBuf>,

    /// Draw programs with a fault, and compare how they trap.
    #[arg(long, conflicts_with = "program")]
    pub traps: bool,

    /// Threads, by default one a core.
    #[arg(long, value_name = "J", conflicts_with = "program", value_parser = RangedU64ValueParser::<usize>::new().range(1..=256))]
    pub jobs: Option<usize>,

    /// How the report is written.
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

fn finite(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err("not a finite number".to_owned()),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match finite(text)? {
        number if number > 0.0 => Ok(number),
        _ => Err("a scale is greater than 0".to_owned()),
    }
}

fn input_type(text: &str) -> Result<InputType, String> {
    InputType::parse(text).ok_or_else(|| {
        "no type of 1 to 8 bits: give uint1 to uint8, int2 to int8, bipolar or ternary".to_owned()
    })
}

fn scale(text: &str) -> Result<f64, String> {
    match finite(text)? {
        0.0 => Err("with a scale of 0 every image is the same".to_owned()),
        number => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_negative_offset_needs_no_equals_sign() {
        let cli = Cli::parse_from([
            "qnnsim",
            "compile",
            "m.onnx",
            "-o",
            "p.bin",
            "--pixel-offset",
            "-128",
        ]);
        let Command::Compile(args) = cli.command else { panic!("compile") };
        assert_eq!((args.import.pixel_offset, args.import.pixel_scale), (vec![-128.0], vec![]));
    }

    #[test]
    fn trace_takes_its_file_behind_an_equals_sign_only() {
        let trace = |words: &[&str]| match Cli::parse_from(words).command {
            Command::Run(args) => (args.program, args.trace),
            _ => panic!("run"),
        };
        assert_eq!(trace(&["qnnsim", "run", "--trace", "p.bin"]), ("p.bin".into(), Some(None)));
        let file = Some(Some("t.json".into()));
        assert_eq!(trace(&["qnnsim", "run", "p.bin", "--trace=t.json"]), ("p.bin".into(), file));
        assert_eq!(trace(&["qnnsim", "run", "p.bin"]), ("p.bin".into(), None));
    }
}

const COMPLETIONS: &str = "\
Examples:
  qnnsim completions bash > ~/.local/share/bash-completion/completions/qnnsim
  qnnsim completions zsh > ~/.zfunc/_qnnsim
  qnnsim completions fish > ~/.config/fish/completions/qnnsim.fish";

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS)]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

const MAN: &str = "\
Examples:
  qnnsim man -o ~/.local/share/man/man1
  man qnnsim-run";

/// Arguments of `man`.
#[derive(Debug, Args)]
#[command(after_help = MAN)]
pub struct ManArgs {
    /// Directory for the pages, which is made if it is not there.
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
}

const SCHEMA: &str = "\
Examples:
  qnnsim schema
  qnnsim schema run > run.json

Every JSON document says in its key `schema` which schema it has and of which version, as qnnsim/run/1. A version
changes when a reader of the one before may not find what it reads.";

/// Arguments of `schema`.
#[derive(Debug, Args)]
#[command(after_help = SCHEMA)]
pub struct SchemaArgs {
    /// Which one; without it, all of them are listed.
    #[arg(value_name = "NAME", value_parser = PossibleValuesParser::new(SCHEMAS.iter().map(|entry| entry.name)))]
    pub name: Option<String>,
}
