use super::*;
use crate::cli::terminal::testing::recorded;

fn places(home: &Path, rest: &[(&str, String)]) -> Places {
    let mut variables = BTreeMap::from([("HOME".to_owned(), home.display().to_string())]);
    variables.extend(rest.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    Places { variables }
}

fn installed(places: &Places, shell: Option<What>, program: Option<&Path>) -> (String, Result<(), String>) {
    let (mut terminal, out, _) = recorded();
    let done = install(places, shell, program, &mut terminal).map_err(|error| error.to_string());
    (out.text(), done)
}

#[test]
fn every_script_names_its_program_and_nothing_is_left_open() {
    for shell in [What::Bash, What::Zsh, What::Fish, What::Powershell] {
        for program in PROGRAMS {
            let text = script(shell, program);
            assert!(
                text.contains(&format!("{program} __complete")) || text.contains(&format!("'{program}' __complete"))
            );
            assert!(text.contains(MARK), "{text}");
            for open in ["@PROGRAM@", "@FUNCTION@", "@MARK@"] {
                assert!(!text.contains(open), "{text}");
            }
        }
    }
    assert_eq!(shim_name("kubectl-argo-rollouts"), "kubectl_complete-argo-rollouts");
}

#[test]
fn files_go_where_the_shell_and_kubectl_look() {
    let home = tempfile::tempdir().unwrap();
    let bin = home.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::fs::write(bin.join(BY_ITS_OLD_NAME), "").unwrap();
    let rest = [
        ("SHELL", "/usr/bin/bash".to_owned()),
        ("PATH", bin.display().to_string()),
    ];
    let (said, done) = installed(&places(home.path(), &rest), None, Some(&bin));
    done.unwrap();
    assert_eq!(
        said.lines().filter(|line| line.ends_with(" written")).count(),
        5,
        "{said}"
    );
    let script = home
        .path()
        .join(".local/share/bash-completion/completions/kubectl-tidegate");
    assert!(
        std::fs::read_to_string(script)
            .unwrap()
            .contains("complete -F _kubectl_tidegate_complete kubectl-tidegate")
    );
    let shim = bin.join("kubectl_complete-tidegate");
    assert!(
        std::fs::read_to_string(&shim)
            .unwrap()
            .ends_with("exec kubectl-tidegate __complete \"$@\"\n")
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&shim).unwrap().permissions().mode() & 0o777, 0o755);
    }
    // Again: nothing changes. An older version of ours is replaced.
    let (said, done) = installed(&places(home.path(), &rest), None, Some(&bin));
    done.unwrap();
    assert_eq!(
        said.lines().filter(|line| line.ends_with("is up to date")).count(),
        5,
        "{said}"
    );
    std::fs::write(&shim, format!("#!/bin/sh\n# {MARK}\nexit 1\n")).unwrap();
    let (said, done) = installed(&places(home.path(), &rest), None, Some(&bin));
    done.unwrap();
    assert!(said.contains("kubectl_complete-tidegate written"), "{said}");
}

#[test]
fn a_foreign_file_is_left_alone_and_the_others_are_written() {
    let home = tempfile::tempdir().unwrap();
    let foreign = home.path().join(".config/fish/completions/tidegate.fish");
    std::fs::create_dir_all(foreign.parent().unwrap()).unwrap();
    std::fs::write(&foreign, "mine").unwrap();
    let (said, done) = installed(&places(home.path(), &[]), Some(What::Fish), None);
    let error = done.unwrap_err();
    assert!(error.contains("tidegate.fish` is there already"), "{error}");
    assert_eq!(std::fs::read_to_string(&foreign).unwrap(), "mine");
    assert_eq!(
        said.lines().filter(|line| line.ends_with(" written")).count(),
        2,
        "{said}"
    );
    assert!(said.contains("to do by hand: add "), "{said}");
}

#[test]
fn the_shell_is_that_of_the_environment_or_must_be_chosen() {
    let home = tempfile::tempdir().unwrap();
    for (shell, expect) in [
        ("/bin/zsh", Some(What::Zsh)),
        ("/usr/bin/fish", Some(What::Fish)),
        ("/bin/tcsh", None),
    ] {
        let found = places(home.path(), &[("SHELL", shell.to_owned())]).shell();
        assert_eq!(found.ok(), expect, "{shell}");
    }
    assert!(places(home.path(), &[]).shell().is_err());
}
