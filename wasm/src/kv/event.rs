//! The browser's events as futures.
//!
//! An event that nobody listens for is gone: listeners are placed when a future is made, not when it is polled, and it is
//! made before control goes back to the event loop.

use js_sys::{Function, Promise};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

/// What a call into the browser gives, or throws.
pub(super) type Thrown<T> = Result<T, JsValue>;

/// Waits for the first of two events: `listen` places a listener for the good one and one for the bad one.
pub(super) fn promised(listen: &dyn Fn(&Function, &Function)) -> JsFuture {
    Promise::new(&mut |resolve, reject| listen(&resolve, &reject)).into()
}
