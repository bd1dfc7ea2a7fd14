//! Against a local server with answers in the shape of Kayenta's API.

use super::*;
use crate::provider::testing::{self, Seen, Server, StillClock, always, error, transport};

fn metric(address: &str, fields: Value) -> Value {
    let mut kayenta = json!({
        "address": format!("{address}/"), "application": "guestbook", "canaryConfigName": "my-test",
        "metricsAccountName": "metrics", "configurationAccountName": "configs", "storageAccountName": "store",
        "threshold": {"pass": 90, "marginal": 75},
        "scopes": [{"name": "default",
            "controlScope": {"scope": "app=stable", "region": "us-west-2", "step": 30, "start": "1970-01-12T13:00:00Z", "end": "1970-01-12T13:30:00Z"},
            "experimentScope": {"scope": "app=canary", "step": "120"}}],
    });
    kayenta
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    json!({"name": "m", "interval": "10m", "provider": {"kayenta": kayenta}})
}

async fn measure(server: &Server, fields: Value, attempt: Attempt) -> Answered {
    measure_metric(metric(&server.listen().await, fields), attempt).await
}

async fn measure_metric(metric: Value, attempt: Attempt) -> Answered {
    let mut query = testing::query(metric, attempt);
    query.run.started_at = Some(Timestamp::from_second(990_000).unwrap());
    Kayenta::new(transport(StillClock::new())).measure(&query).await
}

/// Begun so many seconds before now.
fn under_way(seconds: i64) -> Attempt {
    let started_at = Timestamp::from_second(1_000_000 - seconds).unwrap();
    let measurement =
        json!({"phase": "Running", "startedAt": started_at, "metadata": {"canaryExecutionId": "01AB/.."}});
    Attempt::Resume(serde_json::from_value(measurement).unwrap())
}

fn kayenta() -> Server {
    Server::new(|seen: &Seen| match (seen.method.as_str(), seen.path.as_str()) {
        ("GET", "/canaryConfig") => (
            200,
            r#"[{"id":"x","name":"other"},{"id":"18bc","name":"my-test","applications":["guestbook"]}]"#.into(),
        ),
        ("POST", "/canary/18bc") => (200, r#"{"canaryExecutionId":"01AB"}"#.into()),
        _ => (404, "{}".into()),
    })
}

fn resume_at() -> Answer {
    Answer::UnderWay {
        resume_at: Timestamp::from_second(1_000_015).unwrap(),
    }
}

#[tokio::test]
async fn a_comparison_is_begun_by_the_name_of_its_configuration() {
    let server = kayenta();
    let answered = measure(&server, json!({}), Attempt::Begin).await;
    assert_eq!(
        (answered.answer, answered.metadata[EXECUTION].as_str()),
        (resume_at(), "01AB")
    );
    let [configs, begun] = server.seen().try_into().unwrap();
    assert_eq!(configs.query, "application=guestbook&configurationAccountName=configs");
    assert_eq!(
        begun.query,
        "application=guestbook&metricsAccountName=metrics&configurationAccountName=configs&storageAccountName=store"
    );
    let body: Value = serde_json::from_str(&begun.body).unwrap();
    assert_eq!(
        body,
        json!({"thresholds": {"pass": 90, "marginal": 75}, "scopes": {"default": {
            "controlScope": {"scope": "app=stable", "location": "us-west-2", "step": 30,
                "start": "1970-01-12T13:00:00Z", "end": "1970-01-12T13:30:00Z"},
            "experimentScope": {"scope": "app=canary", "location": "", "step": 120,
                "start": "1970-01-12T13:36:40Z", "end": "1970-01-12T13:46:40Z"}}}})
    );
    measure(&server, json!({"lookback": true}), Attempt::Begin).await;
    let body: Value = serde_json::from_str(&server.seen()[3].body).unwrap();
    let experiment = &body["scopes"]["default"]["experimentScope"];
    assert_eq!(experiment["start"], "1970-01-12T11:00:00Z", "where the run began");
}

#[tokio::test]
async fn a_score_is_good_open_or_bad() {
    for (score, phase) in [
        (100.0, Phase::Successful),
        (90.0, Phase::Successful),
        (89.5, Phase::Inconclusive),
        (75.0, Phase::Inconclusive),
        (74.0, Phase::Failed),
        (0.0, Phase::Failed),
    ] {
        let done = json!({"complete": true, "status": "succeeded", "result": {"judgeResult": {"score": {"score": score, "classification": "x"}}}});
        let server = always(200, &done.to_string());
        let answered = measure(&server, json!({}), under_way(60)).await;
        let text = score.to_string();
        assert_eq!(answered, Answered::plain(Answer::Scored { phase, text }));
        let seen = &server.seen()[0];
        assert_eq!(
            (seen.path.as_str(), seen.query.as_str()),
            ("/canary/01AB%2F..", "storageAccountName=store")
        );
    }
}

#[tokio::test]
async fn a_comparison_without_a_score_is_an_error() {
    for (done, want) in [
        (
            json!({"complete": true, "status": "terminal"}),
            "canary execution ended with status 'terminal'",
        ),
        (
            json!({"complete": true, "status": "succeeded", "result": {}}),
            "no data returned from Kayenta: the canary execution has no score",
        ),
        (json!([]), "the answer is none of Kayenta"),
    ] {
        let answered = measure(&always(200, &done.to_string()), json!({}), under_way(60)).await;
        assert_eq!(error(answered), want);
    }
    let nameless = Attempt::Resume(Measurement::default());
    let message = error(measure(&always(200, "{}"), json!({}), nameless).await);
    assert_eq!(message, "the measurement does not name its canary execution");
}

#[tokio::test]
async fn it_is_asked_about_until_it_is_complete_but_not_for_ever() {
    let running = always(200, r#"{"complete":false,"status":"running"}"#);
    let away = always(503, "not now");
    for server in [&running, &away] {
        assert_eq!(
            measure(server, json!({}), under_way(3599)).await,
            Answered::plain(resume_at())
        );
    }
    let message = error(measure(&running, json!({}), under_way(3600)).await);
    assert_eq!(message, "canary execution '01AB/..' is not complete after 1h");
    assert_eq!(
        error(measure(&away, json!({}), under_way(3600)).await),
        "HTTP 503: not now"
    );
}

#[tokio::test]
async fn one_that_is_ended_is_left_to_itself() {
    let server = kayenta();
    let answered = measure(&server, json!({}), Attempt::Terminate(Measurement::default())).await;
    let phase = Phase::Inconclusive;
    assert_eq!(
        answered,
        Answered::plain(Answer::Judged {
            phase,
            message: String::new()
        })
    );
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn what_cannot_be_begun_is_said() {
    let server = kayenta();
    let scope = |side: Value| json!({"scopes": [{"name": "s", "controlScope": side, "experimentScope": side}]});
    for (fields, want) in [
        (
            json!({"canaryConfigName": "gone"}),
            "canary config 'gone' is not among those of application 'guestbook'",
        ),
        (json!({"scopes": []}), "scopes are required"),
        (
            scope(json!({"step": "x"})),
            "scopes 's': controlScope: step must be a number of seconds, found \"x\"",
        ),
        (
            scope(json!({"start": "1970-01-12T13:46:40Z"})),
            "scopes 's': controlScope: the window is empty: it begins at 1970-01-12T13:46:40Z and ends at 1970-01-12T13:46:40Z",
        ),
    ] {
        assert_eq!(error(measure(&server, fields, Attempt::Begin).await), want);
    }
    let message = error(measure(&server, scope(json!({"end": "soon"})), Attempt::Begin).await);
    assert!(
        message.starts_with("scopes 's': controlScope: end \"soon\" is no time: "),
        "{message}"
    );
    let mut once = metric(&server.listen().await, json!({}));
    once["interval"] = json!("");
    assert_eq!(
        error(measure_metric(once, Attempt::Begin).await),
        "scopes 'default': experimentScope: start is required for a metric without an interval and without lookback"
    );
    for (server, want) in [
        (
            always(200, "[]"),
            "canary config 'my-test' is not among those of application 'guestbook'",
        ),
        (always(500, "down"), "HTTP 500: down"),
    ] {
        assert_eq!(error(measure(&server, json!({}), Attempt::Begin).await), want);
    }
    let other = error(measure(&always(200, "{}"), json!({}), Attempt::Begin).await);
    assert!(
        other.starts_with("the answer is no list of Kayenta's configurations: "),
        "{other}"
    );
}

// The clock is paused: it jumps as soon as nothing else is to be done.
#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_given_up() {
    let message = error(measure(&always(0, ""), json!({}), Attempt::Begin).await);
    assert!(
        message.starts_with("no answer from http://127.0.0.1:") && message.ends_with("within 10s"),
        "{message}"
    );
}
