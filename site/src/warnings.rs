//! What the builder warns of, which would otherwise go to a log that nobody reads.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Runs something, and gives what it warned of.
pub fn during<T>(work: impl FnOnce() -> T) -> (T, Vec<String>) {
    let collected = Arc::default();
    let result = tracing::subscriber::with_default(Collector(Arc::clone(&collected)), work);
    let all = collected.lock().map(|all| all.clone());
    (result, all.unwrap_or_else(|all| all.into_inner().clone()))
}

struct Collector(Arc<Mutex<Vec<String>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let name = field.name();
        let _ = match name {
            "message" => write!(self.0, " {value:?}"),
            _ => write!(self.0, " {name}={value:?}"),
        };
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &Attributes) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event) {
        let mut text = Text(format!("{}:", event.metadata().target()));
        event.record(&mut text);
        self.0.lock().unwrap_or_else(|all| all.into_inner()).push(text.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
