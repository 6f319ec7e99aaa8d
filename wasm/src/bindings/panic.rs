//! A panic traps, and a trap runs no destructors: nobody's call would ever be answered. So whoever drives the engine
//! is told before it happens.

use std::cell::RefCell;
use std::sync::Once;

use wasm_bindgen::prelude::*;

thread_local! {
    static LISTENERS: RefCell<Vec<js_sys::Function>> = const { RefCell::new(Vec::new()) };
}
static HOOK: Once = Once::new();

/// Calls the listener with a message when the engine panics; it must not call the engine again.
#[wasm_bindgen]
pub fn on_panic(listener: js_sys::Function) {
    LISTENERS.with_borrow_mut(|listeners| listeners.push(listener));
    HOOK.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let message = JsValue::from_str(&info.to_string());
            let listeners =
                LISTENERS.with(|cell| cell.try_borrow().map(|listeners| listeners.clone()).unwrap_or_default());
            for listener in listeners {
                let _ = listener.call1(&JsValue::UNDEFINED, &message);
            }
        }));
    });
}
