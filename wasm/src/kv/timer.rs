//! Timers of the event loop, and a limit on how long something may take.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};

use js_sys::{Function, Promise};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = setTimeout)]
    fn set_timeout(callback: &Function, milliseconds: u32) -> JsValue;
    #[wasm_bindgen(js_name = clearTimeout)]
    fn clear_timeout(timer: &JsValue);
}

/// The time was up first.
#[derive(Clone, Copy, Debug)]
pub struct Elapsed;

/// Forgets a timer that nobody waits for any more.
struct Timer(JsValue);

impl Drop for Timer {
    fn drop(&mut self) {
        clear_timeout(&self.0);
    }
}

/// Waits.
pub async fn sleep(milliseconds: u32) {
    let mut timer = Timer(JsValue::UNDEFINED);
    let rang = Promise::new(&mut |ring, _| timer.0 = set_timeout(&ring, milliseconds));
    // Nobody rejects it.
    let _ = JsFuture::from(rang).await;
}

/// Runs a future for at most so long.
///
/// A thread that was busy for longer than the limit finds the timer and the answer waiting side by side; the second,
/// short timer lets the answer win.
///
/// # Errors
/// [`Elapsed`] when the time is up; the future is dropped.
pub async fn within<T>(milliseconds: u32, work: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut work = pin!(work);
    let mut answer = None;
    race(milliseconds, &mut |cx| {
        work.as_mut().poll(cx).map(|done| {
            answer = Some(done);
        })
    })
    .await?;
    answer.ok_or(Elapsed)
}

/// What [`within`] does, compiled once.
async fn race(milliseconds: u32, work: &mut dyn FnMut(&mut Context<'_>) -> Poll<()>) -> Result<(), Elapsed> {
    let mut limit = pin!(async {
        sleep(milliseconds).await;
        sleep(50).await;
    });
    poll_fn(|cx| match work(cx) {
        Poll::Ready(()) => Poll::Ready(Ok(())),
        Poll::Pending => limit.as_mut().poll(cx).map(|()| Err(Elapsed)),
    })
    .await
}
