//! Whole applications, decided on from first sight to rest. See [`world`].

mod failures;
mod guards;
mod hooks;
mod syncing;
mod waves;
mod world;
