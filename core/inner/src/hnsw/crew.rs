//! The hands that a host lends to a build.

/// Those who build a graph. What they build depends on [`Crew::BATCH`], and not on how many they are.
pub trait Crew {
    /// So many nodes at most are searched in the same graph before their links are written. Of more than one the search
    /// of each misses the others, whose distances are computed instead.
    const BATCH: u32;

    /// How many can work at once; at least 1.
    fn hands(&self) -> usize;

    /// Does the work with each of the items, at once or in any order, and returns when all is done.
    fn each<T: Send>(&self, items: &mut [T], work: impl Fn(&mut T) + Sync);
}

/// The calling thread, which goes node by node: nothing would be gained by waiting with the links.
#[derive(Clone, Copy, Debug)]
pub struct Alone;

impl Crew for Alone {
    const BATCH: u32 = 1;

    fn hands(&self) -> usize {
        1
    }

    fn each<T: Send>(&self, items: &mut [T], work: impl Fn(&mut T) + Sync) {
        items.iter_mut().for_each(work);
    }
}
