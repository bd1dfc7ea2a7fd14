//! Hostile trees. The names are those of the list of attacks this kind of program has seen.

use super::*;
use crate::repo::tests::fixture::open_with;
use std::time::{Duration, Instant};

#[tokio::test]
async fn symlink_file_out_of_root() {
    let targets = [
        "/etc/passwd",
        "../../etc/passwd",
        "../../../../../../etc/passwd",
        "x/../../../etc/passwd",
    ];
    let paths: Vec<String> = (0..targets.len())
        .flat_map(|at| [format!("a{at}/a.yaml"), format!("t{at}/innocent.txt")])
        .collect();
    let mut changes = vec![Change::File("x/y", "")];
    changes.extend(
        paths
            .iter()
            .enumerate()
            .map(|(at, path)| Change::Link(path, targets[at / 2])),
    );
    let sources = paths.iter().map(|path| json!({"path": path.split('/').next()}));
    for (path, text) in paths.iter().zip(outcomes(&changes, sources).await) {
        assert_eq!(
            text,
            format!("{path}: the symbolic link leads out of the repository (`URL` at commit COMMIT)")
        );
    }
}

#[tokio::test]
async fn symlink_dir_chain() {
    let links = |last: &'static str| {
        [
            Change::Link("app/a", "../b"),
            Change::Link("b", "c/d"),
            Change::Link("c", "e"),
            Change::Link("e/d", last),
            Change::File("f/x.yaml", ""),
        ]
    };
    for text in outcomes(
        &links("../../outside"),
        [json!({"path": "app"}), json!({"path": "app/a"})],
    )
    .await
    {
        assert_eq!(
            text,
            "app/a: the symbolic link leads out of the repository (`URL` at commit COMMIT)"
        );
    }
    let inside = [
        Change::Link("app/a.yaml", "b/x.yaml"),
        Change::Link("app/b", "../c"),
        Change::Link("c", "f"),
        Change::File("f/x.yaml", &config_map("x")),
    ];
    assert_eq!(
        outcomes(&inside, [json!({"path": "app"}), json!({"path": "app/b"})]).await,
        ["x", "x"]
    );
    let circle = [
        Change::Link("app/a.yaml", "b.yaml"),
        Change::Link("app/b.yaml", "a.yaml"),
    ];
    assert_eq!(
        outcome(&circle, json!({"path": "app"})).await,
        "app/a.yaml: the symbolic link leads in a circle (`URL` at commit COMMIT)"
    );
}

/// A commit is what it is: pushes while it is rendered change nothing about it.
#[tokio::test]
async fn symlink_swap_race() {
    let upstream = Upstream::new();
    let good = upstream.commit(&[
        Change::Link("app/a.yaml", "../real.yaml"),
        Change::File("real.yaml", &config_map("real")),
    ]);
    let opened = open_with(|options| options.allow_file_protocol = true);
    let url = upstream.file_url();
    for round in 0..6 {
        let target = if round % 2 == 0 { "/etc/passwd" } else { "../real.yaml" };
        let swapped = upstream.commit(&[
            Change::Link("app/a.yaml", target),
            Change::File("round", &round.to_string()),
        ]);
        let (good, swapped) = [&good, &swapped]
            .map(|commit| request(&url, commit, json!({"path": "app"})))
            .into();
        let (old, new) = tokio::join!(opened.sources.render(&good), opened.sources.render(&swapped));
        assert_eq!(names(&old.unwrap()), ["real"]);
        assert_eq!(new.is_ok(), round % 2 == 1, "{new:?}");
    }
}

#[tokio::test]
async fn dotdot_in_app_path() {
    let cases = [
        ("..", "it must not contain `..`"),
        ("../x", "it must not contain `..`"),
        ("app/..", "it must not contain `..`"),
        ("app/../../x", "it must not contain `..`"),
        ("./../x", "it must not contain `..`"),
        ("/etc", "it must be relative to the root of the repository"),
        ("app\\..\\x", "it contains a backslash"),
        ("app\nx", "it contains control characters"),
    ];
    let texts = outcomes(
        &[Change::File("app/a.yaml", "")],
        cases.map(|(path, _)| json!({"path": path})),
    )
    .await;
    for ((path, reason), text) in cases.into_iter().zip(texts) {
        assert_eq!(text, format!("invalid source path `{path}`: {reason}"));
    }
}

#[tokio::test]
async fn encoded_dotdot() {
    let paths = [
        "%2e%2e/etc",
        "app/%2e%2e/%2e%2e/etc",
        "..%2fetc",
        "app/．．/etc",
        "app/...",
        ":/app",
        "app^{tree}",
        "-r",
    ];
    let texts = outcomes(
        &[Change::File("app/a.yaml", "")],
        paths.map(|path| json!({"path": path})),
    )
    .await;
    for (path, text) in paths.into_iter().zip(texts) {
        assert_eq!(
            text,
            format!("{path}: app path does not exist (`URL` at commit COMMIT)")
        );
    }
}

#[tokio::test]
async fn git_submodule_file_url() {
    let secret = Upstream::new();
    let inner = secret.commit(&[Change::File("s.yaml", &config_map("secret"))]);
    let modules = format!("[submodule \"s\"]\n\tpath = app/s\n\turl = {}\n", secret.file_url());
    let files = [
        Change::File(".gitmodules", &modules),
        Change::Submodule("app/s", &inner),
        Change::File("app/a.yaml", &config_map("a")),
    ];
    let sources = [
        json!({"path": "app", "directory": {"recurse": true}}),
        json!({"path": "app/s"}),
    ];
    assert_eq!(
        outcomes(&files, sources).await,
        ["a", "app/s: app path does not exist (`URL` at commit COMMIT)"]
    );
}

#[tokio::test]
async fn case_insensitive_dot_git() {
    let upstream = Upstream::new();
    let blob = upstream.git_with(&["hash-object", "-w", "--stdin"], config_map("inner").as_bytes());
    let inner = upstream.git_with(&["mktree"], format!("100644 blob {blob}\tconfig.yaml\n").as_bytes());
    let mut tree = String::new();
    for name in [".GIT", ".git", "GIT~1"] {
        tree += &format!("040000 tree {inner}\t{name}\n");
    }
    let tree = upstream.git_with(&["mktree"], tree.as_bytes());
    let commit = upstream.git(&["commit-tree", "-m", "x", &tree]);
    upstream.git(&["update-ref", "refs/heads/main", &commit]);
    let (opened, commit) = (open(), Sha::parse(&commit).unwrap());
    let rendered = render_at(&opened, &upstream, &commit, json!({"directory": {"recurse": true}}))
        .await
        .unwrap();
    assert_eq!(
        names(&rendered),
        ["inner", "inner", "inner"],
        "just names in a list, nothing is written anywhere"
    );
    let clones = opened.cache.path().join("cache/clones");
    let clone = std::fs::read_dir(clones).unwrap().next().unwrap().unwrap().path();
    assert!(!clone.join("config.yaml").exists() && !clone.join(".GIT").exists());
}

#[tokio::test]
async fn fifo_or_device_in_repo() {
    let upstream = Upstream::new();
    let blob = upstream.git_with(&["hash-object", "-w", "--stdin"], config_map("a").as_bytes());
    let name: Vec<u8> = (0..blob.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&blob[at..at + 2], 16).unwrap())
        .collect();
    let mut tree = Vec::new();
    for entry in ["100644 a.yaml", "20644 device.yaml", "10644 fifo.yaml"] {
        tree.extend_from_slice(entry.as_bytes());
        tree.push(0);
        tree.extend_from_slice(&name);
    }
    let tree = upstream.git_with(&["hash-object", "-w", "-t", "tree", "--literally", "--stdin"], &tree);
    let commit = upstream.git(&["commit-tree", "-m", "x", &tree]);
    upstream.git(&["update-ref", "refs/heads/main", &commit]);
    let commit = Sha::parse(&commit).unwrap();
    let rendered = render_at(&open(), &upstream, &commit, json!({})).await.unwrap();
    assert_eq!(names(&rendered), ["a"]);
}

/// Ten levels of ten folders that are all the same: 10^10 files in a few hundred bytes. However small the limit, only
/// stopping git at it ends this in time.
#[tokio::test]
async fn tree_bomb() {
    let upstream = Upstream::new();
    let blob = upstream.git_with(&["hash-object", "-w", "--stdin"], b"");
    let mut tree = upstream.git_with(&["mktree"], format!("100644 blob {blob}\ta.yaml\n").as_bytes());
    for _ in 0..10 {
        let entries: String = (0..10).map(|index| format!("040000 tree {tree}\t{index}\n")).collect();
        tree = upstream.git_with(&["mktree"], entries.as_bytes());
    }
    let commit = upstream.git(&["commit-tree", "-m", "x", &tree]);
    upstream.git(&["update-ref", "refs/heads/main", &commit]);
    let commit = Sha::parse(&commit).unwrap();
    let started = Instant::now();
    let opened = open_with(|options| options.limits.listing_bytes = 256 << 10);
    let error = render_at(&opened, &upstream, &commit, json!({"directory": {"recurse": true}}))
        .await
        .unwrap_err();
    assert_eq!(
        (error.label(), error.class()),
        ("too_large", Class::Permanent),
        "{error}"
    );
    assert!(started.elapsed() < Duration::from_secs(30));
    let first_level = render_at(&opened, &upstream, &commit, json!({})).await.unwrap();
    assert!(
        first_level.objects.is_empty(),
        "without recurse the rest is not even listed"
    );
}

#[tokio::test]
async fn a_deep_tree_with_more_files_than_allowed() {
    const ALLOWED: usize = 100;
    let upstream = Upstream::new();
    let blob = upstream.git_with(&["hash-object", "-w", "--stdin"], config_map("a").as_bytes());
    let entries: String = (0..20)
        .map(|index| format!("100644 blob {blob}\t{index}.yaml\n"))
        .collect();
    let mut tree = upstream.git_with(&["mktree"], entries.as_bytes());
    let entries: String = (0..10).map(|index| format!("040000 tree {tree}\td{index}\n")).collect();
    tree = upstream.git_with(&["mktree"], entries.as_bytes());
    for level in 0..20 {
        tree = upstream.git_with(&["mktree"], format!("040000 tree {tree}\tlevel{level}\n").as_bytes());
    }
    let own = upstream.git_with(&["hash-object", "-w", "--stdin"], config_map("own").as_bytes());
    let top = format!("100644 blob {own}\town.yaml\n040000 tree {tree}\ttop\n");
    tree = upstream.git_with(&["mktree"], top.as_bytes());
    let commit = upstream.git(&["commit-tree", "-m", "x", &tree]);
    upstream.git(&["update-ref", "refs/heads/main", &commit]);
    let commit = Sha::parse(&commit).unwrap();
    let opened = open_with(|options| options.limits.manifest_files = ALLOWED);
    let error = render_at(&opened, &upstream, &commit, json!({"directory": {"recurse": true}}))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(".: 201 manifest files, at most {ALLOWED} are allowed")
    );
    let some = json!({"directory": {"recurse": true, "include": "{own.yaml,*/d7/1?.yaml}"}});
    assert_eq!(
        render_at(&opened, &upstream, &commit, some)
            .await
            .unwrap()
            .objects
            .len(),
        11
    );
}

#[tokio::test]
async fn huge_blob_limit() {
    let huge = "#".repeat(MANIFEST_BYTES_MAX);
    let small = config_map("a");
    let files = [Change::File("app/a.yaml", &small), Change::File("app/huge.yaml", &huge)];
    let text = outcome(&files, json!({"path": "app"})).await;
    let bytes = huge.len() + small.len();
    assert_eq!(
        text,
        format!(
            "app: {bytes} bytes of manifests (the largest is huge.yaml), at most {MANIFEST_BYTES_MAX} bytes are allowed"
        )
    );
    let files = [Change::File("app/a.yaml", &small), Change::File("app/huge.bin", &huge)];
    assert_eq!(
        outcome(&files, json!({"path": "app"})).await,
        "a",
        "what is not rendered does not count"
    );
}

#[tokio::test]
async fn lfs_pointer_bomb() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 99999999999999\n";
    assert_eq!(
        outcome(&[Change::File("app/a.yaml", pointer)], json!({"path": "app"})).await,
        "app/a.yaml: is a pointer to Git LFS, which is not supported yet"
    );
}

#[tokio::test]
async fn yaml_billion_laughs() {
    let mut text =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nx0: &x0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n"
            .to_owned();
    for level in 1..12 {
        let before = level - 1;
        text += &format!("x{level}: &x{level} [{}]\n", vec![format!("*x{before}"); 9].join(", "));
    }
    let text = outcome(&[Change::File("a.yaml", &text)], json!({})).await;
    assert!(text.starts_with("a.yaml: line "), "{text}");
}

#[tokio::test]
async fn a_link_whose_text_is_huge_is_not_read() {
    let target = "a/".repeat(5000);
    let text = outcome(&[Change::Link("a.yaml", &target)], json!({})).await;
    assert!(text.contains("the symbolic link a.yaml is 10000 bytes long"), "{text}");
}
