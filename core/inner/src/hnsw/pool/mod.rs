//! The beam of a search without a condition: one sorted array. Every node in it is a result, and a node that fell out of
//! the results is not worth expanding.
//!
//! There are two of one meaning, for wide vectors and for others. Which is quicker was measured for both: the wide one
//! costs a tenth in a browser, where a vector holds two nodes and no smaller of two can be asked for.

#[cfg(any(test, not(target_arch = "x86_64")))]
mod narrow;
#[cfg(any(test, target_arch = "x86_64"))]
mod wide;

#[cfg(not(target_arch = "x86_64"))]
pub(super) use narrow::Pool;
#[cfg(target_arch = "x86_64")]
pub(super) use wide::Pool;

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use fearless_simd::dispatch;

    use super::{narrow, wide};
    use crate::hnsw::beam::{Beam, Met};
    use crate::kernel::tests::levels;
    use crate::metric::Batch;

    /// `SplitMix64`, as levels are drawn.
    fn draw(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = *state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// The nodes kept, ascending, each with whether it was expanded.
    #[derive(Default)]
    struct Model(Vec<(Met, bool)>);

    impl Model {
        fn offer(&mut self, met: Met, ef: usize) {
            self.0.push((met, false));
            self.0.sort_unstable();
            self.0.truncate(ef);
        }

        fn next(&mut self) -> Option<u32> {
            let (met, expanded) = self.0.iter_mut().find(|(_, expanded)| !expanded)?;
            *expanded = true;
            Some(met.offset())
        }
    }

    #[test]
    fn pools_keep_and_expand_what_a_sorted_list_would() {
        keeps_and_expands_what_a_sorted_list_would(narrow::Pool::default(), |pool| pool.results().collect());
        keeps_and_expands_what_a_sorted_list_would(wide::Pool::default(), |pool| pool.results().collect());
    }

    fn keeps_and_expands_what_a_sorted_list_would<B: Beam>(mut pool: B, results: impl Fn(&B) -> Vec<Met>) {
        let levels = levels();
        for ef in (1..=33).chain([64, 100, 257]) {
            for seed in 0..20 {
                let level = levels.get(seed as usize % (levels.len() + 1)).copied();
                let (mut state, mut model) = (ef as u64 * 1_000 + seed, Model::default());
                pool.reset(ef);
                let (mut batch, mut offset) = (Batch::default(), 0);
                while offset < 3 * ef as u32 + 5 {
                    batch.clear();
                    batch.keys.clear();
                    for _ in 0..draw(&mut state) % 20 {
                        let key = (draw(&mut state) % 64) as f32 - 20.0;
                        batch.offsets.push(offset);
                        batch.keys.push(key);
                        model.offer(Met::new(key, offset), ef);
                        offset += 1;
                    }
                    match level {
                        Some(level) => dispatch!(level, simd => pool.offer_all(simd, &batch)),
                        None => batch.scored().for_each(|(key, offset)| pool.offer(Met::new(key, offset))),
                    }
                    if draw(&mut state).is_multiple_of(2) {
                        assert_eq!(pool.next(), model.next(), "ef {ef}, seed {seed}, {offset} offered");
                    }
                }
                let kept: Vec<Met> = model.0.iter().map(|&(met, _)| met).collect();
                assert_eq!(results(&pool), kept, "ef {ef}, seed {seed}");
                loop {
                    let next = pool.next();
                    assert_eq!(next, model.next(), "ef {ef}, seed {seed}");
                    if next.is_none() {
                        break;
                    }
                }
            }
        }
    }
}
