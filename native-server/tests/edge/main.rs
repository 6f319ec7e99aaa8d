//! The server's edge and the two programs from outside: over gRPC, gRPC-web and HTTP, against the real database.
//!
//! A test has a server of its own on a free port and a folder of its own, in this process where it can and as a process
//! where the process is what is tested. What is expected comes from plain models and from the documents, not from the code.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]
#![allow(clippy::type_complexity, reason = "tables of cases read best where they are used")]

mod admin;
mod archives;
mod collections;
mod commands;
mod dashboard;
mod enumeration;
mod followers;
mod full_disk;
mod hostile;
mod http;
mod imports;
mod keys;
mod lifecycle;
mod points;
mod programs;
mod scrolls;
mod searches;
mod segments;
mod standard;
mod support;
mod sync;
mod tenants;
mod tls;
mod tokens;
mod web;
