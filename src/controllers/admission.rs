//! Starts the admission webhook, where one is wanted.

use crate::{
    controllers::{Context, RunError},
    server::admission::{
        self,
        tls::{Certificates, TlsListener},
    },
};
use std::sync::Arc;
use tokio::task::JoinSet;

/// Listens on `--admission-webhook`, in `tasks`. Every replica answers, so that the API server may ask any.
pub async fn listen(context: &Arc<Context>, tasks: &mut JoinSet<()>) -> Result<(), RunError> {
    let Some(address) = context.args.admission_webhook else {
        return Ok(());
    };
    let certificates = Certificates::new(&context.args.admission_webhook_cert_dir);
    let listener = TlsListener::bind(address, certificates.clone())
        .await
        .map_err(|source| RunError::Listen { address, source })?;
    tasks.spawn(certificates.follow());
    let context = Arc::clone(context);
    tasks.spawn(async move {
        let instance_id = context.settings.instance_id.clone();
        let stopping = Arc::clone(&context);
        if let Err(error) = admission::serve(listener, &instance_id, async move { stopping.stopping().await }).await {
            tracing::error!(%address, %error, "The admission webhook ended.");
        }
    });
    Ok(())
}
