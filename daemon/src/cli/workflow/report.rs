//! `autodidact workflow report`

use autodidact_client::{Client, v1};
use clap::{Args, ValueEnum};

use crate::cli::{Failure, Global, output};

#[derive(Args)]
pub(crate) struct ReportArgs {
    /// The workflow's name
    name: String,
    /// The form
    #[arg(long, value_enum, default_value_t = Format::Markdown)]
    format: Format,
    /// One page for a browser; short for --format html
    #[arg(long, conflicts_with = "format")]
    html: bool,
    /// The language, en or zh [default: the workflow's first]
    #[arg(long, value_parser = ["en", "zh"])]
    language: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Json,
    Markdown,
    Html,
}

/// Prints the report.
pub(super) async fn run(
    connection: &Client,
    args: ReportArgs,
    global: &Global,
) -> Result<(), Failure> {
    let format = match args.format {
        _ if global.json => Format::Json,
        _ if args.html => Format::Html,
        format => format,
    };
    let wanted = match format {
        Format::Json => v1::ReportFormat::Json,
        Format::Markdown => v1::ReportFormat::Markdown,
        Format::Html => v1::ReportFormat::Html,
    };
    let request = v1::ReportWorkflowRequest {
        name: args.name,
        format: wanted.into(),
        language: args.language.unwrap_or_default(),
    };
    let answer = connection.workflows().report(request).await?.into_inner();
    let text = match format {
        Format::Json => answer.json,
        Format::Markdown => answer.markdown,
        Format::Html => answer.html,
    };
    output::line(text.trim_end())
}
