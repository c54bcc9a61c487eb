//! The plugins that come with the daemon.

/// Shows the built-in components as (name, bytes), for [`install`](autodidact_domain::ports::Plugins::install) at start.
///
/// They are made from `plugins/` by `plugins/build.sh`; a test holds them to their sources' digests.
pub fn builtin_components() -> &'static [(&'static str, &'static [u8])] {
    &[
        (
            "alpaca",
            include_bytes!("../../../../plugins/alpaca/alpaca.wasm"),
        ),
        (
            "blocked",
            include_bytes!("../../../../plugins/blocked/blocked.wasm"),
        ),
        ("form", include_bytes!("../../../../plugins/form/form.wasm")),
        (
            "language",
            include_bytes!("../../../../plugins/language/language.wasm"),
        ),
        (
            "length",
            include_bytes!("../../../../plugins/length/length.wasm"),
        ),
        (
            "repetition",
            include_bytes!("../../../../plugins/repetition/repetition.wasm"),
        ),
        (
            "rubric",
            include_bytes!("../../../../plugins/rubric/rubric.wasm"),
        ),
        (
            "structured",
            include_bytes!("../../../../plugins/structured/structured.wasm"),
        ),
    ]
}
