//! What a Kubernetes API server promises its clients, as scenarios over a client alone.
//!
//! They run against the simulated server (`src/sim/api/tests.rs`) and against a real one (`tests/e2e/api_conformance.rs`),
//! so this folder names nothing of this crate.

mod deletion;
mod lists;
mod ownership;
mod probe;
mod watches;
mod writes;

pub(crate) use self::probe::Probe;

use anyhow::{Context, Result, bail};
use futures::future::LocalBoxFuture;

/// One scenario, in a namespace of its own.
type Scenario = for<'a> fn(&'a Probe) -> LocalBoxFuture<'a, Result<()>>;

/// Every scenario by its name.
pub(crate) const SCENARIOS: &[(&str, Scenario)] = &[
    ("an object is created once", |probe| {
        Box::pin(writes::created_once(probe))
    }),
    ("an update needs the present version", |probe| {
        Box::pin(writes::updated(probe))
    }),
    ("a write without effect changes nothing", |probe| {
        Box::pin(writes::without_effect(probe))
    }),
    ("status and spec have their own endpoints", |probe| {
        Box::pin(writes::status(probe))
    }),
    ("generations count changes of the spec", |probe| {
        Box::pin(writes::generations(probe))
    }),
    ("patches of all kinds", |probe| Box::pin(writes::patches(probe))),
    ("scale", |probe| Box::pin(writes::scale(probe))),
    ("a dry run stores nothing", |probe| Box::pin(writes::dry_run(probe))),
    ("selectors and templates of ReplicaSets", |probe| {
        Box::pin(writes::replica_sets(probe))
    }),
    ("an applied field has an owner", |probe| {
        Box::pin(ownership::conflicts(probe))
    }),
    ("what is applied no longer goes", |probe| {
        Box::pin(ownership::removal(probe))
    }),
    ("a field may have two owners", |probe| {
        Box::pin(ownership::shared(probe))
    }),
    ("lists merge by their keys", |probe| {
        Box::pin(ownership::keyed_lists(probe))
    }),
    ("updates own what they change", |probe| {
        Box::pin(ownership::updates(probe))
    }),
    ("apply keeps preconditions", |probe| {
        Box::pin(ownership::preconditions(probe))
    }),
    ("managed fields", |probe| Box::pin(ownership::managed_fields(probe))),
    ("a watch tells what happened", |probe| Box::pin(watches::resumed(probe))),
    ("leaving a selector is a deletion", |probe| {
        Box::pin(watches::selectors(probe))
    }),
    ("a watch from too long ago", |probe| Box::pin(watches::expired(probe))),
    ("streaming lists", |probe| Box::pin(watches::streaming_list(probe))),
    ("metadata only", |probe| Box::pin(watches::metadata_only(probe))),
    ("finalizers hold a deletion up", |probe| {
        Box::pin(deletion::finalizers(probe))
    }),
    ("deletions have preconditions", |probe| {
        Box::pin(deletion::preconditions(probe))
    }),
    ("dependents go in the background", |probe| {
        Box::pin(deletion::background(probe))
    }),
    ("dependents go first", |probe| Box::pin(deletion::foreground(probe))),
    ("dependents stay", |probe| Box::pin(deletion::orphan(probe))),
    ("a collection is deleted", |probe| Box::pin(deletion::collection(probe))),
    ("lists are selected", |probe| Box::pin(lists::selected(probe))),
    ("lists come in pages of one version", |probe| {
        Box::pin(lists::pages(probe))
    }),
    ("kinds are discovered", |probe| Box::pin(lists::discovery(probe))),
];

/// Runs every scenario; names all that fail.
pub(crate) async fn run_all(make: impl AsyncFn(usize) -> Result<Probe>) -> Result<()> {
    let mut failures = Vec::new();
    for (number, (name, scenario)) in SCENARIOS.iter().enumerate() {
        let probe = make(number).await.context("no namespace")?;
        if let Err(error) = scenario(&probe).await {
            failures.push(format!("{name}: {error:#}"));
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    bail!("{}", failures.join("\n"))
}
