//! A directory to work in, the binary, and small programs and files to give it.
#![allow(dead_code)] // Each test file is a crate of its own and uses its part.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Out[x][c] = in[x] x w[c] with w = 1, -1, -2, 0, for four pixels, written by hand: a map of four
/// channels, so without a class.
pub const MAP: &str = r#"
.program "products"
.hardware (mac: (rows: 4, cols: 4, lanes: 8), technology: "45nm")
.const PIXELS 4
.const PLANES 16
.semaphore rows    0
.semaphore weights 1
.semaphore free    2
.semaphore full    3
.semaphore map     4
.input  (shape: (channels: 1, height: 1, width: 4))
.output (shape: (channels: 4, height: 1, width: 4), code: (bits: 16, signed: true))
.layer scale (summary: "1x1 convolution, 1 -> 4 channels", macs: 16, precision: (8, 2))
.cold
.layer scale
  cfg ld.src dram=weights bytes=8
  cfg ld.dst memory=wgt span=4
  ld post=weights
  sync mac wait=weights
.code
.layer scale
  cfg ld.src dram=INPUT bytes=PIXELS
  cfg ld.dst memory=pack
  cfg ld.row width=PIXELS windows=PIXELS
  cfg ld.map pitch=PIXELS block=1
  ld post=rows
  sync thr x2 post=free
  cfg mac.shape a=8 byte w=2 kind=signed tail=8
  cfg mac.act block=1 pitch=PIXELS out=1x(PIXELS)
  cfg mac.wgt plane=1 last=4
  cfg mac.ytap t0=0+0:[0,0]
  cfg mac.xtap t0=0+0:[0,PIXELS-1]
  sync mac wait=rows
  mac wait=free post=full
  cfg thr.mode kind=raw bits=PLANES
  cfg thr.table last=4 pitch=PIXELS out=1x(PIXELS)
  cfg pool.dst base=1 block=PLANES plane=1 pitch=PIXELS
  thr wait=full post=free
  sync thr post=map
  cfg st.map base=1 words=PLANES block=PLANES dram=OUTPUT pitch=PLANES
  sync st wait=map
  st x(PIXELS)
  halt
.data weights
  .word 0x00, 0xff, 0xff, 0x00
  .word 0xff, 0xff, 0x00, 0x00
"#;

/// The same for one pixel p: a vector of p / 2, -p / 2, -p, 10, so a class; with a sample of p = 6.
pub fn vector() -> String {
    MAP.replace("PIXELS 4", "PIXELS 1").replace("width: 4", "width: 1").replace(
        "signed: true)",
        "signed: true), ops: [Mul([0.5]), Add([0, 0, 0, 10])], classes: [\"a\", \"b\", \"c\", \"d\"]",
    ) + ".sample\n  .u8 6\n"
}

/// A directory of its own for a test.
pub struct Bench {
    directory: TempDir,
}

impl Bench {
    pub fn new() -> Self {
        Bench { directory: TempDir::new().expect("a temporary directory") }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).expect("a writable directory");
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).expect("a file")
    }

    /// Names of all files, hidden ones too.
    pub fn files(&self) -> Vec<String> {
        let name = |entry: std::io::Result<fs::DirEntry>| {
            entry.expect("an entry").file_name().into_string().expect("UTF-8")
        };
        let mut names: Vec<String> =
            fs::read_dir(self.directory.path()).expect("a directory").map(name).collect();
        names.sort();
        names
    }

    pub fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qnnsim"));
        command.current_dir(self.directory.path()).args(words.split_whitespace());
        command
    }

    /// Runs the command line; the words are separated by blanks.
    pub fn run(&self, words: &str) -> Outcome {
        Outcome::of(self.command(words).output().expect("the binary starts"))
    }

    /// Runs the command line with a standard input. The command may end before it has read
    /// everything.
    pub fn fed(&self, words: &str, input: impl AsRef<[u8]>) -> Output {
        let mut command = self.command(words);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let mut pipe = child.stdin.take().expect("a pipe");
        let input = input.as_ref().to_vec();
        let writer = std::thread::spawn(move || pipe.write_all(&input));
        let output = child.wait_with_output().expect("it ends");
        let _ = writer.join().expect("no panic");
        output
    }

    /// Runs what must succeed, and gives its standard output.
    pub fn ok(&self, words: &str) -> String {
        let outcome = self.run(words);
        assert_eq!(outcome.code, 0, "{words}: {}", outcome.err);
        outcome.out
    }

    /// Runs what must be refused with exit code 2, and gives its standard error.
    pub fn misuse(&self, words: &str) -> String {
        let outcome = self.run(words);
        assert_eq!((outcome.code, &outcome.out[..]), (2, ""), "{words}: {}", outcome.err);
        outcome.err
    }

    /// Runs what must succeed and print JSON.
    pub fn json(&self, words: &str) -> serde_json::Value {
        let text = self.ok(words);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words}: {error}: {text}"))
    }

    /// Assembles a program.
    pub fn program(&self, name: &str, source: &str) {
        self.write("source.qnn", source);
        self.ok(&format!("asm source.qnn -o {name}"));
    }
}

/// What a run printed and its exit code.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Outcome {
    /// Of a command that has ended.
    pub fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        let code = output.status.code().expect("no signal");
        Outcome { code, out: text(output.stdout), err: text(output.stderr) }
    }
}

/// An IDX file of bytes.
pub fn idx(dims: &[u32], bytes: &[u8]) -> Vec<u8> {
    let sizes = dims.iter().flat_map(|size| size.to_be_bytes());
    [0, 0, 8, dims.len() as u8].into_iter().chain(sizes).chain(bytes.iter().copied()).collect()
}

/// Something of the project that lies beside the crate.
pub fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// An npy file of a header and the bytes behind it.
pub fn npy(header: &str, numbers: &[u8]) -> Vec<u8> {
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), numbers]
        .concat()
}
