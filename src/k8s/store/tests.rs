use super::*;
use crate::{
    api::{replica_set::ReplicaSet, rollout::Rollout},
    k8s::testing::FakeApi,
};
use serde_json::{Value, json};
use std::sync::Mutex;

fn replica_set(name: &str, version: &str, owner: Option<&str>) -> ReplicaSet {
    let owners: Vec<Value> = owner
        .map(|uid| json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "web", "uid": uid, "controller": true}))
        .into_iter()
        .collect();
    serde_json::from_value(json!({
        "metadata": {"namespace": "shop", "name": name, "uid": format!("uid-{name}"), "resourceVersion": version, "ownerReferences": owners},
    }))
    .unwrap()
}

fn names(found: &[Arc<ReplicaSet>]) -> Vec<&str> {
    found
        .iter()
        .map(|object| object.metadata.name.as_deref().unwrap())
        .collect()
}

#[test]
fn the_index_follows_a_change_of_owner() {
    let store = Store::<ReplicaSet>::default();
    store.put(replica_set("a", "1", Some("u1")));
    store.put(replica_set("b", "2", None));
    assert_eq!(names(&store.find(&Term::Owner("u1".to_owned()))), ["a"]);
    assert_eq!(names(&store.find(&Term::Orphan("shop".to_owned()))), ["b"]);
    store.put(replica_set("b", "3", Some("u1")));
    assert_eq!(names(&store.find(&Term::Owner("u1".to_owned()))), ["a", "b"]);
    assert!(store.find(&Term::Orphan("shop".to_owned())).is_empty());
    store.remove(&replica_set("a", "4", Some("u1")));
    assert_eq!(names(&store.find(&Term::Owner("u1".to_owned()))), ["b"]);
}

#[test]
fn listeners_hear_of_each_change_once() {
    let store = Store::<ReplicaSet>::default();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&heard);
    store.listen(move |change| {
        let version =
            |side: &Option<Arc<ReplicaSet>>| side.as_ref().and_then(|side| side.metadata.resource_version.clone());
        log.lock()
            .unwrap()
            .push((change.key.name.clone(), version(&change.before), version(&change.after)));
    });
    let some = |version: &str| Some(version.to_owned());
    store.put(replica_set("a", "1", None));
    store.put(replica_set("a", "1", None));
    assert_eq!(
        std::mem::take(&mut *heard.lock().unwrap()),
        [("a".to_owned(), None, some("1"))]
    );
    // A relist: "a" is unchanged, "b" is new.
    store.replace(vec![replica_set("a", "1", None), replica_set("b", "2", None)]);
    assert_eq!(
        std::mem::take(&mut *heard.lock().unwrap()),
        [("b".to_owned(), None, some("2"))]
    );
    // A relist that missed a deletion.
    store.replace(vec![replica_set("b", "2", None)]);
    assert_eq!(
        std::mem::take(&mut *heard.lock().unwrap()),
        [("a".to_owned(), some("1"), None)]
    );
    assert!(store.is_ready());
}

#[test]
fn a_store_knows_how_new_it_is() {
    let store = Store::<ReplicaSet>::default();
    let key = ObjectKey::new("shop", "a");
    store.put(replica_set("a", "9", None));
    assert!(store.has_seen(&key, "9") && store.has_seen(&key, "8"));
    assert!(
        !store.has_seen(&key, "10"),
        "versions are compared as numbers, not as text"
    );
    // Another object's event shows that the watch is past our write, whatever became of the object.
    store.put(replica_set("b", "12", None));
    assert!(store.has_seen(&key, "10") && store.has_seen(&ObjectKey::new("shop", "gone"), "11"));
    // A list from a server that is behind takes that back.
    store.replace(vec![replica_set("a", "9", None)]);
    assert!(!store.has_seen(&key, "10"));
    store.put(replica_set("a", "opaque-2", None));
    assert!(store.has_seen(&key, "opaque-2") && !store.has_seen(&key, "opaque-3"));
}

#[test]
fn a_deletion_is_seen_when_the_object_is_gone_going_or_replaced() {
    let store = Store::<ReplicaSet>::default();
    let key = ObjectKey::new("shop", "a");
    assert!(store.has_seen_deletion(&key, Some("uid-a")));
    store.put(replica_set("a", "1", None));
    assert!(!store.has_seen_deletion(&key, Some("uid-a")));
    assert!(store.has_seen_deletion(&key, Some("uid-of-the-one-before")));
}

#[tokio::test(start_paused = true)]
async fn a_watch_fills_the_store_prunes_and_survives_a_lost_connection() {
    let api = FakeApi::new();
    let rollout = |name: &str| {
        json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"namespace": "shop", "name": name,
            "managedFields": [{"manager": "kubectl"}],
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "mine": "kept"}},
            "spec": {"template": {"spec": {"unknown": 1}}}})
    };
    api.put(rollout("first"));
    let store = Store::<Rollout>::default();
    let watch = tokio::spawn(store.clone().watch(Api::all(api.client()), false));
    store.ready().await;
    let first = store.get(&ObjectKey::new("shop", "first")).unwrap();
    assert_eq!(first.metadata.managed_fields, None);
    assert_eq!(
        first.metadata.annotations.as_ref().unwrap().keys().collect::<Vec<_>>(),
        ["mine"]
    );
    assert_eq!(first.spec.template.as_ref().unwrap()["spec"]["unknown"], 1);

    api.put(rollout("second"));
    eventually(|| store.len() == 2).await;
    api.delete("argoproj.io/v1alpha1", "rollouts", "shop", "first");
    eventually(|| store.len() == 1).await;
    watch.abort();
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_not_served_leaves_an_optional_store_empty_and_ready() {
    let api = FakeApi::new();
    api.inject(|request| request.path.contains("rollouts").then_some((404, "NotFound")));
    let (optional, needed) = (Store::<Rollout>::default(), Store::<Rollout>::default());
    let watches = [
        tokio::spawn(optional.clone().watch(Api::all(api.client()), true)),
        tokio::spawn(needed.clone().watch(Api::all(api.client()), false)),
    ];
    optional.ready().await;
    assert!(!needed.is_ready());
    api.heal();
    api.put(json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"namespace": "shop", "name": "late"}}));
    needed.ready().await;
    eventually(|| optional.len() == 1).await;
    watches.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Lets the other tasks run, on the paused clock, until `holds`.
pub(crate) async fn eventually(mut holds: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("it did not come to hold within 100 s of virtual time");
}

#[tokio::test(start_paused = true)]
async fn an_object_read_again_is_taken_unless_a_newer_one_came_meanwhile() {
    let api = FakeApi::new();
    let store = Store::<Rollout>::default();
    let key = ObjectKey::new("shop", "web");
    let stored = || {
        store
            .get(&key)
            .and_then(|rollout| rollout.metadata.resource_version.clone())
    };
    let rollout = |weight: u64| {
        json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"namespace": "shop", "name": "web"},
            "spec": {"replicas": weight}})
    };
    store.reread(&api.client(), &key).await.unwrap();
    assert_eq!(stored(), None);

    api.put(rollout(1));
    store.reread(&api.client(), &key).await.unwrap();
    let first = store.get(&key).unwrap();
    api.put(rollout(2));
    store.reread(&api.client(), &key).await.unwrap();
    let second = stored().unwrap();
    assert_ne!(first.metadata.resource_version.as_ref(), Some(&second));

    store.put((*first).clone());
    let mut predecessor = (*first).clone();
    predecessor.metadata.uid = Some("of-the-one-before".to_owned());
    store.remove(&predecessor);
    assert_eq!(
        stored(),
        Some(second),
        "late events of the first version and of its predecessor say nothing new"
    );

    let mut third = (*first).clone();
    third.metadata.resource_version = Some("999999".to_owned());
    store.put(third);
    store.reread(&api.client(), &key).await.unwrap();
    assert_eq!(stored().as_deref(), Some("999999"));

    api.delete("argoproj.io/v1alpha1", "rollouts", "shop", "web");
    store.reread(&api.client(), &key).await.unwrap();
    assert_eq!(stored(), None);
}
