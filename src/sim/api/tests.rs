use super::*;
use crate::sim::clock::VirtualClock;
use conformance::Probe;

mod conformance;

pub(crate) fn server(options: Options) -> SimApi {
    let clock = VirtualClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
    SimApi::new(Arc::new(clock), options)
}

fn probe(api: &SimApi) -> Probe {
    let collector = api.clone();
    Probe {
        client: api.client("probe", "shop"),
        namespace: "shop".to_owned(),
        forgets: true,
        collect: Box::new(move || {
            collector.collect_garbage();
        }),
    }
}

#[tokio::test(start_paused = true)]
async fn it_behaves_like_a_real_server() {
    let make = async |_| {
        let api = server(Options::default());
        // The oldest versions are forgotten, as on a server that has been running for a while.
        api.create("setup", serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "other", "name": "x"}})).unwrap();
        api.compact();
        Ok(probe(&api))
    };
    if let Err(error) = conformance::run_all(make).await {
        panic!("{error:#}");
    }
}
