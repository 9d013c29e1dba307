//! Places in DRAM for what the text gives no address.

use qnnsim_diagnostic::{Diagnostic, Span};

use crate::Parsed;

/// Every region without an address of its own begins at a multiple of this.
pub const ALIGNMENT_BYTES: u64 = 64;

/// Bytes that a DRAM address reaches.
const DRAM_BYTES: u64 = 1 << 32;

/// A region that wants a place.
#[derive(Debug, Clone)]
pub(crate) struct Region {
    /// How messages call it.
    pub name: String,
    /// The address that the text gives.
    pub address: Option<u32>,
    pub bytes: u64,
    /// Where it is written.
    pub span: Span,
}

/// Gives every region its address: those without one follow each other in the given order and step
/// over those that have one.
///
/// # Errors
/// Regions that overlap or that DRAM has no room for, one mistake each.
pub(crate) fn place(regions: &[Region]) -> Result<Vec<u32>, Vec<Diagnostic>> {
    let mut fixed: Vec<(u64, u64)> = regions
        .iter()
        .filter(|r| r.bytes > 0)
        .filter_map(|r| Some((r.address?.into(), r.bytes)))
        .collect();
    fixed.sort_unstable();
    let mut fixed = fixed.into_iter().peekable();
    let mut mistakes = Vec::new();
    let mut next = 0u64;
    let mut places = Vec::new();
    for region in regions {
        let address = match region.address {
            Some(address) => address.into(),
            None => {
                let mut start = next.next_multiple_of(ALIGNMENT_BYTES);
                // Regions are visited in the order of addresses, and `start` only grows: no fixed
                // region comes twice.
                while let Some((_, end)) = fixed
                    .next_if(|&(address, _)| address < start + region.bytes)
                    .map(|(address, bytes)| (address, address + bytes))
                {
                    start = start.max(end.next_multiple_of(ALIGNMENT_BYTES));
                }
                next = start + region.bytes;
                start
            }
        };
        match fits(region, address) {
            Ok(address) => places.push(address),
            Err(mistake) => {
                mistakes.push(mistake);
                places.push(0);
            }
        }
    }
    if mistakes.is_empty() {
        mistakes = overlaps(regions, &places);
    }
    if mistakes.is_empty() { Ok(places) } else { Err(mistakes) }
}

fn fits(region: &Region, address: u64) -> Parsed<u32> {
    let message = || {
        Diagnostic::in_text(region.span.clone(), format!("no room for {} in DRAM", region.name))
            .label(format!("{} bytes at {address:#x}", region.bytes))
            .cause("DRAM has 4 GiB")
    };
    let end = address.checked_add(region.bytes).filter(|&end| end <= DRAM_BYTES);
    end.and_then(|_| u32::try_from(address).ok()).ok_or_else(message)
}

fn overlaps(regions: &[Region], places: &[u32]) -> Vec<Diagnostic> {
    let mut all: Vec<(u64, &Region)> =
        places.iter().map(|&a| u64::from(a)).zip(regions).filter(|(_, r)| r.bytes > 0).collect();
    all.sort_by_key(|(address, _)| *address);
    all.windows(2)
        .filter_map(|pair| {
            let [(first, one), (second, other)] = pair else { return None };
            let end = first + one.bytes;
            (end > *second).then(|| {
                Diagnostic::in_text(
                    other.span.clone(),
                    format!("{} and {} overlap in DRAM", one.name, other.name),
                )
                .label(format!("begins at {second:#x}"))
                .related(one.span.clone(), format!("ends at {end:#x}"))
                .cause("a region without an address gets a free one")
            })
        })
        .collect()
}
