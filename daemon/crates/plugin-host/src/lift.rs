//! Core modules: components are made of them where they export the interfaces of the WIT package under the canonical ABI's names, as
//! `autodidact:plugin/filter@0.1.0#filter`, with `memory` and `cabi_realloc`. That is how languages whose tools make no components are
//! at home here.

use std::panic::{AssertUnwindSafe, catch_unwind};

use autodidact_domain::PluginKind;
use autodidact_domain::shown::on_one_line;
use wasmparser::{Parser, Payload, Validator};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata, metadata};
use wit_parser::Resolve;

use crate::PluginError;
use crate::v0_1_0::{VERSION, WIT};

/// The longest explanation of what is wrong with a module, in characters.
const MAX_ERROR_CHARS: usize = 1000;

/// Makes a component of a core module, the same one of the same bytes.
///
/// # Errors
/// [`PluginError::Refused`] for a module that exports no kind, lacks what the interfaces want, or cannot be read.
pub(crate) fn lift(module: &[u8]) -> Result<Vec<u8>, PluginError> {
    let refused = |text: String| PluginError::Refused(on_one_line(&text, MAX_ERROR_CHARS));
    // The encoder is made for what compilers write, not for hostile bytes.
    match catch_unwind(AssertUnwindSafe(|| encode(module))) {
        Ok(Ok(component)) => Ok(component),
        Ok(Err(error)) => Err(refused(format!(
            "no component can be made of the core module: {error:#}"
        ))),
        Err(_) => Err(refused(
            "no component can be made of the core module: it is malformed".to_string(),
        )),
    }
}

fn encode(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    // What is no module makes the encoder panic, which the log would show as a defect of ours.
    Validator::new().validate_all(module)?;
    let described = metadata::decode(module)?.0.is_some();
    let mut module = module.to_vec();
    if !described {
        describe(&mut module)?;
    }
    ComponentEncoder::default()
        .validate(true)
        .module(&module)?
        .encode()
}

/// Writes into a module which interfaces it exports, as compilers that know WIT do.
fn describe(module: &mut Vec<u8>) -> anyhow::Result<()> {
    let kinds = exported_kinds(module)?;
    anyhow::ensure!(
        !kinds.is_empty(),
        "it exports no function of a kind, such as autodidact:plugin/filter@{VERSION}#filter"
    );
    let exports: String = kinds
        .iter()
        .map(|kind| format!("export {kind}; "))
        .collect();
    let header = format!("package autodidact:plugin@{VERSION};\n");
    let files = WIT.iter().map(|text| text.replace(&header, ""));
    let package = format!(
        "{header}{}\nworld lifted {{ export plugin; {exports}include capabilities; import text; }}",
        files.collect::<String>()
    );
    let mut resolve = Resolve::default();
    let package = resolve.push_source("lifted.wit", &package)?;
    let world = resolve.select_world(&[package], Some("lifted"))?;
    embed_component_metadata(module, &resolve, world, StringEncoding::UTF8)
}

fn exported_kinds(module: &[u8]) -> anyhow::Result<Vec<PluginKind>> {
    let mut kinds = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        let Payload::ExportSection(exports) = payload? else {
            continue;
        };
        for export in exports {
            let name = export?.name;
            let is_of = |kind: &PluginKind| {
                name.starts_with(&format!("autodidact:plugin/{kind}@{VERSION}#"))
            };
            kinds.extend(
                PluginKind::ALL
                    .map(|(kind, _)| kind)
                    .into_iter()
                    .filter(is_of),
            );
        }
    }
    kinds.sort();
    kinds.dedup();
    Ok(kinds)
}
