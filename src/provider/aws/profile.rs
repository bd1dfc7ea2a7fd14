//! Profiles in AWS' two files, `credentials` and `config`.

use crate::provider::environment::Environment;
use std::collections::BTreeMap;
use tokio::io::AsyncReadExt as _;

/// A file of profiles or a token that is larger is something else. In bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The settings of a profile; those of the file `credentials` win.
pub(super) async fn read(environment: &Environment, name: &str) -> Result<BTreeMap<String, String>, String> {
    let home = |file: &str| environment.get("HOME").map(|home| format!("{home}/.aws/{file}"));
    let place = |variable: &str, file: &str| environment.get(variable).map(str::to_owned).or_else(|| home(file));
    let files = [
        (place("AWS_CONFIG_FILE", "config"), format!("profile {name}")),
        (place("AWS_CONFIG_FILE", "config"), name.to_owned()),
        (place("AWS_SHARED_CREDENTIALS_FILE", "credentials"), name.to_owned()),
    ];
    let mut settings = BTreeMap::new();
    for (path, section) in files {
        let Some(path) = path else { continue };
        // A file that is not there is as good as an empty one; one that cannot be read is told by the profile's absence.
        if let Ok(text) = text_of(&path).await {
            settings.extend(section_of(&text, &section));
        }
    }
    match settings.is_empty() {
        true => Err(format!(
            "profile '{name}' is in neither AWS_SHARED_CREDENTIALS_FILE nor AWS_CONFIG_FILE"
        )),
        false => Ok(settings),
    }
}

/// A file's text.
pub(super) async fn text_of(path: &str) -> Result<String, String> {
    let mut text = String::new();
    let read = async {
        let file = tokio::fs::File::open(path).await?;
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).await
    };
    read.await.map_err(|error| error.to_string())?;
    Ok(text)
}

/// The settings below `[section]`.
fn section_of(text: &str, section: &str) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    let mut inside = false;
    for line in text.lines() {
        // An indented line belongs to a setting with parts of its own, none of which we read.
        let is_part = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.split(']').next()) {
            inside = name.split_whitespace().eq(section.split_whitespace());
        } else if let Some((key, value)) = line.split_once('=').filter(|_| inside && !is_part) {
            settings.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_what_stands_below_its_name() {
        let text = "# c\n[default]\naws_access_key_id = A\n[profile  ops]\nregion=eu-west-1\ns3 =\n  region = x\n\n[other]\nrole_arn=r\n";
        let settings = |section| section_of(text, section).into_iter().collect::<Vec<_>>();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(settings("default"), [pair("aws_access_key_id", "A")]);
        assert_eq!(settings("profile ops"), [pair("region", "eu-west-1"), pair("s3", "")]);
        assert_eq!(settings("ops"), []);
    }
}
