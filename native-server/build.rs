//! Turns the public wire contract into Rust: parsed by protox, so that nobody needs a protoc.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use protox::prost::Message as _;

const FILES: [&str; 5] = ["types", "collections", "points", "admin", "sync"];

fn main() -> Result<(), Box<dyn Error>> {
    let files: Vec<String> = FILES.iter().map(|name| format!("proto/hyperspace/v1/{name}.proto")).collect();
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(&files, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    // Rows of vectors are handed on as they came, without a copy.
    tonic_prost_build::configure().bytes(".hyperspace.v1.Vectors").compile_fds(descriptors)?;
    Ok(())
}
