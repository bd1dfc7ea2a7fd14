//! The rights of the plain manifests, asked of a real API server: enough, and no more.

use super::harness;
use anyhow::{Result, ensure};
use std::{fs, path::Path};

/// Who the controller is.
const AS: [&str; 2] = [
    "--as=system:serviceaccount:tidegate:tidegate",
    "--as-group=system:serviceaccounts",
];

#[tokio::test]
async fn the_controller_may_do_its_work_and_nothing_else() -> Result<()> {
    let cluster = harness::cluster().await?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/manifests");
    for file in ["namespace.yaml", "rbac.yaml"] {
        let text = fs::read_to_string(folder.join(file))?;
        cluster.kubectl_with_input(&["apply", "--filename", "-"], &text).await?;
    }
    for (allowed, namespace, request) in [
        (true, "shop", "patch rollouts.argoproj.io"),
        (true, "shop", "patch rollouts.argoproj.io/status"),
        (true, "shop", "create analysisruns.argoproj.io"),
        (true, "shop", "create replicasets.apps"),
        (true, "shop", "patch services"),
        (true, "shop", "create ingresses.networking.k8s.io"),
        (true, "shop", "create events"),
        (true, "shop", "get secrets"),
        (true, "shop", "watch customresourcedefinitions.apiextensions.k8s.io"),
        (true, "tidegate", "list secrets"),
        (true, "tidegate", "patch applications.argoproj.io"),
        (true, "tidegate", "create leases.coordination.k8s.io"),
        (false, "shop", "list secrets"),
        (false, "shop", "watch secrets"),
        (false, "shop", "delete rollouts.argoproj.io"),
        (false, "shop", "create deployments.apps"),
        (false, "shop", "create pods"),
        (false, "shop", "create pods/exec"),
        (false, "shop", "delete services"),
        (false, "shop", "list applications.argoproj.io"),
        (false, "shop", "create leases.coordination.k8s.io"),
        (false, "shop", "patch customresourcedefinitions.apiextensions.k8s.io"),
        (false, "tidegate", "patch secrets"),
        (false, "tidegate", "create rolebindings.rbac.authorization.k8s.io"),
        (false, "shop", "impersonate users"),
    ] {
        let (verb, resource) = request.split_once(' ').unwrap_or_default();
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let subresource = format!("--subresource={subresource}");
        let mut arguments = vec![
            "auth",
            "can-i",
            "--quiet",
            "--namespace",
            namespace,
            verb,
            resource,
            &subresource,
        ];
        arguments.extend(AS);
        let may = cluster.kubectl(&arguments).await.is_ok();
        ensure!(
            may == allowed,
            "{request} in {namespace}: {}",
            if may { "allowed" } else { "refused" }
        );
    }
    Ok(())
}
