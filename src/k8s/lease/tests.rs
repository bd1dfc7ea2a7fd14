use super::*;
use crate::k8s::{
    apply::{Writer, apply},
    store::tests::eventually,
    testing::FakeApi,
};
use crate::{
    class::Class,
    clock::SystemClock,
    plan::{Action, Plan},
};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::oneshot;

struct Candidate {
    leadership: Leadership,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

fn candidate(api: &FakeApi, identity: &str) -> Candidate {
    let options = LeaseOptions {
        namespace: "tidegate".to_owned(),
        name: LEASE_NAME.to_owned(),
        identity: identity.to_owned(),
        duration: Duration::from_secs(15),
        renew_deadline: Duration::from_secs(10),
        retry_period: Duration::from_secs(2),
    };
    let (election, leadership) = Election::new(api.client(), options, Arc::new(SystemClock));
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(election.run(async move { drop(stopped.await) }));
    Candidate { leadership, stop, task }
}

impl Candidate {
    fn leads(&self) -> bool {
        self.leadership.fence().is_some()
    }
}

fn lease(api: &FakeApi) -> Value {
    api.get("coordination.k8s.io/v1", "leases", "tidegate", LEASE_NAME)
        .unwrap()
}

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn one_of_two_leads_and_the_other_takes_over_at_once_when_it_steps_down() {
    let api = FakeApi::new();
    let first = candidate(&api, "first");
    eventually(|| first.leads()).await;
    let second = candidate(&api, "second");
    seconds(120).await;
    assert!(first.leads() && !second.leads(), "renewing keeps the lease");
    assert_eq!(lease(&api)["spec"]["leaseTransitions"], 0);
    let fence = first.leadership.fence().unwrap();
    first.stop.send(()).unwrap();
    first.task.await.unwrap();
    assert!(!fence.is_valid(), "writing stops before the lease is given back");
    let released = Instant::now();
    eventually(|| second.leads()).await;
    assert!(
        released.elapsed() < Duration::from_secs(3),
        "a standby does not wait for a lease that was given back"
    );
    let spec = &lease(&api)["spec"];
    assert_eq!(
        (&spec["holderIdentity"], &spec["leaseTransitions"]),
        (&"second".into(), &1.into())
    );
}

#[tokio::test(start_paused = true)]
async fn a_holder_cut_off_stops_before_another_starts() {
    let api = FakeApi::new();
    let first = candidate(&api, "first");
    eventually(|| first.leads()).await;
    let second = candidate(&api, "second");
    seconds(20).await;
    let fence = first.leadership.fence().unwrap();
    // The first cannot reach the server any more.
    api.inject(|request| (request.body["spec"]["holderIdentity"] == "first").then_some((503, "ServiceUnavailable")));
    let fell = tokio::spawn(async move {
        fence.fallen().await;
        Instant::now()
    });
    eventually(|| second.leads()).await;
    let started = Instant::now();
    assert!(!first.leads());
    assert!(fell.is_finished());
    let pause = started - fell.await.unwrap();
    assert!(
        pause >= Duration::from_secs(3),
        "requests under way get time to arrive: {pause:?}"
    );
    // It comes back as a candidate, not as a leader.
    api.heal();
    seconds(60).await;
    assert!(second.leads() && !first.leads());
}

#[tokio::test(start_paused = true)]
async fn a_stolen_lease_ends_writing_at_the_next_renewal() {
    let api = FakeApi::new();
    let first = candidate(&api, "first");
    eventually(|| first.leads()).await;
    let mut stolen = lease(&api);
    stolen["spec"]["holderIdentity"] = "thief".into();
    api.put(stolen);
    seconds(3).await;
    assert!(!first.leads());
    assert_eq!(lease(&api)["spec"]["holderIdentity"], "thief");
    // The thief never renews: after the time its record promises the lease is free.
    seconds(20).await;
    assert!(first.leads());
}

#[tokio::test(start_paused = true)]
async fn a_fence_of_an_earlier_term_stays_down() {
    let api = FakeApi::new();
    let first = candidate(&api, "first");
    eventually(|| first.leads()).await;
    let earlier = first.leadership.fence().unwrap();
    api.inject(|request| request.path.contains("leases").then_some((500, "InternalError")));
    seconds(30).await;
    assert!(!first.leads());
    api.heal();
    eventually(|| first.leads()).await;
    assert!(first.leadership.fence().unwrap().is_valid());
    assert!(!earlier.is_valid());
    assert_eq!(first.leadership.elected(Some(1)).await, 2);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_behind_a_fallen_fence() {
    let api = FakeApi::new();
    let first = candidate(&api, "first");
    eventually(|| first.leads()).await;
    let fence = first.leadership.fence().unwrap();
    api.inject(|request| request.path.contains("leases").then_some((500, "InternalError")));
    seconds(30).await;
    api.take_writes();
    let mut plan = Plan::default();
    let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": "s"}});
    plan.stage(vec![Action::Create { object }]);
    let error = apply(&Writer::new(api.client(), Arc::new(SystemClock), "test"), &fence, &plan)
        .await
        .unwrap_err();
    assert_eq!((error.class(), error.label()), (Class::Conflict, "LeaseLost"));
    assert!(api.take_writes().iter().all(|write| write.path.contains("leases")));
}

#[tokio::test(start_paused = true)]
async fn without_an_election_the_fence_stands() {
    let leadership = Leadership::permanent();
    assert_eq!(leadership.elected(None).await, 0);
    assert!(leadership.fence().unwrap().is_valid());
    assert!(
        tokio::time::timeout(Duration::from_secs(1000), Fence::permanent().fallen())
            .await
            .is_err()
    );
}

#[test]
fn the_lease_has_the_originals_name() {
    assert_eq!(lease_name(""), "argo-rollouts-controller-lock");
    assert_eq!(lease_name("blue"), "argo-rollouts-controller-lock-blue");
}

/// Leadership of a candidate that never wins; it loses for good when the first part is dropped.
pub(crate) fn never_elected() -> (impl Sized, Leadership) {
    let held = WaitCell::new(Held::No);
    (held.clone(), Leadership { held })
}
