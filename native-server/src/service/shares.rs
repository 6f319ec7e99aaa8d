//! Bounded places that tenants share, so that none of them can take all.
//!
//! Invariant: a tenant gets a place only while it holds fewer than are free (dynamic thresholds, Choudhury and Hahne, IEEE/ACM
//! Transactions on Networking 6, 1998). Alone it may have half of all; k who want as much as they can get have one part of
//! k + 1 each, and as much stays free for the next one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyperspace_core::types::Tenant;

/// The places.
#[derive(Debug)]
pub(super) struct Shares {
    places: Mutex<Places>,
}

#[derive(Debug)]
struct Places {
    free: usize,
    /// Of those who hold any.
    held: HashMap<Tenant, usize>,
}

/// A tenant's place; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    shares: Arc<Shares>,
    tenant: Tenant,
}

impl Shares {
    pub(super) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { places: Mutex::new(Places { free: places, held: HashMap::new() }) })
    }

    /// A place for the tenant, unless it has its share already.
    pub(super) fn take(self: &Arc<Self>, tenant: &Tenant) -> Option<Share> {
        let mut places = self.lock();
        let held = places.held.get(tenant).copied().unwrap_or(0);
        if held >= places.free {
            return None;
        }
        places.free -= 1;
        places.held.insert(tenant.clone(), held + 1);
        Some(Share { shares: Arc::clone(self), tenant: tenant.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Whose it is.
    pub(super) const fn tenant(&self) -> &Tenant {
        &self.tenant
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut places = self.shares.lock();
        places.free += 1;
        if let Some(held) = places.held.get_mut(&self.tenant) {
            *held -= 1;
            if *held == 0 {
                places.held.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::iter::from_fn;

    fn tenant(name: &str) -> Tenant {
        Tenant::verified(name).unwrap()
    }

    fn all_of(shares: &Arc<Shares>, tenant: &Tenant) -> Vec<Share> {
        from_fn(|| shares.take(tenant)).collect()
    }

    #[test]
    fn one_may_have_half_and_the_next_half_of_the_rest() {
        let shares = Shares::new(100);
        let held: Vec<Vec<Share>> = ["a", "b", "c"].map(|name| all_of(&shares, &tenant(name))).into();
        assert_eq!(held.iter().map(Vec::len).collect::<Vec<_>>(), [50, 25, 13]);
        drop(held);
        assert_eq!(all_of(&shares, &tenant("a")).len(), 50, "all came back");
        assert!(shares.lock().held.is_empty(), "and nobody is remembered");
    }

    #[test]
    fn however_many_take_what_they_can_a_newcomer_finds_a_place() {
        let shares = Shares::new(100);
        let names: Vec<Tenant> = (0..9).map(|number| tenant(&format!("t{number}"))).collect();
        let mut held: Vec<Vec<Share>> = names.iter().map(|name| all_of(&shares, name)).collect();
        // Each gives one back and takes what it gets, again and again: shares become equal.
        for _ in 0..100 {
            for (name, held) in names.iter().zip(&mut held) {
                held.pop();
                held.extend(from_fn(|| shares.take(name)));
            }
        }
        let counts: Vec<usize> = held.iter().map(Vec::len).collect();
        assert!(counts.iter().all(|count| (9..=11).contains(count)), "{counts:?}");
        assert!(all_of(&shares, &tenant("new")).len() >= 4);
    }
}
