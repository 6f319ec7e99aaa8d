//! Histories of replicas and leaders, against what must hold of them.
//!
//! A [`world::World`] carries out operations ([`op::Op`]) with the state machines, and says at the end what is wrong. The
//! operations are drawn ([`random`]) or were found elsewhere to be hard ([`recorded`]). That the histories can fail is shown
//! by switching the rules off one by one ([`ablation`]); what they hardly reach has a test of its own ([`directed`]).

mod ablation;
mod check;
mod directed;
mod op;
mod random;
mod recorded;
mod world;
