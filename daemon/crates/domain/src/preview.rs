//! What a training run makes of a record, for people to look at before it starts.

/// Whose a stretch of an example's text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanPart {
    /// The model is given it.
    Given,
    /// It carries loss: the model is trained to write it.
    Label,
    /// It lies beyond the greatest length, and is cut off.
    Cut,
}

/// A stretch of an example's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviewSpan {
    /// The decoded tokens, special ones by their text; bytes that are no UTF-8 are replaced.
    pub text: String,
    /// Whose it is.
    pub part: SpanPart,
    /// Of a task with a head: the label that the state of its last token is trained to give.
    pub label: Option<String>,
}

/// Why a run leaves a record out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviewRefusal {
    /// A stable code.
    pub reason: &'static str,
    /// What was expected and found.
    pub message: String,
}

/// An example has no token that would carry loss; the train stage's verdicts have the same code.
pub const NO_LABEL_TOKEN: &str = "no_label_token";
/// A record has no answer, and is never mixed into what a run trains on.
pub const UNANSWERED: &str = "unanswered";
/// The chat template cannot lay a record out, or it is of another kind than the task takes; a run that meets it stops there.
pub const NO_LAYOUT: &str = "no_layout";

/// A record as a training run sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExamplePreview {
    /// The text in order; empty where it cannot be laid out.
    pub spans: Vec<PreviewSpan>,
    /// The tokens that are left within the greatest length.
    pub tokens: u32,
    /// Those of them that carry loss.
    pub label_tokens: u32,
    /// The tokens beyond the greatest length.
    pub cut_tokens: u32,
    /// Why a run leaves it out, where it does.
    pub refused: Option<PreviewRefusal>,
}
