use super::*;
use crate::{
    api::application::{ApplicationSource, ApplicationSourceDirectory},
    repo::{
        Freshness, PollOptions, Sources, UsedRepository,
        render::{RenderRequest, Rendered},
    },
    sim::clock::VirtualClock,
};

const URL: &str = "https://git.example.com/shop.git";

fn server() -> GitServer {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    GitServer::new(Arc::new(VirtualClock::starting_at(start)), &Dice::new(1))
}

fn files(files: &[(&str, &str)]) -> BTreeMap<String, String> {
    files
        .iter()
        .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
        .collect()
}

fn config_map(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n")
}

async fn render(sources: &Sources, commit: Sha, recurse: bool) -> Result<Arc<Rendered>, String> {
    let request = RenderRequest {
        repo_url: URL.to_owned(),
        commit: Some(commit),
        source: ApplicationSource {
            path: "app".to_owned(),
            directory: Some(ApplicationSourceDirectory {
                recurse,
                ..ApplicationSourceDirectory::default()
            }),
            ..ApplicationSource::default()
        },
        app_name: "shop".to_owned(),
    };
    sources.render(&request).await.map_err(|error| error.to_string())
}

fn names(rendered: &Rendered) -> Vec<&str> {
    let name = |object: &'_ serde_json::Value| object["metadata"]["name"].as_str().map(str::len);
    assert!(rendered.objects.iter().all(|object| name(object).is_some()));
    rendered
        .objects
        .iter()
        .filter_map(|object| object["metadata"]["name"].as_str())
        .collect()
}

async fn resolve(sources: &Sources, freshness: Freshness) -> Result<String, String> {
    let found = sources.resolve(URL, MAIN, freshness).await;
    found
        .map(|sha| sha.as_str().to_owned())
        .map_err(|error| error.to_string())
}

#[tokio::test(start_paused = true)]
async fn the_real_code_reads_commits_and_folders() {
    let server = server();
    let (one, two) = (config_map("one"), config_map("two"));
    let first = server.push(MAIN, &files(&[("app/one.yaml", &one), ("README.md", "hello")]), "first");
    let both = files(&[("app/one.yaml", &one), ("app/deep/two.yaml", &two)]);
    let second = server.push(MAIN, &both, "second");
    let sources = Sources::simulated(server.machine());
    assert_eq!(resolve(&sources, Freshness::Latest).await, Ok(second.clone()));
    let sha = |text: &str| Sha::parse(text).unwrap();
    let flat = render(&sources, sha(&second), false).await.unwrap();
    assert_eq!(names(&flat), ["one"]);
    let deep = render(&sources, sha(&second), true).await.unwrap();
    assert_eq!(names(&deep), ["two", "one"]);
    let old = render(&sources, sha(&first), true).await.unwrap();
    assert_eq!(names(&old), ["one"]);
    assert_eq!(sources.is_ancestor(URL, &sha(&first), &sha(&second)).await, Ok(true));
    assert_eq!(sources.is_ancestor(URL, &sha(&second), &sha(&first)).await, Ok(false));
    let changed = sources.changed_files(URL, &sha(&first), &sha(&second)).await;
    assert_eq!(changed.unwrap(), ["README.md", "app/deep/two.yaml"]);
    let info = sources.commit_info(URL, &sha(&second)).await.unwrap();
    assert_eq!(
        (info.subject.as_str(), info.author.as_str()),
        ("second", "Ada <ada@example.com>")
    );
    assert_eq!(
        sources.resolve(URL, &second[..9], Freshness::Cached).await,
        Ok(sha(&second))
    );
    let gone = render(&sources, sha(&"1".repeat(40)), true).await.unwrap_err();
    assert!(gone.contains("not found"), "{gone}");
}

#[tokio::test(start_paused = true)]
async fn outages_mirrors_and_forced_pushes_show_as_they_do_in_life() {
    let server = server();
    let first = server.push(MAIN, &files(&[("app/a.yaml", "a: 1")]), "first");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let second = server.push(MAIN, &files(&[("app/a.yaml", "a: 2")]), "second");
    let sources = Sources::simulated(server.machine());
    server.set(Condition::Behind(Duration::from_secs(30)));
    assert_eq!(resolve(&sources, Freshness::Latest).await, Ok(first.clone()));
    server.set(Condition::Unreachable);
    let error = sources.resolve(URL, MAIN, Freshness::Latest).await.unwrap_err();
    assert_eq!(error.class(), crate::class::Class::Transient, "{error}");
    server.set(Condition::Denied);
    let error = sources.resolve(URL, MAIN, Freshness::Latest).await.unwrap_err();
    assert_eq!(error.class(), crate::class::Class::Denied, "{error}");
    server.set(Condition::Slow(Range::millis(100_000, 100_000)));
    let error = sources.resolve(URL, MAIN, Freshness::Latest).await.unwrap_err();
    assert!(error.to_string().contains("did not answer within 90s"), "{error}");
    server.set(Condition::Up);
    assert_eq!(resolve(&sources, Freshness::Latest).await, Ok(second));
    server.reset(MAIN, &first);
    assert_eq!(resolve(&sources, Freshness::Latest).await, Ok(first));
}

#[tokio::test(start_paused = true)]
async fn the_real_poller_hears_of_a_push() {
    let server = server();
    server.push(MAIN, &files(&[("app/a.yaml", "a: 1")]), "first");
    let sources = Sources::simulated(server.machine());
    let mut changes = sources.subscribe();
    sources.watch(BTreeSet::from([UsedRepository {
        url: URL.to_owned(),
        project: "default".to_owned(),
    }]));
    let polling = sources.clone();
    let task = tokio::spawn(async move { polling.run_poller(PollOptions::default()).await });
    tokio::time::sleep(Duration::from_secs(5)).await;
    let second = server.push(MAIN, &files(&[("app/a.yaml", "a: 2")]), "second");
    assert!(changes.recv().await.unwrap().concerns(URL));
    assert_eq!(resolve(&sources, Freshness::Cached).await, Ok(second));
    task.abort();
}

#[test]
fn equal_histories_have_equal_names() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let commit = || runtime.block_on(async { server().push(MAIN, &files(&[("a", "b")]), "first") });
    assert_eq!(commit(), commit());
}
