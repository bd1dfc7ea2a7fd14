use super::*;
use proptest::prelude::*;

fn sha(digit: char) -> String {
    digit.to_string().repeat(40)
}

fn refs() -> RefMap {
    let lines = [
        "ref: refs/heads/main\tHEAD".to_owned(),
        format!("{}\tHEAD", sha('1')),
        format!("{}\trefs/heads/main", sha('1')),
        format!("{}\trefs/heads/feature/x", sha('2')),
        format!("{}\trefs/heads/both", sha('3')),
        format!("{}\trefs/heads/abcdef1", sha('b')),
        format!("{}\trefs/pull/7/head", sha('4')),
        format!("{}\trefs/tags/both", sha('5')),
        format!("{}\trefs/tags/v1.2.0", sha('6')),
        format!("{}\trefs/tags/v1.2.0^{{}}", sha('7')),
        format!("{}\trefs/tags/v1.3.0", sha('8')),
        format!("{}\trefs/tags/chart-v1.4.0", sha('9')),
        "nonsense".to_owned(),
        "zz\trefs/heads/bad".to_owned(),
    ];
    RefMap::parse(&lines.join("\n")).unwrap()
}

#[track_caller]
fn check(revision: &str, expect: Named) {
    assert_eq!(refs().resolve(revision, ""), expect, "{revision}");
}

fn commit(digit: char) -> Named {
    Named::Commit(Sha::parse(&sha(digit)).unwrap())
}

#[test]
fn names_resolve_to_commits() {
    check("", commit('1'));
    check("HEAD", commit('1'));
    check(" main ", commit('1'));
    check("feature/x", commit('2'));
    check("refs/heads/feature/x", commit('2'));
    check("heads/feature/x", commit('2'));
    check("refs/pull/7/head", commit('4'));
    check("pull/7/head", commit('4'));
    check("both", commit('3'));
    check("tags/both", commit('5'));
    check("refs/tags/both", commit('5'));
    check("v1.3.0", commit('8'));
    check("1.*", commit('8'));
    check("~1.2", commit('7'));
    check(">=2", Named::NoTagInRange);
    check(&sha('a').to_uppercase(), commit('a'));
    check("abcdef1", commit('b'));
    check("ABCDEF2", Named::Abbreviated("abcdef2".to_owned()));
    check("abc", Named::Unknown);
    check("x", Named::Unknown);
    check("nope", Named::Unknown);
    check("refs/heads/nope", Named::Unknown);
    assert_eq!(refs().default_branch.as_deref(), Some("refs/heads/main"));
}

#[test]
fn annotated_tags_are_peeled() {
    check("v1.2.0", commit('7'));
}

#[test]
fn the_tag_prefix_filters_and_is_not_part_of_the_version() {
    assert_eq!(refs().resolve("1.*", "chart-"), commit('9'));
    assert_eq!(refs().resolve("1.*", "other-"), Named::NoTagInRange);
}

#[test]
fn an_empty_repository_has_no_head() {
    assert_eq!(RefMap::parse("").unwrap().resolve("HEAD", ""), Named::Unknown);
}

#[test]
fn git_revision_starts_with_dash() {
    for revision in [
        "--upload-pack=touch /tmp/x",
        "-h",
        "a..b",
        "main@{1}",
        "main:secret.yaml",
        "a\nb",
    ] {
        assert!(revision_problem(revision).is_some(), "{revision}");
    }
    for revision in [
        "",
        "main",
        "feature/x",
        ">=1.0 <2.0",
        "1.x || 2.x",
        "v1.0.0-rc.1",
        "renovate/foo-1.x",
    ] {
        assert_eq!(revision_problem(revision), None, "{revision}");
    }
}

proptest! {
    #[test]
    fn any_text_is_resolved_without_panic(output in "(\\PC{0,20}\t?\\PC{0,20}\n){0,5}", revision in "\\PC{0,30}") {
        let map = RefMap::parse(&output).unwrap();
        let _ = map.resolve(&revision, "v");
        let _ = revision_problem(&revision);
    }
}
