//! What commands run: a program file, or a model that is compiled on the way.

use std::path::Path;

use qnnsim_compiler::diagnostic::Diagnostic;
use qnnsim_compiler::import::{Import, ImportOptions, import};
use qnnsim_compiler::input::InputFormat;
use qnnsim_explore::subject::Subject;
use qnnsim_isa::hardware::Overrides;

use crate::args::ImportArgs;
use crate::chatter::{Task, warn};
use crate::failure::Failure;
use crate::files;
use crate::limits::INPUT_BYTES_MAX;

/// Reads a program file, or a model: a file whose name ends with `.onnx`.
///
/// # Errors
/// It cannot be read or is neither.
pub fn read(path: &Path, args: &ImportArgs, point: &Overrides) -> Result<Subject, Failure> {
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx")) {
        let import = read_model(path, args)?;
        return Ok(Subject::Network(Box::new(import.network), point.clone()));
    }
    let given = [
        ("--pixel-scale", !args.pixel_scale.is_empty()),
        ("--pixel-offset", !args.pixel_offset.is_empty()),
        ("--input-type", args.input_type.is_some()),
        ("--classes", !args.classes.is_empty()),
        ("--unsigned-1bit-relu", args.unsigned_1bit_relu),
    ];
    let program = files::read_program(path)?;
    if let Some((flag, _)) = given.into_iter().find(|flag| flag.1) {
        let message = format_args!(
            "{flag} is for a model, but `{}` is a program, compiled already",
            path.display()
        );
        return Err(Failure::misuse(message)
            .help("give it to `qnnsim compile`, or give the model, MODEL.onnx"));
    }
    Ok(Subject::of_program(program, point))
}

/// Reads a model, and tells what may not be meant.
///
/// # Errors
/// It cannot be read, or not be compiled for any hardware point.
pub fn read_model(path: &Path, args: &ImportArgs) -> Result<Import, Failure> {
    let (model, options) = read_options(path, args)?;
    import_model(path, &model, &options)
}

/// Imports a model that was read, and tells what may not be meant.
///
/// # Errors
/// It cannot be compiled for any hardware point.
pub fn import_model(path: &Path, model: &[u8], options: &ImportOptions) -> Result<Import, Failure> {
    let reading = Task::new(format!("reading `{}`", path.display()));
    let mut imported = import(model, options).map_err(|all| refuse(path, &all))?;
    drop(reading);
    // Exporters call every graph alike; a user knows a model by its file.
    if files::is_standard(path) {
        imported.network.name = "model".into();
    } else if let Some(stem) = path.file_stem() {
        imported.network.name = stem.to_string_lossy().into_owned();
    }
    imported.warnings.iter().for_each(warn);
    Ok(imported)
}

/// The bytes of a model, and what its file does not say.
///
/// # Errors
/// The file cannot be read.
pub fn read_options(path: &Path, args: &ImportArgs) -> Result<(Vec<u8>, ImportOptions), Failure> {
    let model = files::read(path, INPUT_BYTES_MAX)?;
    let options = ImportOptions {
        unsigned_1bit_relu: args.unsigned_1bit_relu,
        pixel_scale: or_one(&args.pixel_scale, 1.0),
        pixel_offset: or_one(&args.pixel_offset, 0.0),
        input: args.input_type.map(|integers| InputFormat {
            integers,
            scale: args.input_scale.unwrap_or(1.0),
            zero_point: args.input_zero_point.unwrap_or(0.0),
        }),
        classes: args.classes.clone(),
    };
    Ok((model, options))
}

/// A list, or one number where there is none.
fn or_one(list: &[f64], default: f64) -> Vec<f64> {
    if list.is_empty() { vec![default] } else { list.to_vec() }
}

fn refuse(path: &Path, all: &[Diagnostic]) -> Failure {
    Failure::all(all.iter().map(|diagnostic| format!("`{}`: {diagnostic}", path.display())))
}
