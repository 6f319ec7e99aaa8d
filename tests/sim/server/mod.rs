//! The server's host on a disk in memory.

mod crash;
mod durability;
#[allow(dead_code, reason = "the tests beside the server's code use the rest")]
mod harness;
mod histories;
