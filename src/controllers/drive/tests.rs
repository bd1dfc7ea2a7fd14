use super::*;
use crate::{
    clock::SystemClock,
    controllers::args::ControllerArgs,
    k8s::{
        lease::{Election, Leadership, LeaseOptions},
        store::tests::eventually,
        testing::FakeApi,
    },
};
use clap::Parser;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::watch;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: ControllerArgs,
}

pub(crate) fn context(api: &FakeApi, leadership: Leadership) -> (Arc<Context>, watch::Sender<bool>) {
    let (stop, stopped) = watch::channel(false);
    let args = Command::parse_from(["controller", "--namespace", "shop"]).args;
    (
        Context::new(api.client(), args, leadership, Arc::new(SystemClock), stopped),
        stop,
    )
}

const CONTROLLER: Controller = Controller {
    kind: ControllerKind::Rollout,
    workers: 2,
    resync: Duration::from_secs(900),
};

fn key() -> ObjectKey {
    ObjectKey::new("shop", "web")
}

/// Drives a controller over one object whose passes answer as `pass` says; returns how many passes were made.
fn driven(
    context: &Arc<Context>,
    pass: impl Fn(u32) -> Result<Next, ReconcileError> + Clone + Send + Sync + 'static,
) -> Arc<AtomicU32> {
    let passes = Arc::new(AtomicU32::new(0));
    let (counted, context) = (Arc::clone(&passes), Arc::clone(context));
    tokio::spawn(async move {
        let reconcile = move |_| {
            let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
            let pass = pass.clone();
            async move { pass(number) }
        };
        drive(&context, CONTROLLER, Arc::default(), || vec![key()], reconcile).await;
    });
    passes
}

fn failed(class: Class) -> ReconcileError {
    ReconcileError {
        step: Step::Apply,
        class,
        label: "Test",
        source: "it failed".into(),
    }
}

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_pass_is_repeated_at_the_time_asked_for_and_at_every_resync() {
    let (context, _stop) = context(&FakeApi::new(), Leadership::permanent());
    let clock = Arc::clone(&context.clock);
    let passes = driven(&context, move |number| match number {
        1 => Ok(Next::At(clock.now() + jiff::SignedDuration::from_secs(60))),
        _ => Ok(Next::AwaitChange),
    });
    seconds(59).await;
    assert_eq!(passes.load(Ordering::SeqCst), 1);
    seconds(2).await;
    assert_eq!(passes.load(Ordering::SeqCst), 2);
    seconds(901).await;
    assert_eq!(passes.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_caught_counted_and_retried() {
    let (context, _stop) = context(&FakeApi::new(), Leadership::permanent());
    let passes = driven(&context, |number| {
        if number == 1 {
            panic!("a defect")
        } else {
            Ok(Next::AwaitChange)
        }
    });
    seconds(5).await;
    assert_eq!(passes.load(Ordering::SeqCst), 2);
    let page = context.metrics.render().unwrap();
    assert!(
        page.contains(r#"tidegate_reconcile_errors_total{controller="rollout",reason="Panic"} 1"#),
        "{page}"
    );
}

#[tokio::test(start_paused = true)]
async fn failures_wait_longer_each_time_and_conflicts_are_silent() {
    let (context, _stop) = context(&FakeApi::new(), Leadership::permanent());
    let passes = driven(&context, |_| Err(failed(Class::Transient)));
    seconds(10).await;
    let early = passes.load(Ordering::SeqCst);
    assert!((4..=6).contains(&early), "{early} passes");
    seconds(3600).await;
    let late = passes.load(Ordering::SeqCst);
    assert!(
        (100..200).contains(&late),
        "{late} passes in an hour: one in half a minute"
    );

    let (context, _stop) = self::context(&FakeApi::new(), Leadership::permanent());
    let passes = driven(&context, |number| {
        if number < 4 {
            Err(failed(Class::Conflict))
        } else {
            Ok(Next::AwaitChange)
        }
    });
    seconds(1).await;
    assert_eq!(passes.load(Ordering::SeqCst), 4);
    assert!(!context.metrics.render().unwrap().contains("rollout_reconcile_error{"));
}

#[tokio::test(start_paused = true)]
async fn everything_is_looked_at_again_when_this_replica_becomes_leader() {
    let api = FakeApi::new();
    let options = LeaseOptions {
        namespace: "shop".to_owned(),
        name: "lease".to_owned(),
        identity: "me".to_owned(),
        duration: Duration::from_secs(15),
        renew_deadline: Duration::from_secs(10),
        retry_period: Duration::from_secs(2),
    };
    let (election, leadership) = Election::new(api.client(), options, Arc::new(SystemClock));
    let (context, _stop) = context(&api, leadership);
    let passes = driven(&context, |_| Ok(Next::AwaitChange));
    seconds(30).await;
    assert_eq!(passes.load(Ordering::SeqCst), 1, "a standby looks, too");
    tokio::spawn(election.run(std::future::pending()));
    eventually(|| passes.load(Ordering::SeqCst) == 2).await;
    seconds(100).await;
    assert_eq!(
        passes.load(Ordering::SeqCst),
        2,
        "renewing the lease is no reason to look again"
    );
}

#[tokio::test(start_paused = true)]
async fn stopping_waits_for_the_pass_under_way() {
    let (context, stop) = context(&FakeApi::new(), Leadership::permanent());
    let finished = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&finished);
    let reconcile = move |_| {
        let counted = Arc::clone(&counted);
        async move {
            seconds(5).await;
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(Next::In(Duration::ZERO))
        }
    };
    let driving = drive(&context, CONTROLLER, Arc::default(), || vec![key()], reconcile);
    let stopping = async {
        seconds(1).await;
        stop.send_replace(true);
    };
    tokio::join!(driving, stopping);
    assert_eq!(finished.load(Ordering::SeqCst), 1);
}
