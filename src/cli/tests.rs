use super::*;
use std::time::Duration;

fn parsed(words: &str) -> Result<(GlobalArgs, Command), ErrorKind> {
    let args: Vec<OsString> = words.split_whitespace().map(OsString::from).collect();
    parse(Called::by(args.first()), args).map_err(|error| error.kind())
}

#[test]
fn the_command_trees_are_consistent() {
    Standalone::command().debug_assert();
    Plugin::command().debug_assert();
}

#[test]
fn the_name_it_is_called_by_decides_the_words() {
    assert!(matches!(
        parsed("tidegate crds"),
        Ok((_, Command::Crds { output_dir: None }))
    ));
    assert_eq!(
        parsed("/usr/bin/kubectl-tidegate crds").err(),
        Some(ErrorKind::InvalidSubcommand)
    );
    for program in ["tidegate", "kubectl-tidegate", "/opt/kubectl-argo-rollouts"] {
        assert!(parsed(&format!("{program} get rollout web -w")).is_ok(), "{program}");
    }
    assert_eq!(
        version(Called::by(Some(&"kubectl-argo-rollouts".into())), true),
        format!("kubectl-argo-rollouts: {VERSION}")
    );
}

#[test]
fn scripts_of_the_original_are_understood() {
    for words in [
        "-n shop get ro web --no-color --timeout-seconds 5",
        "list rollouts -A -w --timestamps --name web",
        "status web --watch=false -n shop",
        "status web -t 90s --context c --kubeconfig /f",
        "-s https://a:6443 --token t get ro web --insecure-skip-tls-verify --as jane --as-group a --as-group b",
        "abort web --insecure-skip-tls-verify=true --request-timeout=30s --cache-dir /tmp/c --disable-compression",
        "promote web --full -v 5 --loglevel debug",
        "abort web api",
        "retry rollout web",
        "pause web",
        "set image web web=demo:v2 *=x:1",
        "version --short",
        "create -f a.yaml -w --no-color",
        "create -f a.yaml -f b.yaml",
        "create analysisrun --name r --instance-id i -a k=v --argument l=w --from t --global",
        "create ar --generate-name r- --from-file t.yaml",
        "completion bash",
        "completion zsh",
        "completion fish",
        "completion powershell",
        "completion install",
        "get rollouts web -w",
        "get experiment e -w --no-color",
        "get exp e",
        "lint -f a.yaml",
        "list experiments -A",
        "promote web -c",
        "promote web -a",
        "promote web --skip-current-step --skip-all-steps",
        "restart web api -i 10s",
        "restart web --in 1h",
        "retry experiment e",
        "terminate analysisrun r",
        "terminate experiment e",
        "undo web --to-revision 3",
        "undo web",
    ] {
        assert!(
            parsed(&format!("kubectl-argo-rollouts {words}")).is_ok(),
            "{words}: {:?}",
            parsed(&format!("kubectl-argo-rollouts {words}")).err()
        );
    }
    for words in [
        "get rollout",
        "set image web web",
        "status web -t fast",
        "promote",
        "promote web --full -c",
        "create",
        "create ar",
        "create ar --from a --from-file b",
        "create ar --from a --name n --generate-name g-",
        "create ar --from a -a novalue",
        "lint",
        "undo web --to-revision -1",
        "restart web --in soon",
        "completion tcsh",
        "frobnicate",
    ] {
        assert!(parsed(&format!("kubectl-argo-rollouts {words}")).is_err(), "{words}");
    }
}

/// Commands and flags of the original (reference, rollouts 8), without those that `docs/limits.md` names.
const ORIGINAL: &[(&str, &str)] = &[
    ("abort", ""),
    ("completion", ""),
    ("create", "-f --filename -w --watch"),
    (
        "create analysisrun",
        "--name --generate-name --instance-id -a --argument --from --from-file --global",
    ),
    ("create ar", ""),
    ("get rollout", "-w --watch --timeout-seconds"),
    ("get ro", ""),
    ("get rollouts", ""),
    ("get experiment", "-w --watch"),
    ("get exp", ""),
    ("lint", "-f --filename"),
    ("list rollouts", "--name -A --all-namespaces -w --watch --timestamps"),
    ("list experiments", "-A --all-namespaces"),
    ("pause", ""),
    ("promote", "--full -c --skip-current-step -a --skip-all-steps"),
    ("restart", "-i --in"),
    ("retry rollout", ""),
    ("retry experiment", ""),
    ("set image", ""),
    ("status", "-w --watch -t --timeout"),
    ("terminate analysisrun", ""),
    ("terminate experiment", ""),
    ("undo", "--to-revision"),
    ("version", "--short"),
];

/// Flags of the original that every command takes.
const ORIGINAL_GLOBAL: &str = "-n --namespace --context --kubeconfig --no-color -v --kloglevel --loglevel -h --help \
    -s --server --cluster --user --token --username --password --as --as-group --as-uid --request-timeout \
    --insecure-skip-tls-verify --certificate-authority --client-certificate --client-key --tls-server-name \
    --disable-compression --cache-dir";

/// The command at a path of names or aliases.
fn found<'c>(root: &'c clap::Command, path: &str) -> Option<&'c clap::Command> {
    path.split(' ')
        .try_fold(root, |command, word| command.find_subcommand(word))
}

#[test]
fn every_command_and_flag_of_the_original_is_there() {
    let mut root = Plugin::command();
    root.build();
    let mut missing = Vec::new();
    for (path, flags) in ORIGINAL {
        let Some(command) = found(&root, path) else {
            missing.push((*path).to_owned());
            continue;
        };
        for flag in flags.split_whitespace().chain(ORIGINAL_GLOBAL.split(' ')) {
            let is = |arg: &&clap::Arg| match flag.strip_prefix("--") {
                Some(long) => arg.get_long() == Some(long),
                None => arg.get_short() == flag.chars().nth(1),
            };
            if !command.get_arguments().any(|arg| is(&arg)) {
                missing.push(format!("{path} {flag}"));
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn the_manual_lists_every_command() {
    let manual = include_str!("../../docs/plugin.md");
    let mut root = Plugin::command();
    root.build();
    let mut missing = Vec::new();
    for verb in root.get_subcommands().filter(|verb| verb.get_name() != "help") {
        let below: Vec<&str> = verb.get_subcommands().map(clap::Command::get_name).collect();
        let below = below.into_iter().filter(|name| *name != "help");
        let mut paths: Vec<String> = below.map(|name| format!("{} {name}", verb.get_name())).collect();
        if paths.is_empty() || verb.get_name() == "create" {
            paths.push(verb.get_name().to_owned());
        }
        missing.extend(
            paths
                .into_iter()
                .filter(|path| !manual.contains(&format!("`{path} ")) && !manual.contains(&format!("`{path}`"))),
        );
    }
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn global_flags_are_found_on_both_sides_of_the_verb() {
    for words in ["tidegate -n shop status web", "tidegate status web -n shop"] {
        assert_eq!(parsed(words).unwrap().0.namespace.as_deref(), Some("shop"), "{words}");
    }
    for words in [
        "tidegate -s https://a --as-group g status web",
        "tidegate status web --server https://a --as-group=g",
        "tidegate controller --server https://a --as-group g",
    ] {
        let overrides = parsed(words).unwrap().0.overrides;
        assert_eq!(overrides.server.as_deref(), Some("https://a"), "{words}");
        assert_eq!(overrides.as_group, ["g"], "{words}");
    }
}

#[test]
fn the_controller_has_flags_of_its_own_under_the_same_names() {
    let words =
        "tidegate controller --namespaced -n shop --context c --kubeconfig /f --loglevel debug --metricsPort 9000";
    let Ok((_, Command::Controller(args))) = parsed(words) else {
        panic!("{:?}", parsed(words).err())
    };
    assert_eq!(
        (args.namespace.as_deref(), args.context.as_deref()),
        (Some("shop"), Some("c"))
    );
    assert_eq!(
        (args.loglevel.as_str(), args.metrics_port, args.namespaced),
        ("debug", 9000, true)
    );
    let Ok((_, Command::Controller(args))) = parsed("tidegate controller") else {
        panic!("without flags")
    };
    assert_eq!(args.loglevel, "info");
}

#[test]
fn a_timeout_of_zero_is_none() {
    assert_eq!(words::timeout("0"), Ok(None));
    assert_eq!(words::timeout("1m30s"), Ok(Some(Duration::from_secs(90))));
    assert!(words::timeout("-1s").is_err() && words::timeout("5").is_err());
}
