//! Seeded defects.
pub(crate) fn prove(_: &str, _: u64, _: usize) -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
