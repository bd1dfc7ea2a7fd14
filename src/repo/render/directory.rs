//! A directory of plain YAML and JSON (reference, applications 4.3).

use super::{
    Content, OBJECTS_MAX, Place, RenderError, RenderRequest, content_digest, detect,
    files::{self, Folder, SourceFile},
    manifest::{self, FileObjects, ManifestProblem},
};
use crate::{
    api::application::{ApplicationSource, ApplicationSourceDirectory},
    lang::{glob::Glob, yaml},
    repo::error::RepoError,
};
use serde_json::Value;
use std::sync::Arc;

/// Text by which a file says that it is none of ours.
const SKIP_MARKER: &str = "+argocd:skip-file-rendering";

/// First words of a file whose content is in Git LFS.
const LFS_POINTER: &str = "version https://git-lfs.github.com/spec/";

/// Files that are together no larger than this are read without a thread of their own: it takes a millisecond.
const PARSED_AT_ONCE_MAX: usize = 16 << 10;

/// Renders the folder.
pub(super) async fn render(place: &Place<'_>, request: &RenderRequest) -> Result<Content, RenderError> {
    let first_level = files::list(place, false).await?;
    let source = overridden(place, request, &first_level).await?;
    if !detect::explicit(&source)? {
        detect::by_files(&place.shown, first_level.files.iter().map(|file| file.path.as_str()))?;
    }
    let options = source.directory.unwrap_or_default();
    let filter = Filter::of(&options)?;
    let folder = if options.recurse {
        files::list(place, true).await?
    } else {
        first_level
    };
    refuse_dangling(place, &filter, &folder)?;
    let selected: Vec<SourceFile> = folder
        .files
        .into_iter()
        .filter(|file| filter.takes(&file.path))
        .collect();
    if let Some(jsonnet) = selected.iter().find(|file| file.path.ends_with(".jsonnet")) {
        return Err(RenderError::Jsonnet {
            file: place.shown_file(&jsonnet.path),
        });
    }
    let texts = files::read(place, &selected).await?;
    let bytes: usize = texts.iter().map(Vec::len).sum();
    let named: Vec<(String, Vec<u8>)> = selected
        .iter()
        .map(|file| place.shown_file(&file.path))
        .zip(texts)
        .collect();
    let (objects, problems) = if bytes <= PARSED_AT_ONCE_MAX {
        parse(&named)?
    } else {
        parse_aside(place, named).await?
    };
    if objects.len() > OBJECTS_MAX {
        let what = format!("{} objects", objects.len());
        return Err(RenderError::TooLarge {
            path: place.shown.clone(),
            what,
            limit: OBJECTS_MAX.to_string(),
        });
    }
    Ok(Content {
        content_digest: content_digest(&objects),
        objects: Arc::new(objects),
        problems: Arc::new(problems),
        bytes,
        beyond_folder: folder.has_links,
    })
}

/// Parsing megabytes of YAML takes seconds; other tasks must not wait for it.
async fn parse_aside(place: &Place<'_>, named: Vec<(String, Vec<u8>)>) -> Parsed {
    let parsed = tokio::task::spawn_blocking(move || parse(&named)).await;
    parsed.map_err(|error| {
        RenderError::Repo(RepoError::Clone {
            repository: place.repository.url.redacted(),
            reason: format!("reading manifests was interrupted: {error}"),
        })
    })?
}

/// Which files are manifests.
struct Filter {
    include: Option<Glob>,
    exclude: Option<Glob>,
    any_extension: bool,
    recurse: bool,
}

impl Filter {
    fn of(options: &ApplicationSourceDirectory) -> Result<Self, RenderError> {
        let parse = |field, pattern: &str| match pattern {
            "" => Ok(None),
            pattern => Glob::parse(pattern)
                .map(Some)
                .map_err(|error| RenderError::Pattern { field, error }),
        };
        Ok(Self {
            include: parse("include", &options.include)?,
            exclude: parse("exclude", &options.exclude)?,
            any_extension: options.disable_extension_filter,
            recurse: options.recurse,
        })
    }

    fn takes(&self, path: &str) -> bool {
        let file_name = path.rsplit('/').next().unwrap_or(path);
        let extension = file_name
            .rsplit_once('.')
            .map(|(_, extension)| extension)
            .unwrap_or_default();
        let is_override = file_name.starts_with(".argocd-source") && file_name.ends_with(".yaml");
        let has_extension = self.any_extension || matches!(extension, "yaml" | "yml" | "json" | "jsonnet");
        has_extension
            && !is_override
            && (self.recurse || !path.contains('/'))
            && self.include.as_ref().is_none_or(|include| include.matches(path))
            && !self.exclude.as_ref().is_some_and(|exclude| exclude.matches(path))
    }
}

/// A manifest that is a broken link is missing, and missing objects get pruned.
fn refuse_dangling(place: &Place<'_>, filter: &Filter, folder: &Folder) -> Result<(), RenderError> {
    let broken = folder.dangling.iter().find(|path| filter.takes(path));
    broken.map_or(Ok(()), |path| {
        Err(place.link_error(place.shown_file(path), super::LinkError::Dangling))
    })
}

/// The source with `.argocd-source.yaml` and `.argocd-source-<app>.yaml` merged over it. They cannot change where the
/// source is.
async fn overridden(
    place: &Place<'_>,
    request: &RenderRequest,
    folder: &Folder,
) -> Result<ApplicationSource, RenderError> {
    let names = [
        ".argocd-source.yaml".to_owned(),
        format!(".argocd-source-{}.yaml", request.app_name),
    ];
    let found = names
        .iter()
        .filter_map(|name| folder.files.iter().find(|file| file.path == *name).cloned());
    let found: Vec<SourceFile> = found.collect();
    if found.is_empty() {
        return Ok(request.source.clone());
    }
    let texts = files::read(place, &found).await?;
    let mut merged = serde_json::to_value(&request.source).unwrap_or_default();
    for (file, text) in found.iter().zip(texts) {
        let shown = place.shown_file(&file.path);
        let fail = |line, message: String| {
            RenderError::Manifests(vec![ManifestProblem {
                file: shown.clone(),
                line,
                message,
            }])
        };
        let text = String::from_utf8(text).map_err(|_| fail(None, "is not UTF-8".to_owned()))?;
        let patch = yaml::to_json(&text).map_err(|error| fail(Some(error.line), error.message.clone()))?;
        json_patch::merge(&mut merged, &patch);
        serde_json::from_value::<ApplicationSource>(merged.clone())
            .map_err(|error| fail(None, format!("is no change of a source: {error}")))?;
    }
    let merged: ApplicationSource = serde_json::from_value(merged).unwrap_or_default();
    Ok(ApplicationSource {
        chart: request.source.chart.clone(),
        ..merged
    })
}

type Parsed = Result<(Vec<Value>, Vec<ManifestProblem>), RenderError>;

/// Reads all files; all errors are collected, so that they can be mended in one go.
fn parse(files: &[(String, Vec<u8>)]) -> Parsed {
    let (mut objects, mut problems, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    for (file, bytes) in files {
        let whole_file = |message: &str| ManifestProblem {
            file: file.clone(),
            line: None,
            message: message.to_owned(),
        };
        let Ok(text) = std::str::from_utf8(bytes) else {
            errors.push(whole_file("is not UTF-8"));
            continue;
        };
        if text.contains(SKIP_MARKER) {
            continue;
        }
        if text.starts_with(LFS_POINTER) {
            errors.push(whole_file("is a pointer to Git LFS, which is not supported yet"));
            continue;
        }
        let FileObjects {
            objects: found,
            skipped,
            errors: wrong,
        } = manifest::read(file, text);
        objects.extend(found);
        problems.extend(skipped);
        errors.extend(wrong);
    }
    if errors.is_empty() {
        Ok((objects, problems))
    } else {
        Err(RenderError::Manifests(errors))
    }
}
