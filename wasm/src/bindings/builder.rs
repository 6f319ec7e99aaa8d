//! The work of a builder: the rows of a job come as bytes and go back as a segment, its name before it.

use std::sync::Arc;

use hyperspace_core::bytes::AlignedBytes;
use hyperspace_core::collection::Job;
use hyperspace_core::error::Result;
use hyperspace_core::segment::{Checks, Segment};
use hyperspace_core::types::SegmentId;
use js_sys::{Function, Uint8Array};
use wasm_bindgen::prelude::*;

use super::convert::js_error;

/// Insertions between two words about how many are left.
const STEP: u32 = 256;
/// The bytes of a name.
const NAME: u32 = 32;

/// Builds a graph over rows that an engine lent; `tell` is called with how many insertions are left, again and again.
#[wasm_bindgen]
pub fn build(rows: &Uint8Array, tell: &Function) -> std::result::Result<Uint8Array, JsValue> {
    let built = || -> Result<Uint8Array> {
        // Whoever lent them made them: nothing is checked but their form, and their name is not asked for.
        let rows = Segment::open(SegmentId([0; 32]), Arc::new(aligned(rows)), Checks::Structure)?;
        let mut job = Job::borrowed(Arc::new(rows));
        loop {
            let left = job.step(STEP)?.remaining;
            if left == 0 {
                break;
            }
            let _ = tell.call1(&JsValue::UNDEFINED, &left.into());
        }
        let sealed = job.finish()?;
        let segment = sealed.segment().expect("rows were lent");
        let packed = Uint8Array::new_with_length(NAME + segment.byte_len() as u32);
        packed.set(&Uint8Array::from(&segment.id().0[..]), 0);
        packed.set(&Uint8Array::from(segment.bytes()), NAME);
        Ok(packed)
    };
    built().map_err(|error| js_error(&error))
}

/// The name and the bytes of what a builder made.
pub(super) fn unpack(packed: &Uint8Array) -> (SegmentId, AlignedBytes) {
    let mut id = [0; NAME as usize];
    packed.subarray(0, NAME).copy_to(&mut id);
    (SegmentId(id), aligned(&packed.subarray(NAME, packed.length())))
}

fn aligned(array: &Uint8Array) -> AlignedBytes {
    let mut bytes = AlignedBytes::zeroed(array.length() as usize);
    array.copy_to(bytes.as_mut());
    bytes
}
