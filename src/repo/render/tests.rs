use super::*;
use crate::{
    class::Class,
    repo::{
        Freshness, Sources,
        tests::fixture::{Change, Opened, Upstream, config_map, open},
    },
};
use serde_json::json;

mod hostile;

fn request(url: &str, commit: &Sha, source: Value) -> RenderRequest {
    RenderRequest {
        repo_url: url.to_owned(),
        commit: Some(commit.clone()),
        source: serde_json::from_value(source).unwrap(),
        app_name: "guestbook".to_owned(),
    }
}

async fn render_at(
    opened: &Opened,
    upstream: &Upstream,
    commit: &Sha,
    source: Value,
) -> Result<Arc<Rendered>, RenderError> {
    opened
        .sources
        .render(&request(&upstream.file_url(), commit, source))
        .await
}

fn names(rendered: &Rendered) -> Vec<&str> {
    rendered
        .objects
        .iter()
        .map(|object| object.pointer("/metadata/name").unwrap().as_str().unwrap())
        .collect()
}

/// Renders a source of a repository made of `changes`: names of the objects, or the error.
async fn outcome(changes: &[Change<'_>], source: Value) -> String {
    outcomes(changes, [source]).await.remove(0)
}

/// The same for several sources of one repository.
async fn outcomes(changes: &[Change<'_>], sources: impl IntoIterator<Item = Value>) -> Vec<String> {
    let upstream = Upstream::new();
    let commit = upstream.commit(changes);
    let opened = open();
    let mut texts = Vec::new();
    for source in sources {
        texts.push(match render_at(&opened, &upstream, &commit, source).await {
            Ok(rendered) => names(&rendered).join(" "),
            Err(error) => {
                let text = error.to_string();
                text.replace(&upstream.file_url(), "URL")
                    .replace(commit.short(), "COMMIT")
            }
        });
    }
    texts
}

fn folder_of_many() -> Vec<(&'static str, String)> {
    vec![
        ("app/a.yaml", config_map("a")),
        ("app/b.yml", config_map("b1") + "---\n" + &config_map("b2")),
        (
            "app/c.json",
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"}}"#.to_owned(),
        ),
        ("app/notes.txt", "no manifest".to_owned()),
        ("app/README.md", "# no manifest".to_owned()),
        (
            "app/skipped.yaml",
            format!("# +argocd:skip-file-rendering\n{}", config_map("skipped")),
        ),
        ("app/sub/d.yaml", config_map("d")),
        ("app/sub/deep/e.yaml", config_map("e")),
        ("other/f.yaml", config_map("f")),
        ("root.yaml", config_map("root")),
    ]
}

#[tokio::test]
async fn directories_render_by_their_options() {
    let upstream = Upstream::new();
    let files = folder_of_many();
    let changes: Vec<_> = files.iter().map(|(path, text)| Change::File(path, text)).collect();
    let commit = upstream.commit(&changes);
    let opened = open();
    for (source, expect) in [
        (json!({"path": "app"}), "a b1 b2 c"),
        (json!({"path": "./app/"}), "a b1 b2 c"),
        (json!({"path": "app", "directory": {"recurse": true}}), "a b1 b2 c d e"),
        (json!({"path": "app/sub"}), "d"),
        (json!({"path": "."}), "root"),
        (json!({"path": ""}), "root"),
        (
            json!({"path": "", "directory": {"recurse": true, "exclude": "app/*"}}),
            "f root",
        ),
        (json!({"path": "app", "directory": {"include": "{a,c}.*"}}), "a c"),
        (json!({"path": "app", "directory": {"exclude": "{*.yml,*.json}"}}), "a"),
        (
            json!({"path": "app", "directory": {"recurse": true, "include": "sub/*"}}),
            "d e",
        ),
        (
            json!({"path": "app", "directory": {"recurse": true, "include": "*.yaml", "exclude": "sub/deep/*"}}),
            "a d",
        ),
    ] {
        let rendered = render_at(&opened, &upstream, &commit, source.clone()).await.unwrap();
        assert_eq!(names(&rendered).join(" "), expect, "{source}");
        assert_eq!((&rendered.commit, rendered.source_type), (&commit, "Directory"));
    }
}

#[tokio::test]
async fn a_path_that_is_not_there_is_said_with_repository_and_commit() {
    let file = [Change::File("app/a.yaml", "")];
    assert_eq!(
        outcome(&file, json!({"path": "nope"})).await,
        "nope: app path does not exist (`URL` at commit COMMIT)"
    );
    assert_eq!(
        outcome(&file, json!({"path": "app/a.yaml"})).await,
        "app/a.yaml: app path is not a directory (`URL` at commit COMMIT)"
    );
    assert_eq!(
        outcome(&file, json!({"path": "app"})).await,
        "",
        "an empty manifest is no error"
    );
}

#[tokio::test]
async fn other_tools_are_said_to_be_missing() {
    for (file, source, expect) in [
        (
            "app/Chart.yaml",
            json!({}),
            "Helm is not supported yet (a directory of plain YAML or JSON is): app has a file Chart.yaml",
        ),
        (
            "app/kustomization.yaml",
            json!({}),
            "Kustomize is not supported yet (a directory of plain YAML or JSON is): app has a file kustomization.yaml",
        ),
        (
            "app/x.jsonnet",
            json!({}),
            "jsonnet is not supported yet, file app/x.jsonnet",
        ),
        (
            "app/x.yaml",
            json!({"helm": {}, "kustomize": {}}),
            "multiple application sources defined: Kustomize,Helm",
        ),
        (
            "app/x.yaml",
            json!({"directory": {"include": "[a"}}),
            "source.directory.include: invalid pattern `[a`: unclosed character class; missing ']'",
        ),
        ("app/x.jsonnet", json!({"directory": {"exclude": "*.jsonnet"}}), ""),
        ("app/Chart.yaml", json!({"directory": {"exclude": "Chart.yaml"}}), ""),
    ] {
        let mut source = source;
        source["path"] = json!("app");
        assert_eq!(
            outcome(&[Change::File(file, "")], source.clone()).await,
            expect,
            "{file} {source}"
        );
    }
}

#[tokio::test]
async fn every_bad_file_is_named_with_its_line() {
    let bad = config_map("x") + "---\nkind: ConfigMap\n";
    let text = outcome(
        &[
            Change::File(
                "app/a.yaml",
                "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n data: [\n",
            ),
            Change::File("app/b.yaml", &bad),
            Change::File("app/c.yaml", &config_map("fine")),
        ],
        json!({"path": "app"}),
    )
    .await;
    let (first, second) = text.split_once("; ").unwrap();
    assert!(first.starts_with("app/a.yaml: line "), "{text}");
    assert_eq!(second, "app/b.yaml: line 6: apiVersion is missing");
}

#[tokio::test]
async fn other_documents_are_passed_over_and_said() {
    let upstream = Upstream::new();
    let commit = upstream.commit(&[
        Change::File("values.yaml", "replicas: 3\n"),
        Change::File("a.yaml", &config_map("a")),
    ]);
    let rendered = render_at(&open(), &upstream, &commit, json!({})).await.unwrap();
    assert_eq!(names(&rendered), ["a"]);
    let problems: Vec<String> = rendered.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        ["values.yaml: line 1: passed over: the document has neither apiVersion nor kind"]
    );
}

#[tokio::test]
async fn override_files_change_the_options() {
    let upstream = Upstream::new();
    let commit = upstream.commit(&[
        Change::File(
            "app/.argocd-source.yaml",
            "directory:\n  recurse: true\npath: elsewhere\n",
        ),
        Change::File("app/.argocd-source-guestbook.yaml", "directory:\n  exclude: a.yaml\n"),
        Change::File("app/.argocd-source-other.yaml", "directory:\n  exclude: '*'\n"),
        Change::File("app/a.yaml", &config_map("a")),
        Change::File("app/sub/b.yaml", &config_map("b")),
    ]);
    let opened = open();
    let rendered = render_at(&opened, &upstream, &commit, json!({"path": "app"}))
        .await
        .unwrap();
    assert_eq!(names(&rendered), ["b"]);
    let mut other = request(&upstream.file_url(), &commit, json!({"path": "app"}));
    other.app_name = "other".to_owned();
    assert_eq!(names(&opened.sources.render(&other).await.unwrap()), Vec::<&str>::new());
    other.app_name = "third".to_owned();
    assert_eq!(
        names(&opened.sources.render(&other).await.unwrap()),
        ["a", "b"],
        "no render of another application"
    );
    let text = outcome(&[Change::File(".argocd-source.yaml", "directory: [\n")], json!({})).await;
    assert!(text.starts_with(".argocd-source.yaml: line "), "{text}");
}

#[tokio::test]
async fn a_render_is_reused_by_commits_that_do_not_touch_the_folder() {
    let upstream = Upstream::new();
    let first = upstream.commit(&[Change::File("app/a.yaml", &config_map("a"))]);
    let second = upstream.commit(&[Change::File("other/b.yaml", &config_map("b"))]);
    let third = upstream.commit(&[Change::File("app/a.yaml", &config_map("c"))]);
    let opened = open();
    let render = async |commit: &Sha| {
        render_at(&opened, &upstream, commit, json!({"path": "app"}))
            .await
            .unwrap()
    };
    let (one, two, three) = (render(&first).await, render(&second).await, render(&third).await);
    assert_eq!((one.from_cache, two.from_cache, three.from_cache), (false, true, false));
    assert!(Arc::ptr_eq(&one.objects, &two.objects));
    assert_eq!((&one.content_digest, &two.commit), (&two.content_digest, &second));
    assert_ne!(one.digest, two.digest, "a digest names its commit");
    assert_ne!(one.content_digest, three.content_digest);
    assert_eq!(names(&three), ["c"]);
    let again = render(&first).await;
    assert_eq!((again.from_cache, &again.digest), (true, &one.digest));
    let other = render_at(
        &opened,
        &upstream,
        &first,
        json!({"path": "app", "directory": {"recurse": true}}),
    )
    .await
    .unwrap();
    assert!(!other.from_cache, "other options are another render");
    assert_ne!(other.digest, one.digest);
}

/// The folder is the same in both commits; what a link in it leads to is not.
#[tokio::test]
async fn a_link_out_of_the_folder_makes_the_rest_of_the_tree_count() {
    let upstream = Upstream::new();
    let first = upstream.commit(&[
        Change::Link("app/linked.yaml", "../shared/real.yaml"),
        Change::Link("entry", "app"),
        Change::File("shared/real.yaml", &config_map("one")),
    ]);
    let second = upstream.commit(&[Change::File("shared/real.yaml", &config_map("two"))]);
    let opened = open();
    for path in ["app", "entry"] {
        let before = render_at(&opened, &upstream, &first, json!({"path": path}))
            .await
            .unwrap();
        let after = render_at(&opened, &upstream, &second, json!({"path": path}))
            .await
            .unwrap();
        assert_eq!((names(&before), names(&after)), (vec!["one"], vec!["two"]), "{path}");
        assert!(
            render_at(&opened, &upstream, &first, json!({"path": path}))
                .await
                .unwrap()
                .from_cache,
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_broken_link_is_an_error_only_where_a_manifest_is_meant() {
    assert_eq!(
        outcome(&[Change::Link("app/a.yaml", "gone.yaml")], json!({"path": "app"})).await,
        "app/a.yaml: the symbolic link leads to nothing (`URL` at commit COMMIT)"
    );
    let files = [
        Change::Link("app/latest", "gone"),
        Change::File("app/a.yaml", &config_map("a")),
    ];
    assert_eq!(outcome(&files, json!({"path": "app"})).await, "a");
}

#[tokio::test]
async fn a_failed_render_is_not_remembered_and_a_lost_commit_is_named() {
    let upstream = Upstream::new();
    let bad = upstream.commit(&[Change::File("a.yaml", "kind: A\n")]);
    let good = upstream.commit(&[Change::File("a.yaml", &config_map("a"))]);
    let opened = open();
    let error = render_at(&opened, &upstream, &bad, json!({})).await.unwrap_err();
    assert_eq!((error.label(), error.class()), ("manifests", Class::Permanent));
    assert!(render_at(&opened, &upstream, &good, json!({})).await.is_ok());
    let lost = Sha::parse(&"e".repeat(40)).unwrap();
    let error = render_at(&opened, &upstream, &lost, json!({})).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("commit {lost} not found in `{}`", upstream.file_url())
    );
}

#[tokio::test]
async fn many_revisions_are_read_at_once() {
    let upstream = Upstream::new();
    let commits: Vec<Sha> = (0..12)
        .map(|index| upstream.commit(&[Change::File("a.yaml", &config_map(&format!("v{index}")))]))
        .collect();
    let opened = open();
    let renders = commits
        .iter()
        .map(|commit| render_at(&opened, &upstream, commit, json!({})));
    for (index, rendered) in futures::future::join_all(renders).await.into_iter().enumerate() {
        assert_eq!(names(&rendered.unwrap()), [format!("v{index}")]);
    }
}

async fn newest(sources: &Sources, upstream: &Upstream) -> Sha {
    sources
        .resolve(&upstream.file_url(), "main", Freshness::Latest)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_resolved_branch_renders() {
    let upstream = Upstream::new();
    upstream.commit(&[Change::File("a.yaml", &config_map("a"))]);
    let opened = open();
    let commit = newest(&opened.sources, &upstream).await;
    assert_eq!(
        names(&render_at(&opened, &upstream, &commit, json!({})).await.unwrap()),
        ["a"]
    );
}
