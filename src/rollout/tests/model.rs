//! A second opinion on replica arithmetic, weights and the order of steps: a specification written as "look at every
//! possibility, drop what is not permitted, take the best", and compared with the planner over exhaustive small ranges.
//!
//! `TIDEGATE_EXHAUSTIVE=1` takes the full ranges, which is what `tests/soak` does; otherwise every n-th case is taken.

mod moves;
mod pairs;
mod steps;

/// Every case, or every `stride`-th.
fn taken(case: usize, stride: usize) -> bool {
    std::env::var_os("TIDEGATE_EXHAUSTIVE").is_some() || case.is_multiple_of(stride)
}
