//! Every bound on a space and the work on it, in one place.

/// Most points of a sweep.
pub const POINTS_MAX: u64 = 1 << 20;

/// Most points of a grid that is searched for those that meet the constraints.
pub const GRID_POINTS_MAX: u64 = 1 << 24;

/// Most work that ties and constraints of a space may take: bytes of expressions evaluated, each
/// evaluation with 64 more. Some seconds on two cores.
pub const WORK_BYTES_MAX: u64 = 1 << 29;

/// Most ties and constraints of a space.
pub const EXPRESSIONS_MAX: usize = 1 << 12;

/// Most values of one axis.
pub const AXIS_VALUES_MAX: u64 = 1 << 16;

/// Longest tie or constraint.
pub const EXPRESSION_BYTES_MAX: usize = 1 << 10;
