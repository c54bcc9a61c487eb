//! The quickstart's workflows: the example files with name, rounds and model put in.

use autodidact_domain::Language;

/// What the quickstart of a language is made of.
pub(super) struct Template {
    /// The name of its first run; later ones are numbered.
    name: &'static str,
    /// The file that people submit by hand.
    workflow: &'static str,
    /// The model it is sized for.
    pub(super) model: &'static str,
    /// Name, file name and content of its datasets, carried in the binary so that it works anywhere.
    pub(super) datasets: [(&'static str, &'static str, &'static [u8]); 2],
}

const ENGLISH: Template = Template {
    name: "self-instruct",
    workflow: include_str!("../../../examples/workflows/self-instruct.yaml"),
    model: "smollm2-135m-instruct",
    datasets: [
        (
            "seeds-en",
            "seeds-en.jsonl",
            include_bytes!("../../../examples/data/seeds-en.jsonl"),
        ),
        (
            "heldout-en",
            "heldout-en.jsonl",
            include_bytes!("../../../examples/data/heldout-en.jsonl"),
        ),
    ],
};

const CHINESE: Template = Template {
    name: "self-instruct-zh",
    workflow: include_str!("../../../examples/workflows/self-instruct-zh.yaml"),
    model: "gemma-3-270m",
    datasets: [
        (
            "seeds-zh",
            "seeds-zh.jsonl",
            include_bytes!("../../../examples/data/seeds-zh.jsonl"),
        ),
        (
            "heldout-zh",
            "heldout-zh.jsonl",
            include_bytes!("../../../examples/data/heldout-zh.jsonl"),
        ),
    ],
};

impl Template {
    /// Finds a language's.
    pub(super) fn of(language: Language) -> &'static Self {
        language.pick(&ENGLISH, &CHINESE)
    }

    /// Fills the workflow in.
    pub(super) fn workflow(&self, name: &str, rounds: u32, model: &str) -> String {
        let fields = [
            ("name", name.to_string()),
            ("rounds", rounds.to_string()),
            ("model", model.to_string()),
        ];
        let mut text = String::with_capacity(self.workflow.len() + 64);
        for line in self.workflow.lines() {
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

    /// Tells which of its runs a name stands for, counted from 1.
    pub(super) fn number_of(&self, name: &str) -> Option<u32> {
        if name == self.name {
            return Some(1);
        }
        let number = name.strip_prefix(self.name)?.strip_prefix('-')?;
        // Only the form that is given out: no sign, no leading zero.
        number
            .parse()
            .ok()
            .filter(|n: &u32| *n >= 2 && n.to_string() == number)
    }

    /// Names the run after the last one.
    pub(super) fn next_name(&self, last: Option<&str>) -> String {
        match last.and_then(|last| self.number_of(last)) {
            Some(number) => format!("{}-{}", self.name, number + 1),
            None => self.name.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_files_take_name_rounds_and_model_and_have_no_fault() {
        for language in [Language::En, Language::Zh] {
            let template = Template::of(language);
            let yaml = template.workflow("self-instruct-3", 7, "mine");
            let spec = autodidact_flow::spec::parse_workflow(&yaml).unwrap();
            assert_eq!(
                (spec.name.as_str(), spec.rounds, spec.model.as_str()),
                ("self-instruct-3", 7, "mine")
            );
            assert_eq!(spec.languages, [language]);
            let datasets = template.datasets.map(|(name, _, _)| name.to_string());
            assert_eq!(
                [
                    spec.seeds.unwrap().to_string(),
                    spec.held_out.unwrap().to_string()
                ],
                datasets
            );
        }
    }

    #[test]
    fn runs_are_numbered_on_in_each_language() {
        let (english, chinese) = (Template::of(Language::En), Template::of(Language::Zh));
        assert_eq!(english.next_name(None), "self-instruct");
        assert_eq!(english.next_name(Some("self-instruct")), "self-instruct-2");
        assert_eq!(
            english.next_name(Some("self-instruct-9")),
            "self-instruct-10"
        );
        assert_eq!(
            chinese.next_name(Some("self-instruct-zh")),
            "self-instruct-zh-2"
        );
        for other in [
            "self-instruct-",
            "self-instruct-1",
            "self-instruct-02",
            "self-instruct-x",
            "self-instruct-zh",
            "self-instruct-zh-2",
            "other",
        ] {
            assert_eq!(english.number_of(other), None, "{other}");
        }
        assert_eq!(chinese.number_of("self-instruct-2"), None);
    }
}
