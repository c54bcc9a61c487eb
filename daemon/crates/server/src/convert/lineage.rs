//! Where records come from, and how workflows differ.

use autodidact_domain::Origin;
use autodidact_domain::comparison::Comparison;
use autodidact_domain::lineage::{
    Descendants, PromptExample, RecordLineage, RecordStanding, TrainingUse,
};
use autodidact_proto::{json, v1};

pub(crate) fn record_lineage(lineage: RecordLineage) -> v1::RecordLineageResponse {
    let RecordLineage {
        record,
        standing,
        example,
        text,
        ids,
        prompt,
        verdicts,
        training,
        descendants,
    } = lineage;
    let Descendants { candidates, kept } = descendants;
    v1::RecordLineageResponse {
        record: record.to_string(),
        standing: self::standing(standing).into(),
        example: example.map(super::example),
        text,
        ids: ids.iter().map(ToString::to_string).collect(),
        prompt: prompt.into_iter().map(prompt_example).collect(),
        verdicts: verdicts.into_iter().map(super::recorded_verdict).collect(),
        training: training.into_iter().map(training_use).collect(),
        descendants: Some(v1::Descendants { candidates, kept }),
    }
}

fn standing(standing: RecordStanding) -> v1::RecordStanding {
    match standing {
        RecordStanding::Seed => v1::RecordStanding::Seed,
        RecordStanding::HeldOut => v1::RecordStanding::HeldOut,
        RecordStanding::Kept => v1::RecordStanding::Kept,
        RecordStanding::Dropped => v1::RecordStanding::Dropped,
        RecordStanding::Open => v1::RecordStanding::Open,
    }
}

fn prompt_example(example: PromptExample) -> v1::PromptExample {
    let PromptExample { id, text, origin } = example;
    let origin = match origin {
        None => v1::Origin::Unspecified,
        Some(Origin::Human) => v1::Origin::Human,
        Some(Origin::Generated) => v1::Origin::Generated,
    };
    v1::PromptExample {
        id: id.to_string(),
        text,
        origin: origin.into(),
    }
}

fn training_use(training: TrainingUse) -> v1::TrainingUse {
    let TrainingUse {
        workflow,
        round,
        adapter,
        left_out,
        promoted,
    } = training;
    v1::TrainingUse {
        workflow: workflow.to_string(),
        round,
        adapter: adapter.to_string(),
        left_out,
        promoted,
    }
}

/// Says a comparison as its message, which has the same names.
///
/// # Panics
/// When the two differ in a name: a defect that the test beside it finds.
pub(crate) fn comparison(comparison: &Comparison) -> v1::Comparison {
    let json = serde_json::to_value(comparison).expect("plain data always serialises");
    json::read("Comparison", &json).expect("the message has every field of the type")
}

#[cfg(test)]
mod tests {
    use autodidact_domain::comparison::*;
    use autodidact_domain::report::Interval;
    use autodidact_domain::{WorkflowName, WorkflowState};

    use super::*;

    #[test]
    fn a_comparison_is_its_message() {
        let run = |name: &str| ComparedRun {
            workflow: WorkflowName::new(name).unwrap(),
            state: WorkflowState::Done,
            final_model: "round-1".into(),
            dataset: String::new(),
            seconds: 1.5,
            tokens: 9,
        };
        let counts = StageCounts {
            taken: 3,
            kept: 2,
            dropped: 1,
            out: 2,
        };
        let interval = Interval {
            low: -0.5,
            high: 0.25,
        };
        let said = Comparison {
            a: run("one"),
            b: run("two"),
            settings: vec![SettingDifference {
                field: "seed".into(),
                a: Some("7".into()),
                b: None,
            }],
            funnel: vec![FunnelDifference {
                round: 1,
                stage: "filter".into(),
                a: Some(counts),
                b: None,
            }],
            evaluations: vec![EvaluationDifference {
                model_a: "base".into(),
                model_b: "base".into(),
                language: "en".into(),
                measures: vec![MeasureDifference {
                    measure: "heldout_loss".into(),
                    a: 2.0,
                    a_interval: Some(interval),
                    b: 1.0,
                    b_interval: None,
                    difference: -1.0,
                    interval: Some(interval),
                    pairs: 4,
                    note: String::new(),
                }],
            }],
        };
        let message = comparison(&said);
        assert_eq!(message.a.as_ref().unwrap().state(), v1::WorkflowState::Done);
        let back: Comparison = serde_json::from_value(json::of("Comparison", &message)).unwrap();
        assert_eq!(back, said);
    }
}
