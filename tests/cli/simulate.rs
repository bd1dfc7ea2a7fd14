//! `simulate` as people call it: every manifest with every fault flag, the examples, and what is said about wrong input.

use assert_cmd::Command;

/// Output, notes and exit code of `tidegate simulate`.
fn simulate(args: &[&str]) -> (String, String, i32) {
    let mut command = Command::cargo_bin("tidegate").unwrap();
    let output = command
        .arg("simulate")
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code().unwrap())
}

/// The part of the output that follows the timeline.
fn sums(out: &str) -> &str {
    out.split_once("Totals\n").map_or(out, |(_, sums)| sums)
}

const FAULTS: [&[&str]; 5] = [
    &["--errors", "5%@40"],
    &["--slow", "300ms"],
    &["--crash"],
    &["--metrics-down"],
    &["--no-traffic"],
];

#[track_caller]
fn check(name: &str, file: &str) {
    let (mut told, error, code) = simulate(&["-f", file]);
    assert_eq!((error.as_str(), code), ("", 0), "{told}");
    for fault in FAULTS {
        let mut args = vec!["--quick", "-f", file];
        args.extend(fault);
        let (out, error, code) = simulate(&args);
        told.push_str(&format!(
            "\n$ {} (exit code {code})\n{}{error}",
            fault.join(" "),
            sums(&out)
        ));
    }
    insta::assert_snapshot!(name, told);
}

#[test]
fn a_blue_green_manifest_under_every_fault() {
    check("bluegreen", "tests/data/manifests/rollouts/bluegreen.yaml");
}

#[test]
fn a_basic_canary_manifest_under_every_fault() {
    check("canary-basic", "tests/data/manifests/rollouts/canary-basic.yaml");
}

#[test]
fn an_nginx_canary_manifest_under_every_fault() {
    check("canary-nginx", "tests/data/manifests/rollouts/canary-nginx.yaml");
}

#[test]
fn an_analysed_canary_under_every_fault() {
    check("analysed", "examples/simulate/rollout.yaml");
}

#[test]
fn every_example_scenario_holds() {
    let folder = format!("{}/examples/simulate", env!("CARGO_MANIFEST_DIR"));
    let mut scenarios = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name == "rollout.yaml")
            || path.extension().is_none_or(|extension| extension != "yaml")
        {
            continue;
        }
        let (out, error, code) = simulate(&["--quick", "--scenario", path.to_str().unwrap()]);
        assert_eq!(code, 0, "{}: {error}\n{out}", path.display());
        scenarios += 1;
    }
    assert!(scenarios >= 3);
}

#[test]
fn the_same_seed_tells_the_same_story_in_every_process() {
    let args = [
        "--quick",
        "--seed",
        "7",
        "-o",
        "json",
        "--scenario",
        "examples/simulate/hands.yaml",
    ];
    let (one, two) = (simulate(&args), simulate(&args));
    assert_eq!(one, two);
    let story: serde_json::Value = serde_json::from_str(&one.0).unwrap();
    assert_eq!(
        story.pointer("/outcome").and_then(serde_json::Value::as_str),
        Some("promoted")
    );
    let (other, ..) = simulate(&[
        "--quick",
        "--seed",
        "8",
        "-o",
        "json",
        "--scenario",
        "examples/simulate/hands.yaml",
    ]);
    assert_ne!(one.0, other);
}

#[test]
fn the_picture_in_the_documentation_is_up_to_date() {
    let (picture, ..) = simulate(&["--quick", "--scenario", "examples/simulate/errors.yaml", "-o", "svg"]);
    let path = format!("{}/docs/simulate.svg", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("INSTA_UPDATE").is_some_and(|update| update == "always") {
        std::fs::write(&path, &picture).unwrap();
    }
    assert!(picture.contains("</svg>"));
    assert_eq!(
        std::fs::read_to_string(path).unwrap(),
        picture,
        "run the test with INSTA_UPDATE=always"
    );
}

#[test]
fn expectations_that_do_not_hold_end_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scenario.yaml");
    std::fs::write(&path, "expect: [rolledBack, {maxPods: 5}]\n").unwrap();
    let (out, error, code) = simulate(&[
        "--quick",
        "-f",
        "examples/simulate/rollout.yaml",
        "--scenario",
        path.to_str().unwrap(),
    ]);
    assert_eq!(code, 1);
    assert!(out.contains("✖ maxPods 5 does not hold: at most 12 pods"), "{out}");
    assert!(
        error.starts_with("Error: 2 expectations do not hold: rolledBack (not rolled back: fully promoted); maxPods 5"),
        "{error}"
    );
}

#[test]
fn wrong_input_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scenario.yaml");
    std::fs::write(&path, "faults: [{errors: lots}]\n").unwrap();
    let scenario = path.to_str().unwrap();
    for (args, code, expect) in [
        (
            vec![],
            1,
            "Error: the files hold no Rollout\nhint: give manifests with `-f`, or a Rollout of the cluster with `--from-cluster`\n",
        ),
        (
            vec!["-f", "nowhere.yaml"],
            1,
            "Error: cannot read `nowhere.yaml`: No such file or directory (os error 2)\n",
        ),
        (
            vec!["-f", "examples/simulate/rollout.yaml", "--rollout", "shpo"],
            1,
            "Error: the files hold no Rollout `shpo`; they hold shop\nhint: did you mean `shop`?\n",
        ),
        (
            vec!["-f", "examples/simulate/rollout.yaml", "--errors", "5"],
            2,
            "Error: --errors 5: expected a share from 0% to 100%, found `5`\n",
        ),
    ] {
        let (_, error, found) = simulate(&args);
        assert_eq!((error.as_str(), found), (expect, code), "{args:?}");
    }
    let (_, error, code) = simulate(&["--scenario", scenario]);
    assert_eq!(
        (error, code),
        (
            format!("Error: `{scenario}`: faults[0]: expected a share from 0% to 100%, found `lots`\n"),
            1
        )
    );
}
