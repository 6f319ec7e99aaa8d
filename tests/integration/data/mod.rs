//! Real vectors with exact ground truth: recall, distances, filters, self-hits, reachability.

mod npy;
mod sets;
mod truth;
