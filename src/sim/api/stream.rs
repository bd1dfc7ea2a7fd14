//! The body of a watch response: lines as they fall due, bookmarks, and the end.

use super::{
    kinds::Kind,
    stored::Form,
    watch::{End, Next, Queue, bookmark},
};
use axum::body::Bytes;
use futures::Stream;
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep};

/// A watch as its client reads it.
pub(super) struct WatchStream {
    queue: Arc<Queue>,
    kind: Kind,
    form: Form,
    /// The version every watch has been told of.
    told: Arc<AtomicU64>,
    bookmarks: Option<(Duration, Instant)>,
    ends_at: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    is_over: bool,
}

impl WatchStream {
    /// A stream of what is queued; `bookmarks` is the time between two of them, `timeout` the time to its end.
    pub(super) fn new(
        queue: Arc<Queue>,
        (kind, form): (Kind, Form),
        told: Arc<AtomicU64>,
        bookmarks: Option<Duration>,
        timeout: Option<Duration>,
    ) -> Self {
        let now = Instant::now();
        Self {
            queue,
            kind,
            form,
            told,
            bookmarks: bookmarks.map(|interval| (interval, now + interval)),
            ends_at: timeout.map(|timeout| now + timeout),
            timer: Box::pin(tokio::time::sleep_until(now)),
            is_over: false,
        }
    }

    /// The next thing that time brings.
    fn bookmark_due(&mut self, now: Instant) -> Option<Bytes> {
        let (interval, due) = self.bookmarks.as_mut()?;
        if *due > now {
            return None;
        }
        *due = now + *interval;
        Some(bookmark(self.kind, self.form, self.told.load(Ordering::Relaxed), false))
    }
}

impl Stream for WatchStream {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        loop {
            let now = Instant::now();
            if self.ends_at.is_some_and(|end| end <= now) {
                self.is_over = true;
                return Poll::Ready(None);
            }
            let next = self.queue.take(context.waker());
            let line_due = match next {
                Next::Line(line) => return Poll::Ready(Some(Ok(line))),
                Next::End(End::Closed) => {
                    self.is_over = true;
                    return Poll::Ready(None);
                }
                Next::End(End::Cut) => {
                    self.is_over = true;
                    return Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())));
                }
                Next::NotBefore(due) => Some(due),
                // Only when nothing is withheld is the newest version one that this watch has seen.
                Next::Nothing => match self.bookmark_due(now) {
                    Some(bookmark) => return Poll::Ready(Some(Ok(bookmark))),
                    None => self.bookmarks.map(|(_, due)| due),
                },
            };
            let Some(wake_at) = line_due.into_iter().chain(self.ends_at).min() else {
                return Poll::Pending;
            };
            self.timer.as_mut().reset(wake_at);
            if self.timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        self.queue.abandon();
    }
}
