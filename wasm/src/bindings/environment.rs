//! Time and randomness of a browser's context or of Node.

use hyperspace_core::error::Error;
use hyperspace_core::port::{Clock, Entropy};
use hyperspace_core::types::SpaceId;
use wasm_bindgen::prelude::*;

use super::convert::js_error;
use crate::host::Environment;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    fn performance_now() -> f64;
    #[wasm_bindgen(js_namespace = crypto, js_name = getRandomValues)]
    fn get_random_values(out: &mut [u8]);
}

/// The globals that every context has: `Date`, `performance`, `crypto`; and who is told of failures and of changes.
#[derive(Clone)]
pub(super) struct JsEnvironment {
    pub(super) on_failure: js_sys::Function,
    pub(super) on_change: Option<js_sys::Function>,
}

impl Clock for JsEnvironment {
    #[allow(clippy::cast_sign_loss, reason = "a float becomes zero when it is negative")]
    fn now_ms(&self) -> u64 {
        js_sys::Date::now() as u64
    }
}

impl Entropy for JsEnvironment {
    fn fill(&self, out: &mut [u8]) {
        // The browser refuses more at once.
        for part in out.chunks_mut(65_536) {
            get_random_values(part);
        }
    }
}

impl Environment for JsEnvironment {
    fn elapsed_ms(&self) -> f64 {
        performance_now()
    }

    fn report(&self, error: &Error) {
        // What a listener throws is its own affair.
        let _ = self.on_failure.call1(&JsValue::UNDEFINED, &js_error(error));
    }
    fn changed(&self, space: SpaceId, pulled: usize) {
        if let Some(listener) = &self.on_change {
            let _ = listener.call2(&JsValue::UNDEFINED, &(space.0 as f64).into(), &(pulled as f64).into());
        }
    }
}
