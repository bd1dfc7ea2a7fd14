//! `completion`: the scripts by which shells ask `complete`, and putting them where shells and kubectl look.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::error::{CliError, Kind};
use super::terminal::Terminal;

/// A shell, or `install`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum What {
    /// GNU bash.
    Bash,
    /// The Z shell.
    Zsh,
    /// fish.
    Fish,
    /// PowerShell.
    #[value(alias = "pwsh")]
    Powershell,
    /// Write the script for the shell in use, and what kubectl looks for.
    Install,
}

/// Stands in every file that `install` writes: only such a file is replaced.
const MARK: &str = "Written by `tidegate completion`; replaced when it is installed again.";

/// The programs that are completed. All are the same binary; those after the first are kubectl's plugins.
const PROGRAMS: [&str; 3] = ["tidegate", "kubectl-tidegate", "kubectl-argo-rollouts"];

/// Completed only where it is installed.
const BY_ITS_OLD_NAME: &str = "kubectl-argo-rollouts";

/// The variables that decide where files go.
const VARIABLES: [&str; 6] = [
    "HOME",
    "SHELL",
    "PATH",
    "XDG_DATA_HOME",
    "XDG_CONFIG_HOME",
    "BASH_COMPLETION_USER_DIR",
];

/// Carries out `completion` for the program that was called.
pub(super) fn completion(
    what: What,
    shell: Option<What>,
    program: &str,
    terminal: &mut Terminal,
) -> Result<(), CliError> {
    if what != What::Install {
        return terminal.text(&script(what, program));
    }
    let variables = VARIABLES
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
        .collect();
    let places = Places { variables };
    let program_folder = std::env::current_exe()
        .ok()
        .and_then(|program| Some(program.parent()?.to_owned()));
    install(&places, shell, program_folder.as_deref(), terminal)
}

/// The script for a shell.
fn script(shell: What, program: &str) -> String {
    let text = match shell {
        What::Bash => include_str!("completion/script.bash"),
        What::Zsh => include_str!("completion/script.zsh"),
        What::Fish => include_str!("completion/script.fish"),
        What::Powershell => include_str!("completion/script.ps1"),
        What::Install => "",
    };
    text.replace("@PROGRAM@", program)
        .replace("@FUNCTION@", &program.replace('-', "_"))
        .replace("@MARK@", MARK)
}

/// What kubectl runs to complete words behind a plugin's name.
fn shim(plugin: &str) -> String {
    format!("#!/bin/sh\n# kubectl runs this to complete `{plugin}`. {MARK}\nexec {plugin} __complete \"$@\"\n")
}

/// The name under which kubectl looks for a plugin's shim.
fn shim_name(plugin: &str) -> String {
    plugin.replacen("kubectl-", "kubectl_complete-", 1)
}

/// The variables of the environment that decide where files go.
struct Places {
    variables: BTreeMap<String, String>,
}

impl Places {
    fn get(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    fn home(&self) -> Result<PathBuf, CliError> {
        let home = self.get("HOME").map(PathBuf::from);
        home.ok_or_else(|| CliError::new(Kind::Request, "the variable HOME is not set"))
    }

    fn folder(&self, variable: &str, below_home: &str) -> Result<PathBuf, CliError> {
        match self.get(variable) {
            Some(folder) => Ok(PathBuf::from(folder)),
            None => Ok(self.home()?.join(below_home)),
        }
    }

    fn shell(&self) -> Result<What, CliError> {
        let name = self
            .get("SHELL")
            .and_then(|shell| Path::new(shell).file_stem()?.to_str());
        match name {
            Some("bash") => Ok(What::Bash),
            Some("zsh") => Ok(What::Zsh),
            Some("fish") => Ok(What::Fish),
            Some("pwsh" | "powershell") => Ok(What::Powershell),
            other => {
                let found = other.unwrap_or("nothing");
                Err(CliError::new(
                    Kind::Request,
                    format!("the variable SHELL names {found}, not a shell known here"),
                )
                .hint("choose with `--shell bash`, `zsh`, `fish` or `powershell`"))
            }
        }
    }

    /// Where a shell looks for the completion of a program, and what is left to do by hand.
    fn script(&self, shell: What, program: &str) -> Result<(PathBuf, Option<String>), CliError> {
        let data = ".local/share";
        Ok(match shell {
            What::Bash => {
                let folder = match self.get("BASH_COMPLETION_USER_DIR") {
                    Some(folder) => PathBuf::from(folder),
                    None => self.folder("XDG_DATA_HOME", data)?.join("bash-completion"),
                };
                (folder.join("completions").join(program), None)
            }
            What::Zsh => {
                let folder = self.folder("XDG_DATA_HOME", data)?.join("zsh/site-functions");
                let by_hand = format!(
                    "put `fpath=({} $fpath)` before `compinit` in ~/.zshrc, unless it is there",
                    folder.display()
                );
                (folder.join(format!("_{program}")), Some(by_hand))
            }
            What::Fish => {
                let folder = self.folder("XDG_CONFIG_HOME", ".config")?.join("fish/completions");
                (folder.join(format!("{program}.fish")), None)
            }
            What::Powershell | What::Install => {
                let folder = self.folder("XDG_CONFIG_HOME", ".config")?.join("powershell");
                let file = folder.join(format!("{program}.completion.ps1"));
                let by_hand = format!(
                    "put `. {}` into the file that $PROFILE names, unless it is there",
                    file.display()
                );
                (file, Some(by_hand))
            }
        })
    }

    fn path(&self) -> impl Iterator<Item = PathBuf> {
        std::env::split_paths(self.get("PATH").unwrap_or_default()).filter(|folder| folder.is_absolute())
    }
}

/// Writes the script of each program for the shell, and the shims beside the program where kubectl finds them.
fn install(
    places: &Places,
    shell: Option<What>,
    program_folder: Option<&Path>,
    terminal: &mut Terminal,
) -> Result<(), CliError> {
    let shell = match shell {
        Some(shell) if shell != What::Install => shell,
        _ => places.shell()?,
    };
    let folders: Vec<PathBuf> = places.path().chain(program_folder.map(Path::to_owned)).collect();
    let is_there = |program: &str| folders.iter().any(|folder| folder.join(program).exists());
    let programs = PROGRAMS.into_iter();
    let programs = programs.filter(|program| *program != BY_ITS_OLD_NAME || is_there(program));
    let mut errors = Vec::new();
    let mut by_hand = Vec::new();
    for program in programs.clone() {
        let (path, left) = places.script(shell, program)?;
        by_hand.extend(left);
        write(&path, &script(shell, program), false, terminal).unwrap_or_else(|error| errors.push(error));
    }
    let (folder, in_path) = shim_folder(places, program_folder)?;
    for plugin in programs.skip(1) {
        let path = folder.join(shim_name(plugin));
        write(&path, &shim(plugin), true, terminal).unwrap_or_else(|error| errors.push(error));
    }
    if !in_path {
        by_hand.push(format!(
            "add {} to PATH: kubectl looks there for plugins and their completion",
            folder.display()
        ));
    }
    // zsh has one folder for all programs.
    by_hand.dedup();
    by_hand
        .into_iter()
        .try_for_each(|left| terminal.line(&format!("to do by hand: {left}")))?;
    CliError::all(errors)
}

/// The folder of the program, if it is one where kubectl looks, else `~/.local/bin`; and whether kubectl looks there.
fn shim_folder(places: &Places, program_folder: Option<&Path>) -> Result<(PathBuf, bool), CliError> {
    let own = program_folder.filter(|own| places.path().any(|folder| folder == **own) && is_writable(own));
    if let Some(own) = own {
        return Ok((own.to_owned(), true));
    }
    let folder = places.home()?.join(".local/bin");
    let in_path = places.path().any(|known| known == folder);
    Ok((folder, in_path))
}

fn is_writable(folder: &Path) -> bool {
    tempfile::Builder::new()
        .prefix(".tidegate-")
        .tempfile_in(folder)
        .is_ok()
}

/// Writes a file and says so, unless a foreign one is there. The file appears whole or not at all.
fn write(path: &Path, text: &str, executable: bool, terminal: &mut Terminal) -> Result<(), CliError> {
    let shown = path.display();
    let failed = |error: std::io::Error| CliError::new(Kind::Request, format!("cannot write `{shown}`: {error}"));
    match std::fs::read_to_string(path) {
        Ok(present) if present == text => return terminal.line(&format!("{shown} is up to date")),
        Ok(present) if present.contains(MARK) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Ok(_) | Err(_) => {
            let message = format!("`{shown}` is there already and was not written by tidegate; it was left alone");
            return Err(CliError::new(Kind::Request, message).hint("move it away and install again"));
        }
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut file = tempfile::Builder::new()
        .prefix(".tidegate-")
        .tempfile_in(folder)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    permit(file.path(), executable).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    terminal.line(&format!("{shown} written"))
}

#[cfg(unix)]
fn permit(path: &Path, executable: bool) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = if executable { 0o755 } else { 0o644 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn permit(_: &Path, _: bool) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests;
