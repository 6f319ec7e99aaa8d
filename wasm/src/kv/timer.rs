//! Timers of the event loop, and a limit on how long something may take.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = setTimeout)]
    fn set_timeout(callback: &js_sys::Function, milliseconds: u32) -> JsValue;
    #[wasm_bindgen(js_name = clearTimeout)]
    fn clear_timeout(timer: &JsValue);
}

/// The time was up first.
#[derive(Clone, Copy, Debug)]
pub struct Elapsed;

#[derive(Default)]
struct State {
    rang: bool,
    waker: Option<Waker>,
}

struct Timer {
    handle: JsValue,
    _ring: Closure<dyn FnMut()>,
}

impl Drop for Timer {
    fn drop(&mut self) {
        clear_timeout(&self.handle);
    }
}

/// Waits.
pub async fn sleep(milliseconds: u32) {
    let state = Rc::new(RefCell::new(State::default()));
    let shared = state.clone();
    let ring = Closure::new(move || {
        let mut state = shared.borrow_mut();
        state.rang = true;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    });
    let handle = set_timeout(ring.as_ref().unchecked_ref(), milliseconds);
    let _timer = Timer { handle, _ring: ring };
    poll_fn(|cx| {
        let mut state = state.borrow_mut();
        if state.rang {
            return Poll::Ready(());
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    })
    .await;
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
