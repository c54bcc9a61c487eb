//! What `wit-bindgen` makes of the WIT package; plugins reach it through [`crate::export_plugin`] and the modules of capabilities.
//!
//! Each interface that a plugin may export has a world of its own here, so that [`crate::export_plugin`] exports those that are asked
//! for and no others; their descriptions meet again in the component.

/// Exports who the plugin is.
pub mod plugin {
    wit_bindgen::generate!({
        path: "../wit/0.1.0",
        inline: "package autodidact:sdk; world exports-plugin { export autodidact:plugin/plugin@0.1.0; }",
        pub_export_macro: true,
        default_bindings_module: "autodidact_plugin::bindings::plugin",
    });
    pub use exports::autodidact::plugin::plugin::*;
}

/// Exports filters.
pub mod filter {
    wit_bindgen::generate!({
        path: "../wit/0.1.0",
        inline: "package autodidact:sdk; world exports-filter { export autodidact:plugin/filter@0.1.0; }",
        pub_export_macro: true,
        default_bindings_module: "autodidact_plugin::bindings::filter",
    });
    pub use exports::autodidact::plugin::filter::*;
}

/// Exports templates.
pub mod template {
    wit_bindgen::generate!({
        path: "../wit/0.1.0",
        inline: "package autodidact:sdk; world exports-template { export autodidact:plugin/template@0.1.0; }",
        pub_export_macro: true,
        default_bindings_module: "autodidact_plugin::bindings::template",
    });
    pub use exports::autodidact::plugin::template::*;
}

/// Exports validators.
pub mod validator {
    wit_bindgen::generate!({
        path: "../wit/0.1.0",
        inline: "package autodidact:sdk; world exports-validator { export autodidact:plugin/validator@0.1.0; }",
        pub_export_macro: true,
        default_bindings_module: "autodidact_plugin::bindings::validator",
    });
    pub use exports::autodidact::plugin::validator::*;
}

/// Exports scorers.
pub mod scorer {
    wit_bindgen::generate!({
        path: "../wit/0.1.0",
        inline: "package autodidact:sdk; world exports-scorer { export autodidact:plugin/scorer@0.1.0; }",
        pub_export_macro: true,
        default_bindings_module: "autodidact_plugin::bindings::scorer",
    });
    pub use exports::autodidact::plugin::scorer::*;
}

/// Imports what a person may grant.
pub mod capabilities {
    wit_bindgen::generate!({
        path: "../wit/0.1.0",
        world: "capabilities",
    });
    pub use autodidact::plugin::{data, log, model};
}
