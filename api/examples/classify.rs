//! A model's bytes to class, cycles and energy: `cargo run --example classify`.

use qnnsim_api::{Error, Inputs, Model, ModelOptions, Overrides, Progress, Session};

fn main() -> Result<(), Error> {
    let file = include_bytes!("../../programs/tcv_w1a1.onnx");
    // TCV was trained on pixel - 128.
    let options = ModelOptions { pixel_offset: vec![-128.0], ..ModelOptions::default() };
    let model = Model::from_onnx("tcv_w1a1", file, &options)?;
    let session = Session::compile(&model, &Overrides::default())?;
    // A white bar on black: a 1.
    let image = (0..28 * 28).map(|i| if (13..16).contains(&(i % 28)) { 255 } else { 0 }).collect();
    let inputs = Inputs::pixels(&session, &[28, 28], image)?;
    let outputs = session.predict(&inputs, &Progress::default())?;
    let report = session.report(None, None)?;
    println!("class {:?}", outputs.class(0));
    println!("{} cycles, {:.0} pJ a warm image", report.cycles.warm, report.energy_pj.warm);
    Ok(())
}
