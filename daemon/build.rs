//! Makes a table of the SDK's files, which `autodidact plugin new` copies into projects, so that the program needs no checkout.

use std::fs;
use std::path::{Path, PathBuf};

/// What projects may need of `sdk/`.
const PARTS: [&str; 9] = [
    "assemblyscript",
    "c",
    "javascript",
    "python",
    "rust/Cargo.toml",
    "rust/src",
    "rust/template",
    "wit",
    "zig",
];
/// What tools leave behind.
const LEFTOVERS: [&str; 5] = [
    "__pycache__",
    "build",
    "node_modules",
    "target",
    "zig-cache",
];

fn main() {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let sdk = root
        .join("../sdk")
        .canonicalize()
        .expect("the SDK is beside");
    let mut files = Vec::new();
    for part in PARTS {
        println!("cargo::rerun-if-changed={}", sdk.join(part).display());
        collect(&sdk.join(part), &mut files);
    }
    files.sort();
    let mut table = String::from("[\n");
    for file in &files {
        let name = file.strip_prefix(&sdk).expect("it was found there");
        let name = name.to_str().expect("names of the SDK are plain");
        table += &format!("({name:?}, include_str!({file:?})),\n");
    }
    table += "]\n";
    let out = PathBuf::from(std::env::var("OUT_DIR").expect("cargo sets it"));
    let source = format!(
        "pub(super) static SDK: [(&str, &str); {}] = {table};",
        files.len()
    );
    fs::write(out.join("sdk.rs"), source).expect("write the table of the SDK");
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if LEFTOVERS.contains(&name.as_ref()) {
        return;
    }
    if path.is_file() {
        files.push(path.to_path_buf());
        return;
    }
    for entry in fs::read_dir(path).expect("read a folder of the SDK") {
        collect(&entry.expect("read a folder of the SDK").path(), files);
    }
}
