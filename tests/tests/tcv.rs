//! TCV in W1A1 from the trained model to the golden integers.

use qnnsim_compiler::import::ImportOptions;
use qnnsim_isa::HardwarePoint;
use qnnsim_simulator::{Simulation, Start};

#[test]
fn first() {
    let model = std::fs::read("../programs/tcv_w1a1.onnx").unwrap();
    let options = ImportOptions { pixel_offset: -128.0, ..Default::default() };
    let t = std::time::Instant::now();
    let compiled = qnnsim_compiler::compile(&model, &HardwarePoint::default(), &options).unwrap_or_else(|e| {
        for d in e {
            println!("{d}");
        }
        panic!()
    });
    println!("compile {:?}", t.elapsed());
    println!("{}", compiled.plan);
    let program = compiled.program.clone();
    println!("cold {} warm {}", program.cold.words.len(), program.warm.words.len());
    let t = std::time::Instant::now();
    let sim = Simulation::new(program.clone()).unwrap_or_else(|t| panic!("{}", t.describe(&program)));
    println!("load {:?}", t.elapsed());
    println!("cold {:?}\nwarm {:?}", sim.timing(Start::Cold), sim.timing(Start::Warm));
    let mut ex = sim.executor();
    let mut out = Vec::new();
    let shared = std::env::var("QNNSIM_SHARED").unwrap();
    let mut raw = Vec::new();
    use std::io::Read;
    flate2::read::GzDecoder::new(std::fs::File::open(format!("{shared}/mnist/t10k-images-idx3-ubyte.gz")).unwrap())
        .read_to_end(&mut raw)
        .unwrap();
    let golden = std::fs::read(format!("{shared}/models/tcv_w1a1.t10k_int_logits.npy")).unwrap();
    let golden: Vec<i32> =
        golden[golden.len() - 400000..].chunks(4).map(|b| i32::from_le_bytes(b.try_into().unwrap())).collect();
    let t = std::time::Instant::now();
    let mut bad = 0;
    for i in 0..10000 {
        ex.run(&raw[16 + 784 * i..][..784], &mut out);
        let g = &golden[10 * i..][..10];
        if out.iter().zip(g).any(|(a, b)| *a != i64::from(*b)) {
            if bad < 3 {
                println!("{i}: {out:?} {g:?}");
            }
            bad += 1;
        }
    }
    println!("bad {bad} in {:?}", t.elapsed());
    assert_eq!(bad, 0);
}
