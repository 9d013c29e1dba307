//! The front of a few hardware points for a trained network: `cargo run --example front`.

use qnnsim_api::sweep::{Shard, Space, Value, sweep};
use qnnsim_api::{Error, Model, ModelOptions, Progress};

fn main() -> Result<(), Error> {
    let file = include_bytes!("../../programs/tcv_w1a1.onnx");
    let model = Model::from_onnx("tcv_w1a1", file, &ModelOptions::default())?;
    let space = Space::from_ron(
        r#"(
            models: [(file: "tcv_w1a1.onnx")],
            axes: { "mac.rows": List([8, 16]), "mac.cols": List([8, 16, 32]) },
        )"#,
    )?;
    let objectives = ["energy_pj".to_owned(), "cycles".to_owned()];
    let swept = sweep(&[model], &space, &objectives, Shard::WHOLE, false, &Progress::default())?;
    let place = |name: &str| swept.table.columns.iter().position(|column| column.name == name);
    let columns = ["mac.rows", "mac.cols", "cycles", "energy_pj"].map(place);
    let on_front = place("pareto").expect("a column of every table");
    for row in swept.table.rows.iter().filter(|row| row[on_front] == Value::Flag(true)) {
        let values = columns.map(|at| at.and_then(|at| row[at].number()).unwrap_or_default());
        println!("{} x {}: {} cycles, {:.0} pJ", values[0], values[1], values[2], values[3]);
    }
    Ok(())
}
