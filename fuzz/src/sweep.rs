//! What a sweep leaves in its folder: a journal, and a manifest with its rows.

use arbitrary::{Arbitrary, Result, Unstructured};
use qnnsim_explore::evaluate::Outcome;
use qnnsim_explore::journal::{self, Journal};
use qnnsim_explore::manifest::Manifest;
use qnnsim_explore::merge::merge;
use qnnsim_explore::table::Table;
use qnnsim_simulator::energy::Events;
use qnnsim_simulator::report::{ColdWarm, Cost};

use crate::message;

/// Bytes as a journal: lines that are sealed, so that what is in them is read, if they are text;
/// else outcomes that are written, and damage.
pub fn journal(data: &[u8]) {
    if data.first().is_some_and(|byte| byte.is_ascii_graphic()) {
        let mut sealed = Vec::new();
        for line in data.split(|&byte| byte == b'\n') {
            sealed.extend(format!("{:08x} ", crc32fast::hash(line)).bytes());
            sealed.extend(line);
            sealed.push(b'\n');
        }
        again(&Journal::read(&sealed));
    } else if let Ok((lines, damaged)) = drawn(&mut Unstructured::new(data)) {
        let whole = Journal::read(lines.concat().as_bytes());
        assert!(whole.damaged == 0 && whole.bytes == lines.concat().len());
        let read = Journal::read(&damaged);
        // What is not whole is dropped, and nothing else is said than was.
        for (group, outcome) in &read.outcomes {
            let line = journal::line(*group, outcome);
            assert!(lines.contains(&line), "{line}");
        }
        again(&read);
    }
}

/// A journal that is written is read back.
fn again(read: &Journal) {
    let mut written = journal::head(read.id.as_deref().unwrap_or("")).into_bytes();
    for (group, outcome) in &read.outcomes {
        written.extend(journal::line(*group, outcome).bytes());
    }
    let back = Journal::read(&written);
    assert!(back.damaged == 0 && back.outcomes == read.outcomes, "a journal that was written");
}

/// Lines of a journal, and their bytes with some bits turned and the end cut off.
fn drawn(bytes: &mut Unstructured) -> Result<(Vec<String>, Vec<u8>)> {
    let mut lines = vec![journal::head(&String::arbitrary(bytes)?)];
    for _ in 0..bytes.int_in_range(0..=4)? {
        let group = usize::arbitrary(bytes)?;
        let outcome = match bytes.int_in_range(0..=2u8)? {
            0 => Outcome::Trap(String::arbitrary(bytes)?),
            1 => Outcome::Unfit(String::arbitrary(bytes)?),
            _ => {
                let cycles =
                    ColdWarm { cold: u64::arbitrary(bytes)?, warm: u64::arbitrary(bytes)? };
                let mut events = || -> Result<Events> {
                    let counts: Result<Vec<u64>> =
                        Events::NAMES.iter().map(|_| u64::arbitrary(bytes)).collect();
                    Ok(Events::from_counts(&counts?).expect("a count for each name"))
                };
                let events = ColdWarm { cold: events()?, warm: events()? };
                Outcome::Exact(Cost { cycles, events })
            }
        };
        lines.push(journal::line(group, &outcome));
    }
    let mut damaged = lines.concat().into_bytes();
    for _ in 0..bytes.int_in_range(0..=4)? {
        let bit = bytes.choose_index(8 * damaged.len())?;
        damaged[bit / 8] ^= 1 << (bit % 8);
    }
    damaged.truncate(bytes.int_in_range(0..=damaged.len())?);
    Ok((lines, damaged))
}

/// Text as a manifest in one line, and the rows of its table in the others.
pub fn manifest(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (line, rows) = text.split_once('\n').unwrap_or((text, ""));
    let manifest: Manifest = match serde_json::from_str(line) {
        Ok(manifest) => manifest,
        Err(error) => return message(error),
    };
    let json = serde_json::to_string(&manifest).expect("plain data");
    let back: Manifest = serde_json::from_str(&json).expect("what was written is read");
    assert!(back == manifest, "{json}");
    match Table::from_json_lines(&manifest.columns, rows) {
        Ok(table) => {
            let written = table.to_json_lines();
            assert_eq!(Table::from_json_lines(&manifest.columns, &written).as_ref(), Ok(&table));
            match merge(vec![("part".into(), manifest, table)]) {
                Ok((table, manifest)) => assert_eq!(table.rows.len() as u64, manifest.points),
                Err(why) => message(why),
            }
        }
        Err(why) => message(why),
    }
}
