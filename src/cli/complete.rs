//! What may stand at the end of an unfinished command line. Answers in the protocol that kubectl and the shell scripts of
//! `completion` read: a candidate a line, a tab and what it means, and last a directive.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction};
use kube::api::{Api, ListParams};
use kube::config::Kubeconfig;

use super::cluster::{Cluster, NAMES_MAX};
use super::error::CliError;
use super::style::clean;
use super::terminal::Terminal;
use super::words::GlobalArgs;
use crate::api::analysis::{AnalysisRun, AnalysisTemplate, ClusterAnalysisTemplate};
use crate::api::experiment::Experiment;
use crate::api::rollout::Rollout;

/// The hidden first word that asks for completion.
pub(super) const WORD: &str = "__complete";

/// A cluster that answers later than this is not waited for: somebody sits at the keyboard.
const PATIENCE: Duration = Duration::from_secs(3);

/// The directive "these are all, no files".
const NO_FILES: &str = ":4";
/// The directive "file names may stand here".
const FILES: &str = ":0";

/// A word and what it means.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Candidate {
    word: String,
    about: String,
}

/// What may stand there.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Wanted {
    /// One of these.
    Words(Vec<Candidate>),
    /// The name of something: the name of the value in `words`.
    Value(String),
}

/// An unfinished command line, understood.
#[derive(Clone, Debug)]
struct Asked {
    wanted: Wanted,
    /// The beginning of the last word.
    begun: String,
    /// What stands before the value in that word, for instance `--output=`.
    fixed: String,
    /// Words before it that are values without a flag.
    values: Vec<String>,
    /// Which cluster and namespace is meant.
    global: GlobalArgs,
    /// A flag of that name was given.
    cluster_scoped: bool,
}

/// Answers the words behind the program's name, the last one being the unfinished one.
pub(super) async fn run(command: clap::Command, words: &[String], terminal: &mut Terminal) -> Result<(), CliError> {
    let asked = understand(command, words);
    let (candidates, directive) = match &asked.wanted {
        Wanted::Words(words) => (words.clone(), NO_FILES),
        Wanted::Value(name) if matches!(name.as_str(), "FILE" | "FOLDER") => (Vec::new(), FILES),
        Wanted::Value(name) => {
            let names = tokio::time::timeout(PATIENCE, names(name, &asked)).await;
            let names = names.unwrap_or_default().into_iter();
            let fresh = names.filter(|name| !asked.values.contains(name));
            (
                fresh
                    .map(|word| Candidate {
                        word,
                        about: String::new(),
                    })
                    .collect(),
                NO_FILES,
            )
        }
    };
    let mut text = String::new();
    for Candidate { word, about } in candidates {
        if word.starts_with(&asked.begun) {
            let tab = if about.is_empty() { "" } else { "\t" };
            text.push_str(&format!("{}{}{tab}{}\n", asked.fixed, clean(&word), clean(&about)));
        }
    }
    terminal.text(&format!("{text}{directive}\n"))
}

/// Names of what a value stands for; none when the cluster cannot be asked.
async fn names(value: &str, asked: &Asked) -> Vec<String> {
    if matches!(value, "CONTEXT" | "CLUSTER" | "USER") {
        let read = match &asked.global.kubeconfig {
            Some(path) => Kubeconfig::read_from(path),
            None => Kubeconfig::read(),
        };
        let kubeconfig = read.unwrap_or_default();
        return match value {
            "CLUSTER" => kubeconfig.clusters.into_iter().map(|cluster| cluster.name).collect(),
            "USER" => kubeconfig.auth_infos.into_iter().map(|user| user.name).collect(),
            _ => kubeconfig.contexts.into_iter().map(|context| context.name).collect(),
        };
    }
    if !matches!(
        value,
        "ROLLOUT" | "EXPERIMENT" | "ANALYSISRUN" | "TEMPLATE" | "NAMESPACE"
    ) {
        return Vec::new();
    }
    let Ok(cluster) = Cluster::connect(&asked.global).await else {
        return Vec::new();
    };
    let found = match value {
        "ROLLOUT" => cluster.names::<Rollout>().await,
        "EXPERIMENT" => cluster.names::<Experiment>().await,
        "ANALYSISRUN" => cluster.names::<AnalysisRun>().await,
        "TEMPLATE" if asked.cluster_scoped => all_names(Api::<ClusterAnalysisTemplate>::all(cluster.client)).await,
        "TEMPLATE" => cluster.names::<AnalysisTemplate>().await,
        _ => all_names(Api::<k8s_openapi::api::core::v1::Namespace>::all(cluster.client)).await,
    };
    let mut names = found.unwrap_or_default();
    names.sort();
    names
}

async fn all_names<K>(api: Api<K>) -> Result<Vec<String>, kube::Error>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let list = api.list_metadata(&ListParams::default().limit(NAMES_MAX)).await?;
    Ok(list.items.into_iter().filter_map(|item| item.metadata.name).collect())
}

/// Reads the words as the parser would, without minding what is missing.
fn understand(mut root: clap::Command, words: &[String]) -> Asked {
    root.build();
    let (last, before) = words
        .split_last()
        .map_or(("", [].as_slice()), |(last, before)| (last.as_str(), before));
    let mut asked = Asked {
        wanted: Wanted::Words(Vec::new()),
        // A shell that cannot pass an empty word passes a pair of quotes.
        begun: if last == "\"\"" { "" } else { last }.to_owned(),
        fixed: String::new(),
        values: Vec::new(),
        global: GlobalArgs::default(),
        cluster_scoped: false,
    };
    let mut command = &root;
    let mut open: Option<&Arg> = None;
    let mut flags = true;
    for word in before {
        if let Some(arg) = open.take() {
            asked.note(arg, word);
        } else if flags && word == "--" {
            flags = false;
        } else if let Some(flag) = word.strip_prefix("--").filter(|_| flags) {
            open = asked.long_flag(command, flag);
        } else if let Some(letters) = word.strip_prefix('-').filter(|letters| flags && !letters.is_empty()) {
            open = asked.short_flags(command, letters);
        } else {
            match command.find_subcommand(word).filter(|_| asked.values.is_empty()) {
                Some(below) => command = below,
                None => asked.values.push(word.clone()),
            }
        }
    }
    asked.wanted = match open {
        Some(arg) => values_of(arg),
        None if flags && asked.begun.starts_with("--") && asked.begun.contains('=') => {
            let (flag, value) = asked.begun.split_once('=').unwrap_or_default();
            let arg = long(command, flag.trim_start_matches('-'));
            let wanted = arg.map_or(Wanted::Words(Vec::new()), values_of);
            let (fixed, begun) = (format!("{flag}="), value.to_owned());
            (asked.fixed, asked.begun) = (fixed, begun);
            wanted
        }
        None if flags && asked.begun.starts_with('-') => Wanted::Words(flags_of(command)),
        None if asked.values.is_empty() && command.has_subcommands() => Wanted::Words(subcommands_of(command)),
        None => {
            let at = command.get_positionals().nth(asked.values.len());
            let repeated = || {
                command
                    .get_positionals()
                    .last()
                    .filter(|arg| matches!(arg.get_action(), ArgAction::Append))
            };
            at.or_else(repeated).map_or(Wanted::Words(Vec::new()), values_of)
        }
    };
    asked
}

impl Asked {
    fn note(&mut self, arg: &Arg, value: &str) {
        match arg.get_id().as_str() {
            "namespace" => self.global.namespace = Some(value.to_owned()),
            "context" => self.global.context = Some(value.to_owned()),
            "kubeconfig" => self.global.kubeconfig = Some(PathBuf::from(value)),
            field => self.global.overrides.note(field, value),
        }
    }

    /// `flag` or `flag=value`; the flag when its value is to come.
    fn long_flag<'c>(&mut self, command: &'c clap::Command, flag: &str) -> Option<&'c Arg> {
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (flag, None),
        };
        let arg = long(command, name)?;
        self.cluster_scoped |= arg.get_id() == "global";
        match value {
            Some(value) => self.note(arg, value),
            None if arg.get_action().takes_values() && !arg.is_require_equals_set() => return Some(arg),
            None => self.note(arg, "true"),
        }
        None
    }

    /// `wn` or `nshop`; the flag when its value is to come.
    fn short_flags<'c>(&mut self, command: &'c clap::Command, letters: &str) -> Option<&'c Arg> {
        let mut rest = letters.chars();
        while let Some(letter) = rest.next() {
            let arg = command.get_arguments().find(|arg| arg.get_short() == Some(letter))?;
            if !arg.get_action().takes_values() || arg.is_require_equals_set() {
                continue;
            }
            let value = rest.as_str();
            if value.is_empty() {
                return Some(arg);
            }
            self.note(arg, value.trim_start_matches('='));
            return None;
        }
        None
    }
}

fn long<'c>(command: &'c clap::Command, name: &str) -> Option<&'c Arg> {
    command.get_arguments().find(|arg| arg.get_long() == Some(name))
}

fn values_of(arg: &Arg) -> Wanted {
    let possible: Vec<Candidate> = arg
        .get_possible_values()
        .iter()
        .filter(|value| !value.is_hide_set())
        .map(|value| Candidate {
            word: value.get_name().to_owned(),
            about: value.get_help().map(ToString::to_string).unwrap_or_default(),
        })
        .collect();
    if !possible.is_empty() {
        return Wanted::Words(possible);
    }
    let name = arg.get_value_names().and_then(<[_]>::first);
    Wanted::Value(name.map(ToString::to_string).unwrap_or_default())
}

fn flags_of(command: &clap::Command) -> Vec<Candidate> {
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
    let named = shown.filter_map(|arg| {
        Some(Candidate {
            word: format!("--{}", arg.get_long()?),
            about: arg.get_help().map(ToString::to_string).unwrap_or_default(),
        })
    });
    named.collect()
}

fn subcommands_of(command: &clap::Command) -> Vec<Candidate> {
    let shown = command.get_subcommands().filter(|below| !below.is_hide_set());
    let named = shown.map(|below| Candidate {
        word: below.get_name().to_owned(),
        about: below.get_about().map(ToString::to_string).unwrap_or_default(),
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::words::Plugin;
    use clap::CommandFactory as _;

    fn asked(line: &str) -> Asked {
        // The line is split at single blanks, so that one at its end stands before an empty word.
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        understand(Plugin::command(), &words)
    }

    #[track_caller]
    fn value(line: &str, expect: &str) {
        assert_eq!(asked(line).wanted, Wanted::Value(expect.to_owned()), "{line}");
    }

    #[track_caller]
    fn words(line: &str, expect: &[&str]) {
        let asked = asked(line);
        let Wanted::Words(candidates) = asked.wanted else {
            panic!("{line}: {:?}", asked.wanted)
        };
        let found: Vec<String> = candidates
            .into_iter()
            .filter(|candidate| candidate.word.starts_with(&asked.begun))
            .map(|candidate| format!("{}{}", asked.fixed, candidate.word))
            .collect();
        assert_eq!(found, expect, "{line}");
    }

    #[test]
    fn verbs_and_what_they_are_about() {
        words("pro", &["promote"]);
        words("get ", &["rollout", "experiment", "help"]);
        words("-n shop retry e", &["experiment"]);
        words("get rollout --wa", &["--watch"]);
        words("list rollouts --output j", &["json"]);
        words("list rollouts --output=y", &["--output=yaml"]);
        words("completion ba", &["bash"]);
        words("get rollout web ", &[]);
    }

    #[test]
    fn names_are_asked_for_where_names_stand() {
        for line in [
            "promote ",
            "promote \"\"",
            "get ro w",
            "abort one ",
            "restart -i 10s ",
            "set image ",
            "status -w ",
            "undo --to-revision 3 ",
            "list rollouts --name ",
        ] {
            value(line, "ROLLOUT");
        }
        value("terminate ar one ", "ANALYSISRUN");
        value("get experiment ", "EXPERIMENT");
        value("create ar --from ", "TEMPLATE");
        value("create -f ", "FILE");
        value("promote -n ", "NAMESPACE");
        value("--context=a promote --kubeconfig ", "FILE");
        value("promote --cluster ", "CLUSTER");
        value("promote --user=", "USER");
        value("promote --insecure-skip-tls-verify --certificate-authority ", "FILE");
    }

    #[test]
    fn the_cluster_meant_is_that_of_the_flags() {
        let asked = asked("-nshop --context=east create ar --global --from ");
        assert_eq!(asked.global.namespace.as_deref(), Some("shop"));
        assert_eq!(asked.global.context.as_deref(), Some("east"));
        assert!(asked.cluster_scoped);
        let asked = self::asked(
            "-s https://a --insecure-skip-tls-verify --token=t promote --as jane --as-group g --request-timeout 2 ",
        );
        let flags = &asked.global.overrides;
        assert_eq!(
            (flags.server.as_deref(), flags.as_user.as_deref()),
            (Some("https://a"), Some("jane"))
        );
        assert_eq!(
            (flags.insecure_skip_tls_verify, flags.as_group.as_slice()),
            (Some(true), ["g".to_owned()].as_slice())
        );
        assert_eq!(
            (flags.token.clone(), flags.request_timeout),
            (Some("t".into()), Some(Duration::from_secs(2)))
        );
    }
}
