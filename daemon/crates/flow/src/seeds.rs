//! Whether the seeds are many, balanced and different enough to make prompts from, and what to add where they are not.

use std::collections::BTreeMap;

use autodidact_domain::figures::{SeedCell, SeedsReport, WorkflowWarning};
use autodidact_domain::{Example, Language, TaskType};

use crate::contamination::{SameTasks, TaskText};
use crate::prompts::flatten;
use crate::report::task_type_name;
use crate::stages::known_language;

/// How many seeds of a language are recommended: fewer repeat themselves in prompts, and of more a sample does as well (the
/// Self-Instruct paper has 175).
const RECOMMENDED: std::ops::RangeInclusive<usize> = 50..=200;
/// Seeds of a task type that a prompt can draw different ones from.
const SEEDS_OF_A_TYPE: usize = 5;
/// ROUGE-L F above which two seeds are near-duplicates, the filter's own default.
const NEAR_DUPLICATE: f64 = 0.7;
/// Seeds beyond which near-duplicates are not looked for: it would hold the submission up.
const MOST_COMPARED: usize = 20_000;
/// Texts that a warning shows.
const SHOWN: usize = 3;
/// Characters of a text that a warning shows.
const SHOWN_CHARACTERS: usize = 40;
/// The name under which what is not told stands.
const UNKNOWN: &str = "unknown";
/// The name under which languages stand that are neither English nor Chinese.
const OTHER: &str = "other";

/// Checks the seeds of a workflow that works in these languages; warnings are told in the first of them.
pub(crate) fn check(languages: &[Language], seeds: &[Example]) -> SeedsReport {
    let mut warnings = Warnings {
        language: languages[0],
        found: Vec::new(),
    };
    let by_language = group(languages[0], seeds);
    let of = |language: Language| {
        by_language
            .get(language.code())
            .map_or(&[][..], Vec::as_slice)
    };
    for language in languages {
        warnings.amount(*language, of(*language).len());
    }
    warnings.unused(languages, &by_language);
    warnings.duplicates(seeds);
    for language in languages {
        let seeds = of(*language);
        if !seeds.is_empty() {
            warnings.task_types(*language, seeds);
            warnings.topics(*language, seeds);
        }
    }
    SeedsReport {
        n: seeds.len() as u64,
        cells: cells(&by_language),
        warnings: warnings.found,
    }
}

/// Groups seeds by the code of their language. What tells none, as bare numbers do, counts to the workflow's first.
fn group(default: Language, seeds: &[Example]) -> BTreeMap<&'static str, Vec<&Example>> {
    let mut groups: BTreeMap<&str, Vec<&Example>> = BTreeMap::new();
    for seed in seeds {
        let code = known_language(seed, default).map_or(OTHER, Language::code);
        groups.entry(code).or_default().push(seed);
    }
    groups
}

fn cells(by_language: &BTreeMap<&'static str, Vec<&Example>>) -> Vec<SeedCell> {
    let mut counts: BTreeMap<(&str, &str, &str), u64> = BTreeMap::new();
    for (language, seeds) in by_language {
        for seed in seeds {
            let topic = seed.topic.as_deref().unwrap_or(UNKNOWN);
            *counts.entry((language, type_of(seed), topic)).or_default() += 1;
        }
    }
    let cell = |((language, task_type, topic), n): ((&str, &str, &str), u64)| SeedCell {
        language: language.to_string(),
        task_type: task_type.to_string(),
        topic: topic.to_string(),
        n,
    };
    counts.into_iter().map(cell).collect()
}

fn type_of(seed: &Example) -> &'static str {
    seed.task_type.map_or(UNKNOWN, TaskType::name)
}

struct Warnings {
    /// In which they are told.
    language: Language,
    found: Vec<WorkflowWarning>,
}

impl Warnings {
    fn add(&mut self, code: &str, en: String, zh: String) {
        self.found.push(WorkflowWarning {
            code: code.to_string(),
            message: self.language.pick(en, zh),
        });
    }

    fn amount(&mut self, of: Language, n: usize) {
        let (least, most) = (*RECOMMENDED.start(), *RECOMMENDED.end());
        let (en, zh) = (english_name(of), chinese_name(of));
        if n == 0 {
            self.add(
                "seeds_none",
                format!("seeds: none is {en}, a language of the workflow: its prompts would have no examples; add {least} to {most}"),
                format!("种子：没有{zh}种子，而工作流包含{zh}，其提示将没有示例；请添加 {least} 至 {most} 条"),
            );
        } else if n < least {
            let missing = least - n;
            self.add(
                "seeds_few",
                format!(
                    "seeds: {n} are {en}, {least} to {most} are recommended; add {missing} or more"
                ),
                format!(
                    "种子：{zh}种子有 {n} 条，建议 {least} 至 {most} 条；请再添加至少 {missing} 条"
                ),
            );
        } else if n > most {
            self.add(
                "seeds_many",
                format!("seeds: {n} are {en}, {least} to {most} are recommended; more make prompts no better, so a varied sample will do, and the others may be held out"),
                format!("种子：{zh}种子有 {n} 条，建议 {least} 至 {most} 条；更多种子不会使提示更好，可只取多样的一部分，其余留作评测"),
            );
        }
    }

    /// Tells of seeds in a language that no prompt is made in.
    fn unused(&mut self, languages: &[Language], by_language: &BTreeMap<&str, Vec<&Example>>) {
        for (code, seeds) in by_language {
            let language = Language::from_code(code);
            if language.is_some_and(|language| languages.contains(&language)) {
                continue;
            }
            let (n, shown) = (seeds.len(), shown(seeds.iter().copied()));
            let language = self.language;
            let (en, zh) = match Language::from_code(code) {
                Some(other) => (english_name(other), chinese_name(other)),
                None => ("neither English nor Chinese", "中英文以外的语言"),
            };
            let worked_in: Vec<&str> = languages
                .iter()
                .map(|of| language.pick(english_name(*of), chinese_name(*of)))
                .collect();
            let worked_in = worked_in.join(language.pick(" and ", "和"));
            self.add(
                "seeds_other_language",
                format!("seeds: {n} are {en} ({shown}), and the workflow works in {worked_in} alone: no prompt shows them; translate or remove them, or say what they are in the field language"),
                format!("种子：{n} 条是{zh}（{shown}），而工作流只用{worked_in}：提示不会使用它们；请翻译或删除，或在 language 字段中注明语言"),
            );
        }
    }

    fn duplicates(&mut self, seeds: &[Example]) {
        let mut tasks = SameTasks::new(NEAR_DUPLICATE);
        let (mut equal, mut near) = (Vec::new(), Vec::new());
        if seeds.len() > MOST_COMPARED {
            let n = seeds.len();
            self.add(
                "seeds_not_compared",
                format!("seeds: {n} are too many to look for near-duplicates before the start (at most {MOST_COMPARED}); `autodidact dataset dedup` finds them"),
                format!("种子：共 {n} 条，开始前不检查近似重复（最多检查 {MOST_COMPARED} 条）；可用 `autodidact dataset dedup` 查找"),
            );
            return;
        }
        for (place, seed) in seeds.iter().enumerate() {
            let text = TaskText::of(&seed.body);
            match tasks.nearest(&text) {
                Some(found) if found.score == 1.0 => equal.push((place, found.place)),
                Some(found) => near.push((place, found.place)),
                None => {}
            }
            tasks.add(&text);
        }
        let pairs = |pairs: &[(usize, usize)]| {
            let pair = |(place, earlier): &(usize, usize)| {
                let (one, other) = (shown([&seeds[*place]]), shown([&seeds[*earlier]]));
                format!("{one} ~ {other}")
            };
            let named: Vec<String> = pairs.iter().take(SHOWN).map(pair).collect();
            named.join("; ")
        };
        if !equal.is_empty() {
            let (n, named) = (equal.len(), pairs(&equal));
            self.add(
                "seeds_duplicate",
                format!("seeds: {n} ask the same as an earlier one ({named}); remove them or write others"),
                format!("种子：{n} 条与之前的种子相同（{named}）；请删除或改写"),
            );
        }
        if !near.is_empty() {
            let (n, named) = (near.len(), pairs(&near));
            self.add(
                "seeds_near_duplicate",
                format!("seeds: {n} ask nearly the same as an earlier one (ROUGE-L above {NEAR_DUPLICATE}: {named}); make them differ more"),
                format!("种子：{n} 条与之前的种子近似（ROUGE-L 高于 {NEAR_DUPLICATE}：{named}）；请使其更加不同"),
            );
        }
    }

    fn task_types(&mut self, of: Language, seeds: &[&Example]) {
        let (en, zh) = (english_name(of), chinese_name(of));
        let counts = count(seeds.iter().map(|seed| type_of(seed)));
        let untold = counts.get(UNKNOWN).copied().unwrap_or(0);
        if untold > 0 {
            self.add(
                "seeds_without_task_type",
                format!("seeds: {untold} of {} {en} ones name no task_type, so their balance cannot be told; name it in each", seeds.len()),
                format!("种子：{} 条{zh}种子中有 {untold} 条没有注明 task_type，无法判断是否均衡；请逐条注明", seeds.len()),
            );
        }
        let language = self.language;
        let missing: Vec<&str> = TaskType::ALL
            .iter()
            .filter(|(_, name)| !counts.contains_key(name))
            .map(|(_, name)| task_type_name(language, name))
            .collect();
        if !missing.is_empty() && untold < seeds.len() {
            let missing = missing.join(language.pick(", ", "、"));
            self.add(
                "seeds_missing_task_types",
                format!("seeds: no {en} one is of {missing}; add about {SEEDS_OF_A_TYPE} of each, since a model seldom invents what it is not shown"),
                format!("种子：{zh}种子缺少以下类型：{missing}；请每类添加约 {SEEDS_OF_A_TYPE} 条，模型很少会写出没有示例的任务类型"),
            );
        }
        if let Some((name, n)) = over_half(&counts, seeds.len()) {
            let name = task_type_name(language, name);
            self.add(
                "seeds_one_task_type",
                format!(
                    "seeds: {n} of {} {en} ones are {name}; add others until it is less than half",
                    seeds.len()
                ),
                format!(
                    "种子：{} 条{zh}种子中有 {n} 条是{name}；请添加其他类型，使其少于一半",
                    seeds.len()
                ),
            );
        }
    }

    fn topics(&mut self, of: Language, seeds: &[&Example]) {
        let (en, zh) = (english_name(of), chinese_name(of));
        let counts = count(seeds.iter().filter_map(|seed| seed.topic.as_deref()));
        let told: usize = counts.values().sum();
        if told < seeds.len() {
            let untold = seeds.len() - told;
            self.add(
                "seeds_without_topic",
                format!("seeds: {untold} of {} {en} ones name no topic, so their balance cannot be told; name it in each", seeds.len()),
                format!("种子：{} 条{zh}种子中有 {untold} 条没有注明 topic，无法判断是否均衡；请逐条注明", seeds.len()),
            );
        }
        if let Some((name, n)) = over_half(&counts, seeds.len()) {
            self.add(
                "seeds_one_topic",
                format!("seeds: {n} of {} {en} ones are about {name}; add other topics until it is less than half", seeds.len()),
                format!("种子：{} 条{zh}种子中有 {n} 条的主题是{name}；请添加其他主题，使其少于一半", seeds.len()),
            );
        }
    }
}

fn count<'a>(names: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

/// Finds the name that more than half of all have.
fn over_half<'a>(counts: &BTreeMap<&'a str, usize>, all: usize) -> Option<(&'a str, usize)> {
    let mut told = counts.iter().filter(|(name, _)| **name != UNKNOWN);
    let found = told.find(|(_, n)| **n * 2 > all)?;
    Some((found.0, *found.1))
}

/// Shows the beginnings of a few texts.
fn shown<'a>(seeds: impl IntoIterator<Item = &'a Example>) -> String {
    let text = |seed: &Example| {
        let text = flatten(&TaskText::of(&seed.body).whole());
        let cut: String = text.chars().take(SHOWN_CHARACTERS).collect();
        format!("{cut:?}")
    };
    let texts: Vec<String> = seeds.into_iter().take(SHOWN).map(text).collect();
    texts.join(", ")
}

fn english_name(language: Language) -> &'static str {
    match language {
        Language::En => "English",
        Language::Zh => "Chinese",
    }
}

fn chinese_name(language: Language) -> &'static str {
    match language {
        Language::En => "英文",
        Language::Zh => "中文",
    }
}

#[cfg(test)]
mod tests {
    use autodidact_domain::Body;

    use super::*;

    /// Makes seeds that differ in every word, of all types in turn.
    fn seeds(language: Language, count: usize) -> Vec<Example> {
        let seed = |i: usize| {
            let text = language.pick(
                format!("word{i}a other{i}b third{i}c fourth{i}d in English"),
                [0, 1, 2, 3, 4, 5]
                    .map(|k| char::from_u32(0x4E00 + (i * 6 + k) as u32).expect("an ideograph"))
                    .iter()
                    .collect(),
            );
            Example {
                language: Some(language),
                task_type: Some(TaskType::ALL[i % TaskType::ALL.len()].0),
                topic: Some(["food", "travel", "law"][i % 3].to_string()),
                ..Example::human(Body::instruction(&text, "", "An answer."))
            }
        };
        (0..count).map(seed).collect()
    }

    fn codes(languages: &[Language], seeds: &[Example]) -> Vec<String> {
        let found = check(languages, seeds).warnings.into_iter();
        found.map(|warning| warning.code).collect()
    }

    const BOTH: [Language; 2] = [Language::En, Language::Zh];

    fn balanced() -> Vec<Example> {
        [seeds(Language::En, 54), seeds(Language::Zh, 54)].concat()
    }

    #[test]
    fn balanced_seeds_have_nothing_to_warn_of_and_are_counted() {
        let report = check(&BOTH, &balanced());
        assert_eq!(report.warnings, []);
        assert_eq!(report.n, 108);
        assert_eq!(report.cells.iter().map(|cell| cell.n).sum::<u64>(), 108);
        let cell = &report.cells[0];
        let place = (cell.language.as_str(), cell.task_type.as_str(), cell.n);
        // Types go round by nine and topics by three, so each type has one topic.
        assert_eq!(
            (place, cell.topic.as_str()),
            (("en", "classification", 6), "law")
        );
        assert_eq!(report.cells.len(), 18);
    }

    #[test]
    fn every_lack_has_its_warning_in_both_languages() {
        let changed = |change: &dyn Fn(usize, &mut Example)| {
            let mut all = balanced();
            for (i, seed) in all.iter_mut().enumerate().take(54) {
                change(i, seed);
            }
            all
        };
        let check = |all: &[Example], expect: &[&str], en: &str, zh: &str| {
            assert_eq!(codes(&BOTH, all), expect);
            for (languages, word) in [(BOTH, en), ([Language::Zh, Language::En], zh)] {
                let found = super::check(&languages, all).warnings;
                let told: Vec<&str> = found.iter().map(|w| w.message.as_str()).collect();
                assert!(
                    told.join("\n").contains(word),
                    "{word:?} is not in {told:?}"
                );
            }
        };
        check(
            &balanced()[36..],
            &["seeds_few"],
            "18 are English",
            "英文种子有 18 条",
        );
        check(
            &balanced()[54..],
            &["seeds_none"],
            "none is English",
            "没有英文种子",
        );
        let many = [seeds(Language::En, 207), seeds(Language::Zh, 54)].concat();
        check(
            &many,
            &["seeds_many"],
            "207 are English",
            "英文种子有 207 条",
        );
        let twice = |i: usize, seed: &mut Example| {
            if i == 9 {
                seed.body = balanced()[0].body.clone();
            }
        };
        check(
            &changed(&twice),
            &["seeds_duplicate"],
            "1 ask the same",
            "1 条与之前的种子相同",
        );
        let nearly = |i: usize, seed: &mut Example| {
            if i == 9 {
                let text = "word0a other0b third0c fourth0d in French";
                seed.body = Body::instruction(text, "", "b");
            }
        };
        check(
            &changed(&nearly),
            &["seeds_near_duplicate"],
            "nearly the same",
            "近似",
        );
        let no_code = |_: usize, seed: &mut Example| {
            if seed.task_type == Some(TaskType::Code) {
                seed.task_type = Some(TaskType::Writing);
            }
        };
        check(
            &changed(&no_code),
            &["seeds_missing_task_types"],
            "is of code",
            "类型：代码",
        );
        let writing = |i: usize, seed: &mut Example| {
            if i >= 18 {
                seed.task_type = Some(TaskType::Writing);
            }
        };
        check(
            &changed(&writing),
            &["seeds_one_task_type"],
            "ones are writing",
            "条是写作",
        );
        let untold = |i: usize, seed: &mut Example| {
            if i >= 45 {
                seed.task_type = None;
                seed.topic = None;
            }
        };
        check(
            &changed(&untold),
            &["seeds_without_task_type", "seeds_without_topic"],
            "9 of 54 English ones name no topic",
            "54 条英文种子中有 9 条没有注明 topic",
        );
        let food = |i: usize, seed: &mut Example| {
            if i.is_multiple_of(2) || i < 6 {
                seed.topic = Some("food".into());
            }
        };
        check(
            &changed(&food),
            &["seeds_one_topic"],
            "are about food",
            "主题是food",
        );
    }

    #[test]
    fn seeds_of_a_third_language_are_named_and_not_counted_to_the_first() {
        let mut all = balanced();
        let foreign = ["図書館は何時に閉まりますか。", "Где находится библиотека?"];
        for (i, text) in foreign.iter().enumerate() {
            all[i].body = Body::instruction(text, "", "a");
            all[i].language = None;
        }
        // Numbers alone are of no language, and so of the first.
        all[2].body = Body::instruction("12 + 3 = ?", "", "15");
        all[2].language = None;
        let report = check(&BOTH, &all);
        let [warning] = report.warnings.as_slice() else {
            panic!("one warning: {:?}", report.warnings);
        };
        assert_eq!(warning.code, "seeds_other_language");
        assert!(
            warning.message.contains("2 are neither"),
            "{}",
            warning.message
        );
        assert!(warning.message.contains("図書館"), "{}", warning.message);
        let of = |language: &str| {
            let cells = report.cells.iter().filter(|cell| cell.language == language);
            cells.map(|cell| cell.n).sum::<u64>()
        };
        assert_eq!((of("en"), of("zh"), of("other")), (52, 54, 2));
        // Chinese seeds of a workflow in English are as little used.
        let found = check(&[Language::En], &balanced()).warnings;
        assert_eq!(found[0].code, "seeds_other_language");
        assert!(
            found[0].message.contains("54 are Chinese"),
            "{}",
            found[0].message
        );
    }
}
