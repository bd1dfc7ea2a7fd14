//! Bounds the requests under way to one address, so that many runs do not overwhelm one metric system.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests under way to one address. Prometheus itself evaluates 20 queries at once by default.
const CONCURRENT_MAX: usize = 20;
/// Addresses remembered before idle ones are dropped.
const ADDRESSES_MAX: usize = 256;

/// Hands out places, by address. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    addresses: Arc<Mutex<HashMap<String, Arc<Semaphore>>>>,
}

impl Gate {
    /// Waits for a place at `address`; it is given back when the permit is dropped. `None` never happens in practice.
    pub async fn enter(&self, address: &str) -> Option<OwnedSemaphorePermit> {
        let semaphore = {
            let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
            if addresses.len() >= ADDRESSES_MAX {
                addresses.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
            }
            let semaphore = addresses
                .entry(address.to_owned())
                .or_insert_with(|| Arc::new(Semaphore::new(CONCURRENT_MAX)));
            Arc::clone(semaphore)
        };
        semaphore.acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn one_address_does_not_hold_up_another() {
        let gate = Gate::default();
        let mut held = Vec::new();
        for _ in 0..CONCURRENT_MAX {
            held.push(gate.enter("slow").now_or_never().unwrap());
        }
        assert!(gate.enter("slow").now_or_never().is_none());
        assert!(gate.enter("fast").now_or_never().is_some());
        held.pop();
        assert!(gate.enter("slow").now_or_never().is_some());
    }
}
