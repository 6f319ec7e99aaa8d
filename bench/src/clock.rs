//! CPU time: what a search costs whoever else uses the machine.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// What a piece of work returned, and the CPU nanoseconds that this process took for it, all threads together.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let began = cpu_time();
    let result = work();
    (result, cpu_time().saturating_sub(began).as_nanos() as u64)
}

fn cpu_time() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().expect("CPU time is not negative")
}
