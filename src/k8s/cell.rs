//! A value that tasks wait for.
//!
//! Like `tokio::sync::watch`, but waiters wake in the order they came instead of a random one, so that a simulated run
//! can be repeated.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::Notify;

/// The value. Cloning shares it.
pub struct WaitCell<T>(Arc<Shared<T>>);

struct Shared<T> {
    value: Mutex<T>,
    changed: Notify,
}

impl<T> Clone for WaitCell<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Clone + fmt::Debug> fmt::Debug for WaitCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WaitCell").field(&self.get()).finish()
    }
}

impl<T: Clone> WaitCell<T> {
    /// A cell that holds `value`.
    pub fn new(value: T) -> Self {
        Self(Arc::new(Shared {
            value: Mutex::new(value),
            changed: Notify::new(),
        }))
    }

    /// The present value.
    pub fn get(&self) -> T {
        self.0.value.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets the value and wakes all who wait; returns the one before.
    pub fn set(&self, value: T) -> T {
        let before = {
            let mut held = self.0.value.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *held, value)
        };
        self.0.changed.notify_waiters();
        before
    }

    /// Waits until the value is as `wanted`; forever, if it never is.
    pub async fn wait_for(&self, mut wanted: impl FnMut(T) -> bool) -> T {
        loop {
            let mut changed = std::pin::pin!(self.0.changed.notified());
            // Waits from here on, so that a change right after the look is not missed.
            changed.as_mut().enable();
            let value = self.get();
            if wanted(value.clone()) {
                return value;
            }
            changed.await;
        }
    }

    /// Waits for the next `set` after this was first polled.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waiters_wake_in_the_order_they_came() {
        let cell = WaitCell::new(0);
        let (sender, mut order) = tokio::sync::mpsc::unbounded_channel();
        for waiter in 0..20 {
            let (cell, sender) = (cell.clone(), sender.clone());
            tokio::spawn(async move {
                cell.wait_for(|value| value > 0).await;
                sender.send(waiter).unwrap();
            });
        }
        tokio::task::yield_now().await;
        assert_eq!(cell.set(1), 0);
        drop(sender);
        let mut woken = Vec::new();
        while let Some(waiter) = order.recv().await {
            woken.push(waiter);
        }
        assert_eq!(woken, (0..20).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_that_is_there_already_is_not_waited_for() {
        let cell = WaitCell::new(7);
        assert_eq!(cell.wait_for(|value| value == 7).await, 7);
    }
}
