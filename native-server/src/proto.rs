//! The public wire contract, generated from `proto/hyperspace/v1`: messages, clients and server traits.

#![allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated; the .proto files are the documentation")]

tonic::include_proto!("hyperspace.v1");

/// The contract as a set of file descriptors, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
