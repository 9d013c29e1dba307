//! The search of a grid against the same space looked at point by point.

use proptest::prelude::*;
use qnnsim_explore::space::{Setting, Space};
use qnnsim_isa::hardware::Overrides;

/// Ties and constraints that hold on parts of the axes; some have no value at some points, some
/// read what follows from other parameters.
const TIED: [&str; 3] = ["mac.cols / 2", "mac.rows * dram.burst", "mac.cols"];
const CONSTRAINTS: [&str; 8] = [
    "mac.rows > 2",
    "mac.rows * mac.cols <= 24",
    "dram.latency != 20",
    "mac.cols % mac.rows == 0",
    "thr.cols < 4",
    "act.words > 8",
    "mac.rows * dram.latency > 40 || mac.cols == 4",
    "technology == \"45nm\"",
];

const AXES: [&str; 4] = [
    "\"mac.rows\": Range(from: 1, to: 5)",
    "\"mac.cols\": List([2, 4, 8])",
    "\"dram.latency\": List([10, 20])",
    "\"technology\": List([\"45nm\", \"22nm\"])",
];

proptest! {
    #[test]
    fn a_search_finds_what_meets_all_constraints(
        axes in prop::sample::subsequence(&AXES[..], 1..=4).prop_shuffle(),
        tie in prop::option::of(prop::sample::select(&TIED[..])),
        constraints in prop::collection::vec(prop::sample::select(&CONSTRAINTS[..]), 0..4),
    ) {
        let tied = tie.map_or(String::new(), |tie| format!("\"act.words\": \"{tie}\""));
        let constraints: String =
            constraints.iter().map(|text| format!("{},", serde_json::json!(text))).collect();
        let text = |constraints: &str| format!(
            "(models: [(file: \"a.onnx\"), (file: \"b.onnx\")], axes: {{ {} }}, \
             tied: {{ {tied} }}, constraints: [{constraints}])",
            axes.join(", ")
        );
        let space = Space::from_ron(&text(&constraints)).unwrap();
        let below = [Overrides::default(), Overrides::default()];
        // Every combination of values, the source slowest and the last axis fastest.
        let all = &space.axes.0;
        let grid = space.grid_points().unwrap();
        let expected: Vec<_> = (0..grid).filter_map(|index| {
            let (mut change, mut rest) = (Overrides::default(), index);
            for (key, axis) in all.iter().rev() {
                let values = axis.values();
                match &values[(rest % values.len() as u64) as usize] {
                    Setting::Number(n) => change.set_number(key, *n).unwrap(),
                    Setting::Name(name) => change.technology = Some(name.clone()),
                }
                rest /= values.len() as u64;
            }
            space.point_with(index, rest as usize, &below[0], &change).ok()
        }).collect();
        match space.points(&below) {
            Ok(points) => prop_assert_eq!(points, expected),
            Err(error) => {
                prop_assert!(expected.is_empty());
                prop_assert!(error.to_string().contains("none of the"), "{}", error);
            }
        }
    }
}
