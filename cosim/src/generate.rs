//! Random programs that are legal and free of races by construction, on random hardware points.
