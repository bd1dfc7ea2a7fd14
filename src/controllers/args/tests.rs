use super::*;
use clap::Parser;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: ControllerArgs,
}

fn parse(words: &[&str]) -> ControllerArgs {
    Command::try_parse_from(std::iter::once(&"controller").chain(words))
        .unwrap()
        .args
}

#[test]
fn the_originals_flags_are_understood() {
    let args = parse(&[
        "--namespaced",
        "--metricsPort",
        "9000",
        "--loglevel=debug",
        "--leader-elect=false",
    ]);
    assert!(args.namespaced && !args.leader_elect);
    assert_eq!((args.metrics_port, args.loglevel.as_str()), (9000, "debug"));
    assert_eq!(args.leader_election_lease_duration, 15);
    assert_eq!(args.scope("shop"), Scope::Namespace("shop".to_owned()));
}

/// Every flag of the original (reference, rollouts 9.4 and, for versions of other projects' kinds, 5.1 to 5.7), with
/// the value that is its default or an example there.
const ORIGINAL: &[(&str, &str)] = &[
    ("--alb-ingress-classes", "alb"),
    ("--ambassador-api-version", "getambassador.io/v2"),
    ("--analysis-threads", "30"),
    ("--aws-verify-target-group", "false"),
    ("--burst", "80"),
    ("--controllers", "analysis"),
    ("--enable-pprof-address", "127.0.0.1:8888"),
    ("--ephemeral-metadata-threads", "10"),
    ("--ephemeral-metadata-update-pod-retries", "3"),
    ("--experiment-threads", "10"),
    ("--healthzPort", "8080"),
    ("--ingress-api-version", "networking.k8s.io/v1"),
    ("--ingress-threads", "10"),
    ("--instance-id", ""),
    ("--istio-api-version", "v1alpha3"),
    ("--kloglevel", "0"),
    ("--leader-elect", "true"),
    ("--leader-election-lease-duration", "15s"),
    ("--leader-election-namespace", "argo-rollouts"),
    ("--leader-election-renew-deadline", "10s"),
    ("--leader-election-retry-period", "2s"),
    ("--logformat", "text"),
    ("--loglevel", "info"),
    ("--metricsPort", "8090"),
    ("--namespaced", "false"),
    ("--nginx-ingress-classes", "nginx"),
    ("--qps", "40"),
    ("--rollout-resync", "900"),
    ("--rollout-threads", "10"),
    ("--self-service-notification-enabled", "false"),
    ("--service-threads", "10"),
    ("--traefik-api-group", "traefik.io"),
    ("--traefik-api-version", "traefik.io/v1alpha1"),
    ("--traffic-split-api-version", "v1alpha1"),
];

#[test]
fn every_flag_of_the_original_is_accepted() {
    let refused = |words: &[String]| {
        let words = std::iter::once("controller").chain(words.iter().map(String::as_str));
        Command::try_parse_from(words).err().map(|error| error.to_string())
    };
    let joined = |(flag, value): &(&str, &str)| format!("{flag}={value}");
    for pair in ORIGINAL {
        let apart = [pair.0.to_owned(), pair.1.to_owned()];
        assert_eq!((refused(&[joined(pair)]), refused(&apart)), (None, None), "{pair:?}");
    }
    let all: Vec<String> = ORIGINAL.iter().map(joined).collect();
    assert_eq!(refused(&all), None);
}

#[test]
fn groups_and_versions_of_other_projects_are_chosen_by_flags() {
    let chosen = |words: &[&str]| -> Vec<String> {
        let told = |(kind, choice): (ForeignKind, Choice)| {
            let (group, version) = (choice.group.unwrap_or_default(), choice.version.unwrap_or_default());
            format!("{kind} {group}/{version}")
        };
        parse(words).kinds.choices().into_iter().map(told).collect()
    };
    assert_eq!(chosen(&[]), ["TraefikService /"], "nothing is chosen");
    assert_eq!(
        chosen(&[
            "--istio-api-version=v1",
            "--traffic-split-api-version=split.smi-spec.io/v1alpha3"
        ]),
        [
            "VirtualService /v1",
            "DestinationRule /v1",
            "TrafficSplit split.smi-spec.io/v1alpha3",
            "TraefikService /"
        ]
    );
    assert_eq!(
        chosen(&[
            "--traefik-api-group=traefik.containo.us",
            "--ambassador-api-version=getambassador.io/v2"
        ]),
        ["TraefikService traefik.containo.us/", "Mapping getambassador.io/v2"]
    );
    for (words, expected) in [
        (
            ["--traefik-api-version=traefik.containo.us/v1alpha1"].as_slice(),
            "traefik.containo.us/v1alpha1",
        ),
        (
            [
                "--traefik-api-group=traefik.containo.us",
                "--traefik-api-version=traefik.io/v1alpha1",
            ]
            .as_slice(),
            "traefik.containo.us/v1alpha1",
        ),
    ] {
        assert_eq!(chosen(words), [format!("TraefikService {expected}")], "{words:?}");
    }
    for word in [
        "--istio-api-version=latest",
        "--istio-api-version=istio.io/v1",
        "--traefik-api-group=x",
    ] {
        assert!(Command::try_parse_from(["controller", word]).is_err(), "{word}");
    }
}

#[test]
fn flags_without_a_meaning_here_are_accepted_and_named() {
    let args = parse(&["--qps", "40", "--burst=80", "--service-threads", "10"]);
    assert_eq!(args.ignored.given(), ["--qps", "--burst", "--service-threads"]);
    assert!(parse(&[]).ignored.given().is_empty());
}
