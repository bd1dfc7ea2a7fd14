//! What each fate does to a request or an event.

use super::{super::faults::*, *};
use tokio::time::Instant;

/// Fates in the order in which they are asked for; then everything goes well.
#[derive(Default)]
struct Script {
    requests: VecDeque<RequestFate>,
    events: VecDeque<EventFate>,
}

impl Faults for Script {
    fn on_request(&mut self, _: &RequestInfo<'_>) -> RequestFate {
        self.requests.pop_front().unwrap_or(RequestFate::Pass)
    }

    fn on_event(&mut self, _: &WatchInfo, _: &EventInfo<'_>) -> EventFate {
        self.events.pop_front().unwrap_or(EventFate::Deliver)
    }
}

/// A server, a client, and a watch of it from the beginning; the events of this watch meet these fates.
async fn watched(events: &[EventFate]) -> (SimApi, Client, Reader) {
    let api = server(Options::default());
    let client = api.client("controller", "shop");
    let reader = Reader::open(&client, "resourceVersion=1").await;
    let script = Script {
        events: events.iter().copied().collect(),
        ..Script::default()
    };
    api.set_faults(Some(Box::new(script)));
    (api, client, reader)
}

async fn asked(fate: RequestFate) -> (SimApi, Client) {
    let api = server(Options::default());
    let script = Script {
        requests: [fate].into(),
        ..Script::default()
    };
    api.set_faults(Some(Box::new(script)));
    let client = api.client("controller", "shop");
    (api, client)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn a_delayed_event_delays_those_after_it() {
    let (api, _client, mut reader) = watched(&[EventFate::Delay(seconds(5)), EventFate::Deliver]).await;
    let start = Instant::now();
    for name in ["a", "b"] {
        api.create("user", config_map(name)).unwrap();
    }
    assert_eq!(reader.next().await, "added a");
    assert_eq!(reader.next().await, "added b");
    assert_eq!(start.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn an_event_may_come_twice_or_after_a_new_connection_or_only_by_a_list() {
    let (api, _client, mut reader) = watched(&[EventFate::Repeat]).await;
    api.create("user", config_map("a")).unwrap();
    assert_eq!(reader.next().await, "added a");
    assert_eq!(reader.next().await, "added a");

    let (api, client, mut reader) = watched(&[EventFate::Break]).await;
    api.create("user", config_map("a")).unwrap();
    assert_eq!(reader.next().await, "end");
    assert_eq!(Reader::open(&client, "resourceVersion=1").await.next().await, "added a");

    let (api, _client, mut reader) = watched(&[EventFate::Expire]).await;
    api.create("user", config_map("a")).unwrap();
    assert_eq!(reader.next().await, "410");
    assert_eq!(reader.next().await, "end");

    let (api, client, mut reader) = watched(&[EventFate::Drop]).await;
    let other = api.client("other", "shop");
    let made = api.create("user", config_map("a")).unwrap();
    assert_eq!(reader.next().await, "end");
    assert_eq!(Reader::open(&client, "resourceVersion=1").await.next().await, "410");
    assert_eq!(Reader::open(&other, "resourceVersion=1").await.next().await, "added a");
    let since = format!("resourceVersion={}", meta(&made, "resourceVersion"));
    let mut listed = Reader::open(&client, &since).await;
    api.create("user", config_map("b")).unwrap();
    assert_eq!(listed.next().await, "added b");
}

#[tokio::test(start_paused = true)]
async fn a_lost_request_was_served_or_not() {
    for applied in [true, false] {
        let after = seconds(3);
        let (api, client) = asked(RequestFate::Lose { applied, after }).await;
        let start = Instant::now();
        assert!(matches!(post(&client, "a").await, Err(kube::Error::Service(_))));
        assert_eq!(start.elapsed(), after);
        assert_eq!(api.state().get(&key("a")).is_some(), applied);
    }
}

#[tokio::test(start_paused = true)]
async fn a_delayed_write_arrives_even_when_nobody_waits_for_it() {
    let (api, client) = asked(RequestFate::Delay(seconds(10))).await;
    assert!(tokio::time::timeout(seconds(1), post(&client, "a")).await.is_err());
    api.cut("controller");
    tokio::time::sleep(seconds(8)).await;
    assert!(api.state().get(&key("a")).is_none());
    tokio::time::sleep(seconds(2)).await;
    assert!(api.state().get(&key("a")).is_some());
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_be_late_and_a_request_refused() {
    let (api, client) = asked(RequestFate::DelayAnswer(seconds(10))).await;
    let start = Instant::now();
    let post = post(&client, "a");
    let look = async {
        tokio::time::sleep(seconds(1)).await;
        assert!(api.state().get(&key("a")).is_some(), "it is served at once");
    };
    let (made, ()) = tokio::join!(post, look);
    assert_eq!(meta(&made.unwrap(), "name"), "a");
    assert_eq!(start.elapsed().as_secs(), 10);

    let busy = refusal::refused(429, "TooManyRequests", "later");
    let (_api, client) = asked(RequestFate::Refuse(busy)).await;
    let answer = get(&client, "a").await;
    assert!(
        matches!(answer, Err(kube::Error::Api(status)) if status.code == 429 && status.reason == "TooManyRequests")
    );
}

#[tokio::test(start_paused = true)]
async fn a_killed_client_is_dead_and_its_successor_lives() {
    let (api, client, mut reader) = watched(&[]).await;
    let script = Script {
        requests: [RequestFate::Kill { applied: true }].into(),
        ..Script::default()
    };
    api.set_faults(Some(Box::new(script)));
    assert!(post(&client, "a").await.is_err());
    assert_eq!(
        reader.next().await,
        "error",
        "nothing more is told, not even what it wrote"
    );
    assert!(get(&client, "a").await.is_err());
    assert!(api.state().get(&key("a")).is_some());
    let restarted = api.client("controller", "shop");
    assert!(get(&restarted, "a").await.is_ok());
    assert_eq!(
        Reader::open(&restarted, "resourceVersion=1").await.next().await,
        "added a"
    );
}

#[tokio::test(start_paused = true)]
async fn a_schedule_may_write_while_a_request_is_on_its_way() {
    struct Meddler(SimApi);
    impl Faults for Meddler {
        fn on_request(&mut self, request: &RequestInfo<'_>) -> RequestFate {
            if request.verb == Verb::Create {
                self.0.create("user", config_map("b")).unwrap();
            }
            RequestFate::Pass
        }
    }
    let api = server(Options::default());
    api.set_faults(Some(Box::new(Meddler(api.clone()))));
    let client = api.client("controller", "shop");
    assert!(matches!(post(&client, "b").await, Err(kube::Error::Api(status)) if status.reason == "AlreadyExists"));
}
