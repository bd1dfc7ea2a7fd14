//! Against an API server in memory.

use super::*;
use crate::{
    api::analysis::Measurement,
    provider::testing::{Seen, Server, query},
};

const JOB: &str = "/apis/batch/v1/namespaces/shop/jobs/0a1b2c3d.smoke.1";

fn metric() -> Value {
    json!({"name": "smoke", "provider": {"job": {"metadata": {"labels": {"team": "a"}, "annotations": {"x": "y"}},
        "spec": {"backoffLimit": 1, "template": {"spec": {"restartPolicy": "Never", "futureField": 7,
            "containers": [{"name": "c", "image": "i"}]}}}}}})
}

fn under_way() -> Measurement {
    let metadata = BTreeMap::from([
        (JOB_NAME.to_owned(), "0a1b2c3d.smoke.1".to_owned()),
        (JOB_NAMESPACE.to_owned(), "shop".to_owned()),
    ]);
    Measurement {
        phase: "Running".into(),
        metadata,
        ..Measurement::default()
    }
}

fn refused(code: u16, reason: &str, message: &str) -> (u16, String) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message});
    (code, status.to_string())
}

async fn measure(server: &Server, attempt: Attempt) -> Answered {
    Jobs::new(server.client(), None)
        .measure(&query(metric(), attempt))
        .await
}

fn job(status: &Value) -> String {
    json!({"apiVersion": "batch/v1", "kind": "Job", "status": status,
        "metadata": {"name": "0a1b2c3d.smoke.1", "namespace": "shop", "creationTimestamp": "1970-01-12T13:45:50Z"}})
    .to_string()
}

/// Answers with a Job of this status and pods of this container state.
fn cluster(status: Value, waiting: Value) -> Server {
    Server::new(move |seen: &Seen| match seen.path.as_str() {
        JOB => (200, job(&status)),
        "/api/v1/namespaces/shop/pods" => {
            assert!(seen.query.contains("job-name%3D0a1b2c3d.smoke.1"), "{}", seen.query);
            let status = json!({"containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": waiting}}]});
            (
                200,
                json!({"items": [{"metadata": {"name": "p"}, "status": status}], "metadata": {}}).to_string(),
            )
        }
        other => refused(404, "NotFound", other),
    })
}

#[tokio::test]
async fn the_job_is_named_labelled_and_owned_and_its_spec_untouched() {
    let server = Server::new(|seen: &Seen| (201, seen.body.clone()));
    let answered = measure(&server, Attempt::Begin).await;
    let resume_at = Timestamp::from_second(1_000_001).unwrap();
    assert_eq!(answered.answer, Answer::UnderWay { resume_at });
    assert_eq!(answered.metadata, under_way().metadata);
    let [seen] = &server.seen()[..] else {
        panic!("one request")
    };
    assert_eq!(
        (seen.method.as_str(), seen.path.as_str()),
        ("POST", "/apis/batch/v1/namespaces/shop/jobs")
    );
    let sent: Value = serde_json::from_str(&seen.body).unwrap();
    assert_eq!(
        sent,
        json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {
                "name": "0a1b2c3d.smoke.1", "namespace": "shop",
                "labels": {"team": "a", "analysisrun.argoproj.io/uid": "0a1b2c3d"},
                "annotations": {"x": "y", "analysisrun.argoproj.io/name": "web-1", "analysisrun.argoproj.io/namespace": "shop",
                    "analysisrun.argoproj.io/metric-name": "smoke"},
                "ownerReferences": [{"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun", "name": "web-1",
                    "uid": "0a1b2c3d", "controller": true, "blockOwnerDeletion": true}]
            },
            "spec": {"backoffLimit": 1, "template": {
                "metadata": {"labels": {"analysisrun.argoproj.io/uid": "0a1b2c3d"}},
                "spec": {"restartPolicy": "Never", "futureField": 7, "containers": [{"name": "c", "image": "i"}]}}}
        })
    );
}

#[tokio::test]
async fn in_another_namespace_it_has_no_owner() {
    let server = Server::new(|seen: &Seen| (201, seen.body.clone()));
    let jobs = Jobs::new(server.client(), Some("jobs".to_owned()));
    let answered = jobs.measure(&query(metric(), Attempt::Begin)).await;
    assert_eq!(answered.metadata.get(JOB_NAMESPACE).map(String::as_str), Some("jobs"));
    let sent: Value = serde_json::from_str(&server.seen()[0].body).unwrap();
    assert_eq!(
        (&sent["metadata"]["namespace"], &sent["metadata"]["ownerReferences"]),
        (&json!("jobs"), &Value::Null)
    );
}

#[tokio::test]
async fn in_another_cluster_it_has_no_owner_and_is_looked_at_there() {
    let other = Server::new(|seen: &Seen| match seen.method.as_str() {
        "POST" => (201, seen.body.clone()),
        _ => (
            200,
            job(&json!({"conditions": [{"type": "Complete", "status": "True"}]})),
        ),
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    let kubeconfig = json!({"current-context": "a", "contexts": [{"name": "a", "context": {"cluster": "b", "user": "c"}}],
        "clusters": [{"name": "b", "cluster": {"server": other.listen().await}}], "users": [{"name": "c", "user": {"token": "t"}}]});
    std::fs::write(&path, kubeconfig.to_string()).unwrap();
    let own = Server::new(|seen: &Seen| refused(500, "InternalError", &seen.path));
    let jobs = Jobs::new(own.client(), None).elsewhere(Some(path.display().to_string()));
    let began = jobs.measure(&query(metric(), Attempt::Begin)).await;
    assert_eq!(began.metadata, under_way().metadata);
    let sent: Value = serde_json::from_str(&other.seen()[0].body).unwrap();
    assert_eq!(sent["metadata"]["ownerReferences"], Value::Null);
    assert_eq!(other.seen()[0].header("authorization"), "Bearer t");
    let ended = jobs.measure(&query(metric(), Attempt::Resume(under_way()))).await;
    assert!(
        matches!(
            ended.answer,
            Answer::Judged {
                phase: Phase::Successful,
                ..
            }
        ),
        "{ended:?}"
    );
    assert_eq!((own.seen().len(), other.seen().len()), (0, 2));
}

#[tokio::test]
async fn a_cluster_that_cannot_be_read_is_an_error_and_never_the_own_one() {
    let own = Server::new(|seen: &Seen| (201, seen.body.clone()));
    for kubeconfig in ["/does/not/exist", IN_CLUSTER] {
        let jobs = Jobs::new(own.client(), None).elsewhere(Some(kubeconfig.to_owned()));
        for attempt in [
            Attempt::Begin,
            Attempt::Resume(under_way()),
            Attempt::Terminate(under_way()),
        ] {
            let Answer::Error(message) = jobs.measure(&query(metric(), attempt)).await.answer else {
                panic!("no error with {kubeconfig}")
            };
            let beginning = format!("ARGO_ROLLOUTS_ANALYSIS_JOB_KUBECONFIG is {kubeconfig:?}: ");
            assert!(message.starts_with(&beginning), "{message}");
        }
    }
    assert!(own.seen().is_empty());
}

#[tokio::test]
async fn a_job_from_before_a_crash_is_found_again() {
    let found = |uid: &'static str| {
        Server::new(move |seen: &Seen| match seen.method.as_str() {
            "POST" => refused(409, "AlreadyExists", "jobs.batch \"x\" already exists"),
            _ => (
                200,
                json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x", "labels": {RUN_UID: uid}}})
                    .to_string(),
            ),
        })
    };
    assert!(matches!(
        measure(&found("0a1b2c3d"), Attempt::Begin).await.answer,
        Answer::UnderWay { .. }
    ));
    let foreign = measure(&found("other"), Attempt::Begin).await;
    assert_eq!(
        foreign,
        Answered::error("job '0a1b2c3d.smoke.1' already exists and belongs to something else")
    );
    let invalid = Server::new(|_: &Seen| refused(422, "Invalid", "Job.batch is invalid"));
    assert_eq!(
        measure(&invalid, Attempt::Begin).await,
        Answered::error("Job.batch is invalid")
    );
}

#[tokio::test]
async fn the_end_of_the_job_is_the_measurement() {
    let judged = |phase, message: &str| {
        Answered::plain(Answer::Judged {
            phase,
            message: message.to_owned(),
        })
    };
    let resume = || Attempt::Resume(under_way());
    let condition = |kind: &str| {
        json!({"conditions": [{"type": "Suspended", "status": "False"},
        {"type": kind, "status": "True", "message": "Job has reached the specified backoff limit"}]})
    };
    let none = json!(null);
    assert_eq!(
        measure(&cluster(condition("Complete"), none.clone()), resume()).await,
        judged(Phase::Successful, "")
    );
    assert_eq!(
        measure(&cluster(condition("Failed"), none.clone()), resume()).await,
        judged(Phase::Failed, "Job has reached the specified backoff limit")
    );
    // 50 s old, so the next look is 10 s away.
    let later = Answered::plain(Answer::UnderWay {
        resume_at: Timestamp::from_second(1_000_010).unwrap(),
    });
    assert_eq!(measure(&cluster(json!({"active": 1}), none), resume()).await, later);
    let creating = json!({"reason": "ContainerCreating"});
    assert_eq!(measure(&cluster(json!({"active": 1}), creating), resume()).await, later);
    let pulling = json!({"reason": "ImagePullBackOff", "message": "no such image"});
    assert_eq!(
        measure(&cluster(json!({"active": 1}), pulling), resume()).await,
        judged(
            Phase::Inconclusive,
            "container 'c' cannot start: ImagePullBackOff: no such image"
        )
    );
    let gone = Server::new(|_: &Seen| refused(404, "NotFound", "jobs.batch \"x\" not found"));
    assert_eq!(
        measure(&gone, resume()).await,
        Answered::error("jobs.batch \"x\" not found")
    );
    let nameless = measure(&gone, Attempt::Resume(Measurement::default())).await;
    assert_eq!(nameless, Answered::error("the measurement does not name its job"));
}

#[tokio::test]
async fn terminating_deletes_the_job_with_its_pods() {
    let ended = Answered::plain(Answer::Judged {
        phase: Phase::Inconclusive,
        message: String::new(),
    });
    let server = Server::new(|_: &Seen| {
        (
            200,
            json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}).to_string(),
        )
    });
    assert_eq!(measure(&server, Attempt::Terminate(under_way())).await, ended);
    let [seen] = &server.seen()[..] else {
        panic!("one request")
    };
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("DELETE", JOB));
    assert!(
        seen.body.contains("\"propagationPolicy\":\"Background\""),
        "{}",
        seen.body
    );
    let gone = Server::new(|_: &Seen| refused(404, "NotFound", "gone"));
    assert_eq!(measure(&gone, Attempt::Terminate(under_way())).await, ended);
}

#[test]
fn long_names_lose_the_end_of_the_metric() {
    let uid = "8b3bfc32-28a5-4ba4-9d4e-6a2d1e2f0001";
    let name = job_name(uid, "a-metric-with-quite-a-long-name-indeed", 12);
    assert_eq!(
        (name.len(), name.as_str()),
        (63, "8b3bfc32-28a5-4ba4-9d4e-6a2d1e2f0001.a-metric-with-quite-a-l.12")
    );
    assert_eq!(job_name(uid, "m", 1), format!("{uid}.m.1"));
    assert_eq!(
        job_name(uid, "a-metric-with-quite-a--long", 12),
        format!("{uid}.a-metric-with-quite-a.12"),
        "a valid end"
    );
}

#[tokio::test(start_paused = true)]
async fn a_job_is_not_given_up_because_the_api_server_is_away() {
    let resume_at = Timestamp::from_second(1_000_010).unwrap();
    for (status, text) in [refused(503, "ServiceUnavailable", "not now"), (0, String::new())] {
        let away = Server::new(move |_: &Seen| (status, text.clone()));
        let begun = measure(&away, Attempt::Begin).await;
        assert_eq!(
            (begun.answer, begun.metadata),
            (Answer::UnderWay { resume_at }, under_way().metadata)
        );
        let resumed = measure(&away, Attempt::Resume(under_way())).await;
        assert_eq!(resumed, Answered::plain(Answer::UnderWay { resume_at }));
        let ended = measure(&away, Attempt::Terminate(under_way())).await;
        assert!(matches!(ended.answer, Answer::Error(_)), "{ended:?}");
    }
}

#[tokio::test]
async fn without_a_right_to_see_pods_the_job_decides() {
    let server = Server::new(|seen: &Seen| match seen.path.as_str() {
        JOB => (200, job(&json!({"active": 1}))),
        _ => refused(403, "Forbidden", "pods is forbidden"),
    });
    let answer = measure(&server, Attempt::Resume(under_way())).await.answer;
    assert!(matches!(answer, Answer::UnderWay { .. }), "{answer:?}");
}
