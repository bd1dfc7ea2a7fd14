//! What goes wrong between the controllers and the API server while a scenario orders it.

use crate::sim::{
    api::{
        faults::{EventFate, EventInfo, Faults, RequestFate, RequestInfo, WatchInfo},
        kinds::Kind,
        refusal::refused,
    },
    scenario::Connection,
    world::Handle,
};
use jiff::Timestamp;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A client waits this long for a server that cannot be reached.
const UNREACHABLE_AFTER: Duration = Duration::from_millis(50);
/// Who is interfered with: what people and the rest of the cluster do goes well.
const CONTROLLERS: &str = "tidegate-";

/// What goes wrong now.
#[derive(Clone, Debug, Default)]
pub(super) struct Orders {
    /// The API server's answers.
    pub(super) connection: Option<Connection>,
    /// Answers come later by this.
    pub(super) answers: Duration,
    /// Watch events come later by this.
    pub(super) events: Duration,
    /// The author of the last of so many writes is killed once it is done.
    pub(super) writes_left: Option<u32>,
    /// When that happened.
    pub(super) killed: Option<Timestamp>,
}

/// The orders, shared with the API server that carries them out.
#[derive(Clone, Debug, Default)]
pub(super) struct Interference(Arc<Mutex<Orders>>);

impl Interference {
    /// The orders, to be looked at or changed.
    pub(super) fn orders(&self) -> MutexGuard<'_, Orders> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the orders take hold.
    pub(super) fn take_hold(&self, handle: Handle) {
        let faults = Interfering {
            orders: self.clone(),
            handle: handle.clone(),
        };
        handle.api().set_faults(Some(Box::new(faults)));
    }
}

struct Interfering {
    orders: Interference,
    handle: Handle,
}

impl Faults for Interfering {
    fn on_request(&mut self, request: &RequestInfo<'_>) -> RequestFate {
        let Some(replica) = replica_of(request.actor) else {
            return RequestFate::Pass;
        };
        let mut orders = self.orders.orders();
        // A controller that loses its Lease tells nothing about the writes it loses.
        let is_write = request.verb.is_write() && !request.dry_run && request.kind != Some(Kind::Lease);
        match orders.connection {
            Some(Connection::Down) => {
                return RequestFate::Lose {
                    applied: false,
                    after: UNREACHABLE_AFTER,
                };
            }
            Some(Connection::Error) => {
                return RequestFate::Refuse(refused(500, "InternalError", "the scenario wants it so"));
            }
            Some(Connection::Conflict) if is_write => {
                return RequestFate::Refuse(refused(409, "Conflict", "the scenario wants it so"));
            }
            Some(Connection::Lost) if is_write => {
                return RequestFate::Lose {
                    applied: true,
                    after: UNREACHABLE_AFTER,
                };
            }
            Some(Connection::Conflict | Connection::Lost) | None => {}
        }
        if is_write && let Some(left) = &mut orders.writes_left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                orders.writes_left = None;
                orders.killed = Some(self.handle.now());
                drop(orders);
                self.handle.kill(replica);
                return RequestFate::Kill { applied: true };
            }
        }
        match orders.answers {
            Duration::ZERO => RequestFate::Pass,
            late => RequestFate::DelayAnswer(late),
        }
    }

    fn on_event(&mut self, watch: &WatchInfo, _: &EventInfo<'_>) -> EventFate {
        match self.orders.orders().events {
            Duration::ZERO => EventFate::Deliver,
            _ if replica_of(&watch.actor).is_none() => EventFate::Deliver,
            late => EventFate::Delay(late),
        }
    }
}

fn replica_of(actor: &str) -> Option<usize> {
    actor.strip_prefix(CONTROLLERS)?.parse().ok()
}
