//! The quickstart's workflow: the example file with name, rounds and model put in.

/// The file that people submit by hand.
const WORKFLOW: &str = include_str!("../../../examples/workflows/self-instruct.yaml");
/// The name of the first run; later ones are numbered.
const NAME: &str = "self-instruct";

/// Fills the workflow in.
pub(super) fn workflow(name: &str, rounds: u32, model: &str) -> String {
    let fields = [
        ("name", name.to_string()),
        ("rounds", rounds.to_string()),
        ("model", model.to_string()),
    ];
    let mut text = String::with_capacity(WORKFLOW.len() + 64);
    for line in WORKFLOW.lines() {
        let field = fields.iter().find(|(key, _)| {
            line.strip_prefix(key)
                .is_some_and(|rest| rest.starts_with(':'))
        });
        match field {
            Some((key, value)) => text.push_str(&format!("{key}: {value}")),
            None => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

/// Tells which run of the quickstart a name stands for, counted from 1.
pub(super) fn number_of(name: &str) -> Option<u32> {
    if name == NAME {
        return Some(1);
    }
    let number = name.strip_prefix(NAME)?.strip_prefix('-')?;
    // Only the form that is given out: no sign, no leading zero.
    number
        .parse()
        .ok()
        .filter(|n: &u32| *n >= 2 && n.to_string() == number)
}

/// Names the run after the last one.
pub(super) fn next_name(last: Option<&str>) -> String {
    match last.and_then(number_of) {
        Some(number) => format!("{NAME}-{}", number + 1),
        None => NAME.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_file_takes_name_rounds_and_model_and_has_no_fault() {
        let yaml = workflow("self-instruct-3", 7, "mine");
        let spec = autodidact_flow::spec::parse_workflow(&yaml).unwrap();
        assert_eq!(
            (spec.name.as_str(), spec.rounds, spec.model.as_str()),
            ("self-instruct-3", 7, "mine")
        );
        let datasets = super::super::DATASETS.map(|(name, _, _)| name.to_string());
        assert_eq!(
            [
                spec.seeds.unwrap().to_string(),
                spec.held_out.unwrap().to_string()
            ],
            datasets
        );
    }

    #[test]
    fn runs_are_numbered_on() {
        assert_eq!(next_name(None), "self-instruct");
        assert_eq!(next_name(Some("self-instruct")), "self-instruct-2");
        assert_eq!(next_name(Some("self-instruct-9")), "self-instruct-10");
        for other in [
            "self-instruct-",
            "self-instruct-1",
            "self-instruct-02",
            "self-instruct-x",
            "other",
        ] {
            assert_eq!(number_of(other), None, "{other}");
        }
    }
}
