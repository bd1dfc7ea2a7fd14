use super::*;
use std::{fs, path::Path};

/// The `crds` folder is what `files` gives. To refresh it: `tidegate crds --dir crds` (or this test with `UPDATE=1`).
#[test]
fn crds_folder_is_fresh() {
    check_folder("crds");
}

/// Helm installs from its own folder, so that one must be the same.
#[test]
fn chart_crds_are_the_same() {
    check_folder("charts/tidegate/crds");
}

#[track_caller]
fn check_folder(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let files = files();
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in &files {
            fs::write(folder.join(name), text).unwrap();
        }
    }
    for (file, text) in &files {
        let found = fs::read_to_string(folder.join(file)).unwrap_or_default();
        assert!(
            found == *text,
            "{name}/{file} is stale; refresh it with `tidegate crds --dir {name}`"
        );
    }
    let known: Vec<_> = files.iter().map(|(name, _)| name.clone()).collect();
    for entry in fs::read_dir(&folder).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        assert!(known.contains(&file), "{name}/{file} is no longer generated; delete it");
    }
}

#[test]
fn files_hold_the_definitions() {
    for ((name, text), crd) in files().iter().zip(crds()) {
        assert_eq!(*name, format!("{}.yaml", crd.spec.names.plural));
        let read: Value = serde_saphyr::from_str(text).unwrap();
        assert_eq!(read, serde_json::to_value(&crd).unwrap(), "{name}");
    }
}

#[test]
fn small_enough_for_client_side_apply() {
    // `kubectl apply` keeps the whole object in an annotation, and annotations may hold 262144 bytes together.
    for crd in crds() {
        let bytes = serde_json::to_string(&crd).unwrap().len();
        assert!(bytes < 200_000, "{}: {bytes} bytes", crd.spec.names.plural);
    }
}

#[test]
fn only_rollouts_and_application_sets_have_subresources() {
    let with: Vec<_> = crds()
        .iter()
        .filter_map(|crd| {
            let subresources = crd.spec.versions.first()?.subresources.clone()?;
            let names = [
                subresources.status.map(|_| "status"),
                subresources.scale.map(|_| "scale"),
            ];
            let names: Vec<_> = names.into_iter().flatten().collect();
            (!names.is_empty()).then(|| format!("{} {}", crd.spec.names.plural, names.join(" ")))
        })
        .collect();
    assert_eq!(with, ["applicationsets status", "rollouts status scale"]);
}
