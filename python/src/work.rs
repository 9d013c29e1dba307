//! Long work: without Python's lock, with progress, stopped by Ctrl-C.

use std::ffi::OsString;
use std::process;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use qnnsim_api::{Error, Progress};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::errors::exception;

/// How often progress is shown and Ctrl-C is looked for.
const TICK: Duration = Duration::from_millis(50);

/// As much as a main thread has: the importer follows a graph into its depth.
const STACK_BYTES: usize = 8 << 20;

/// The threads of this process. A child that was forked has none of its parent's threads.
fn pool() -> PyResult<Arc<ThreadPool>> {
    static POOL: Mutex<Option<(u32, Arc<ThreadPool>)>> = Mutex::new(None);
    let mut pool = POOL.lock().expect("no thread panics while it holds this");
    match &*pool {
        Some((id, pool)) if *id == process::id() => Ok(pool.clone()),
        _ => {
            let built = ThreadPoolBuilder::new().stack_size(STACK_BYTES).build();
            let built = built.map_err(|error| {
                PyRuntimeError::new_err(format!("cannot start threads: {error}"))
            })?;
            let built = Arc::new(built);
            // The threads of a parent cannot be joined, so its pool is never dropped.
            std::mem::forget(pool.replace((process::id(), built.clone())));
            Ok(built)
        }
    }
}

/// Runs `work` on other threads. `watch`, if not None, is called as `watch(done, total)` while it
/// runs and once at its end. Ctrl-C, or an exception of `watch`, stops the work; what cannot stop
/// ends on its own, and nobody hears of it.
pub fn run<T: Send + 'static>(
    py: Python<'_>,
    watch: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(&Progress) -> Result<T, Error> + Send + 'static,
) -> PyResult<T> {
    let (pool, progress) = (pool()?, Arc::new(Progress::default()));
    let (sender, receiver) = mpsc::channel();
    let receiver = Mutex::new(receiver);
    let worker = progress.clone();
    let job = move || {
        // Nobody may be waiting any more.
        let _ = sender.send(pool.install(|| work(&worker)));
    };
    let started = thread::Builder::new().stack_size(STACK_BYTES).spawn(job);
    started.map_err(|error| PyRuntimeError::new_err(format!("cannot start a thread: {error}")))?;
    let show = || match watch {
        Some(watch) => watch.call1((progress.done(), progress.total())).map(drop),
        None => Ok(()),
    };
    loop {
        let wait = || receiver.lock().expect("this thread alone takes it").recv_timeout(TICK);
        match py.detach(wait) {
            Ok(result) => {
                show()?;
                return result.map_err(exception);
            }
            Err(RecvTimeoutError::Timeout) => {
                if let Err(stop) = py.check_signals().and_then(|()| show()) {
                    progress.stop();
                    return Err(stop);
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(PyRuntimeError::new_err(
                    "qnnsim panicked, which is a fault of its own; the message is on the standard \
                     error",
                ));
            }
        }
    }
}

/// Runs the command line with these arguments, of which the first is the program's name, and
/// returns its exit code. What cannot be parsed ends the process.
#[pyfunction]
pub fn command(py: Python<'_>, args: Vec<OsString>) -> u8 {
    py.detach(|| qnnsim::run(args))
}
