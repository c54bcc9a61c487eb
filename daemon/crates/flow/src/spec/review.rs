//! Reads the review stage.

use autodidact_domain::workflow::{ReviewGate, ReviewSpec, SampleOrder};

use super::reader::{Fields, Node};

/// The most examples of a sample; a person looks at each.
const MAX_SAMPLE: f64 = 1_000_000.0;

pub(super) fn read_review(node: Node<'_>) -> ReviewSpec {
    let mut fields = node.mapping("stages.review");
    let sample = fields.number("sample", 0.0001..=MAX_SAMPLE, 20.0);
    if sample > 1.0 && sample.fract() != 0.0 {
        node.fault(
            "stages.review.sample",
            "neither a share nor a number of examples",
            "a share below 1, or a whole number from 1 on",
        );
    }
    let by = match fields
        .choice("by", &["random", "doubtful"], "random")
        .as_str()
    {
        "doubtful" => SampleOrder::Doubtful,
        _ => SampleOrder::Random,
    };
    let gate = read_gate(&mut fields);
    fields.finish();
    ReviewSpec {
        sample: sample.into(),
        by,
        gate,
    }
}

/// A gate with nothing after it stands there, with its defaults.
fn read_gate(fields: &mut Fields<'_>) -> Option<ReviewGate> {
    let path = fields.path("gate");
    let default = ReviewGate::default();
    let mut gate = fields.take_with_null("gate")?.mapping(&path);
    let read = ReviewGate {
        share: gate.number("share", 0.0..=1.0, default.share),
        confidence: gate.number("confidence", 0.5..=0.9999, default.confidence),
    };
    gate.finish();
    Some(read)
}
