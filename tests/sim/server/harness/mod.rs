//! What the simulations of the server and the tests beside its code have in common: a disk in memory, writers that know
//! what they wrote, small databases. `native-server/tests/server` includes this folder by its path.

pub(crate) mod lanes;
pub(crate) mod self_search;
pub(crate) mod sim;
pub(crate) mod support;
