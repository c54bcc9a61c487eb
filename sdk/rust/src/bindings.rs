//! What `wit-bindgen` makes of the WIT package; plugins reach it through [`crate::export_filter`] alone.

wit_bindgen::generate!({
    path: "../wit/0.1.0-draft",
    world: "filter-plugin",
    pub_export_macro: true,
    default_bindings_module: "autodidact_plugin::bindings",
});
