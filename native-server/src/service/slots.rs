//! The slots in which requests compute: as many as there are cores, given to tenants by turns.
//!
//! A free slot goes to the tenant that has the fewest, among those with equally many to the one that computed least, and
//! within a tenant to who came first. So a tenant that sends one search at a time waits for less than one search of
//! others for each slot, however many they have sent. Time is counted from when a tenant begins to want something, as
//! start-time fair queueing does (Goyal, Vin and Cheng, SIGCOMM 1996): nobody saves it up by being idle.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyperspace_core::types::Tenant;
use tokio::sync::oneshot;

/// All slots.
#[derive(Debug)]
pub(super) struct Slots {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// Of the tenants that have slots or wait for some.
    lines: HashMap<Tenant, Line>,
    /// How much the tenant had computed that got a slot last, counted as below.
    now: Duration,
}

#[derive(Debug)]
struct Line {
    running: usize,
    /// How long it computed, and what others had when it came.
    used: Duration,
    waiting: VecDeque<oneshot::Sender<Slot>>,
}

/// A slot; given to the next when it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    tenant: Tenant,
    since: Instant,
}

impl Slots {
    pub(super) fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { free: count, lines: HashMap::new(), now: Duration::ZERO }) })
    }

    /// Waits for a slot; whoever stops waiting leaves the line.
    pub(super) async fn acquire(self: &Arc<Self>, tenant: &Tenant) -> Slot {
        let (sender, receiver) = oneshot::channel();
        self.lock().line(tenant).waiting.push_back(sender);
        self.hand_out();
        receiver.await.expect("a line keeps whoever waits until there is a slot")
    }

    fn hand_out(self: &Arc<Self>) {
        loop {
            let Some((tenant, receiver)) = self.lock().next() else { return };
            // One that is refused, because nobody waits any more, comes back by being dropped.
            drop(receiver.send(Slot { slots: Arc::clone(self), tenant, since: Instant::now() }));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn line(&mut self, tenant: &Tenant) -> &mut Line {
        let used = self.now;
        self.lines.entry(tenant.clone()).or_insert_with(|| Line { running: 0, used, waiting: VecDeque::new() })
    }

    /// Takes a slot for whoever is next.
    fn next(&mut self) -> Option<(Tenant, oneshot::Sender<Slot>)> {
        if self.free == 0 {
            return None;
        }
        self.lines.retain(|_, line| {
            while line.waiting.pop_front_if(|sender| sender.is_closed()).is_some() {}
            line.running > 0 || !line.waiting.is_empty()
        });
        let waiting = self.lines.iter_mut().filter(|(_, line)| !line.waiting.is_empty());
        let (tenant, line) = waiting.min_by(|(a, one), (b, other)| one.rank().cmp(&other.rank()).then(a.cmp(b)))?;
        let sender = line.waiting.pop_front()?;
        line.running += 1;
        self.free -= 1;
        self.now = self.now.max(line.used);
        Some((tenant.clone(), sender))
    }
}

impl Line {
    const fn rank(&self) -> (usize, Duration) {
        (self.running, self.used)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.slots.lock();
        state.free += 1;
        let line = state.line(&self.tenant);
        line.running -= 1;
        line.used += self.since.elapsed();
        drop(state);
        self.slots.hand_out();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    type Waiting<'a> = Pin<Box<dyn Future<Output = Slot> + Send + 'a>>;

    /// A slot that is free.
    fn free<'a>(slots: &'a Arc<Slots>, tenant: &'a Tenant) -> Slot {
        let mut waiting: Waiting<'a> = Box::pin(slots.acquire(tenant));
        poll(&mut waiting).expect("there is a slot")
    }

    /// One who stands in line.
    fn wait<'a>(slots: &'a Arc<Slots>, tenant: &'a Tenant) -> Waiting<'a> {
        let mut waiting: Waiting<'a> = Box::pin(slots.acquire(tenant));
        assert!(poll(&mut waiting).is_none(), "there is no slot");
        waiting
    }

    fn poll(waiting: &mut Waiting<'_>) -> Option<Slot> {
        match waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(slot) => Some(slot),
            Poll::Pending => None,
        }
    }

    fn tenants() -> [Tenant; 2] {
        ["a", "b"].map(|name| Tenant::verified(name).unwrap())
    }

    #[test]
    fn one_request_does_not_wait_behind_many_of_another_tenant() {
        let ([a, b], slots) = (tenants(), Slots::new(2));
        let running = [free(&slots, &a), free(&slots, &a)];
        let mut storm: Vec<Waiting<'_>> = (0..32).map(|_| wait(&slots, &a)).collect();
        let mut single = wait(&slots, &b);
        let [first, second] = running;
        drop(first);
        let slot = poll(&mut single).expect("the first slot that is free is for who has none");
        assert!(storm.iter_mut().all(|waiting| poll(waiting).is_none()));
        // Its next request stands behind nobody but the one that runs.
        let mut single = wait(&slots, &b);
        drop(slot);
        let slot = poll(&mut single).expect("one slot each");
        drop(second);
        assert!(poll(&mut storm[0]).is_some(), "whom nobody competes with goes on in the order of arrival");
        drop(slot);
    }

    #[test]
    fn those_with_equally_many_slots_get_the_same_time() {
        let ([a, b], slots) = (tenants(), Slots::new(1));
        let slot = free(&slots, &a);
        let mut of_a: VecDeque<Waiting<'_>> = (0..4).map(|_| wait(&slots, &a)).collect();
        let mut of_b: VecDeque<Waiting<'_>> = (0..4).map(|_| wait(&slots, &b)).collect();
        slots.lock().lines.get_mut(&a).unwrap().used += Duration::from_secs(10);
        drop(slot);
        for _ in 0..2 {
            let slot = poll(&mut of_b[0]).expect("who computed less is next");
            of_b.pop_front();
            slots.lock().lines.get_mut(&b).unwrap().used += Duration::from_secs(4);
            drop(slot);
        }
        let slot = poll(&mut of_b[0]).expect("8 s are less than 10");
        slots.lock().lines.get_mut(&b).unwrap().used += Duration::from_secs(4);
        drop(slot);
        assert!(poll(&mut of_a[0]).is_some(), "12 s are more");
    }

    #[test]
    fn who_stops_waiting_leaves_the_line_and_no_slot_is_lost() {
        let ([a, b], slots) = (tenants(), Slots::new(1));
        let slot = free(&slots, &a);
        let given_up = wait(&slots, &a);
        let mut waiting = wait(&slots, &b);
        drop(given_up);
        drop(slot);
        let slot = poll(&mut waiting).expect("the slot is for who still waits");
        // Given, but gone before it was looked at.
        let unseen = wait(&slots, &a);
        drop(slot);
        drop(unseen);
        let state = slots.lock();
        assert_eq!(state.free, 1);
        drop(state);
        drop(free(&slots, &b));
        let mut state = slots.lock();
        assert!(state.next().is_none() && state.lines.is_empty(), "nobody is remembered for ever");
    }
}
