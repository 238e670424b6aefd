//! The composition root: named tasks, start, recovery, drain.
