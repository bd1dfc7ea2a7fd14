use super::*;

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
        "promote web --full -v 5 --loglevel debug",
        "abort web api",
        "retry rollout web",
        "pause web",
        "set image web web=demo:v2 *=x:1",
        "version --short",
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
        "frobnicate",
    ] {
        assert!(parsed(&format!("kubectl-argo-rollouts {words}")).is_err(), "{words}");
    }
}

#[test]
fn global_flags_are_found_on_both_sides_of_the_verb() {
    for words in ["tidegate -n shop status web", "tidegate status web -n shop"] {
        assert_eq!(parsed(words).unwrap().0.namespace.as_deref(), Some("shop"), "{words}");
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
    assert_eq!(timeout("0"), Ok(None));
    assert_eq!(timeout("1m30s"), Ok(Some(Duration::from_secs(90))));
    assert!(timeout("-1s").is_err() && timeout("5").is_err());
}
