//! Which version this is, and which version of the reference it behaves as.

use crate::web::OWN_VERSION;

/// The version of Prometheus whose API, files and flags these are: clients decide by it what they may ask for.
pub(crate) const REFERENCE: &str = "3.14.0";
/// The version of Alertmanager whose API, files and flags the one inside has.
pub(crate) const ALERTMANAGER: &str = "0.34.0";
/// The version of Pushgateway whose API and flags the push gateway has.
pub(crate) const PUSHGATEWAY: &str = "1.11.3";
/// Our own version.
pub(crate) const OWN: &str = env!("CARGO_PKG_VERSION");
/// Sent with every request of ours.
pub(crate) const USER_AGENT: &str = concat!("Narthex/", env!("CARGO_PKG_VERSION"));

/// What `--version` prints behind a program's name. Compat: the first line begins as the reference's does, for scripts that
/// take its third word.
pub(crate) fn of_program(name: &str) -> String {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let line = match name {
        "narthex" => format!("version {OWN} (as Prometheus {REFERENCE})"),
        "alertmanager" | "amtool" => format!("version {ALERTMANAGER} (narthex: {OWN})"),
        "pushgateway" => format!("version {PUSHGATEWAY} (narthex: {OWN})"),
        _ => format!("version {REFERENCE} (narthex: {OWN})"),
    };
    format!("{line}\n  revision:         {REVISION}\n  platform:         {os}/{arch}")
}

/// The metric that says which version of a program of the reference's this is, by the labels that its own has.
pub(crate) fn tell_build(registry: &metrics::Registry, program: &str, version: &str) {
    let help = format!(
        "A metric with a constant '1' value labeled by version, revision, branch, goversion from which {program} was built, \
         and the goos and goarch for the build."
    );
    let labels = [
        "branch",
        "goarch",
        "goos",
        "goversion",
        "revision",
        "tags",
        "version",
    ];
    let (arch, os) = (std::env::consts::ARCH, std::env::consts::OS);
    registry
        .gauge_vec(&format!("{program}_build_info"), &help, &labels)
        .with(&[OWN_VERSION, arch, os, "", REVISION, "", version])
        .set(1.0);
}

/// The commit that this was built from, where whoever built it says so.
pub(crate) const REVISION: &str = match option_env!("NARTHEX_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};
