//! The name that was probably meant, for messages.

/// Longest text that is compared: comparing takes time in the square of the length, and no longer
/// text is near to a name.
const BYTES_MAX: usize = 64;

/// The known name nearest to what was written, if its Jaro-Winkler similarity is above `least`.
pub fn nearest<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
    least: f64,
) -> Option<&'a str> {
    if written.len() > BYTES_MAX {
        return None;
    }
    let similarity = |name: &'a str| (strsim::jaro_winkler(name, written), name);
    let best = known.into_iter().map(similarity).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > least).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_name_is_suggested_if_it_is_near() {
        let known = ["rows", "cols"];
        assert_eq!(nearest("row", known, 0.8), Some("rows"));
        assert_eq!(nearest("bytes", known, 0.8), None);
        assert_eq!(nearest(&"rows".repeat(1 << 20), known, 0.0), None);
    }
}
