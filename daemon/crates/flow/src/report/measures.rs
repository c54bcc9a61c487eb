//! The report's sections on seeds, diversity and the judge, every estimate with its interval.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use autodidact_domain::Language;
use autodidact_domain::figures::{AgreementReport, DiversityReport, JudgeReport, SeedsReport};
use autodidact_domain::report::{EvaluationReport, Interval};

use super::markdown::{heading, one_line};
use super::words::task_type_name;

/// Figures of diversity by their code, in English and Chinese.
const FIGURES: [(&str, &str, &str); 6] = [
    ("distinct_1", "distinct-1", "distinct-1"),
    ("distinct_2", "distinct-2", "distinct-2"),
    ("token_entropy", "token entropy (bits)", "词元熵（比特）"),
    (
        "task_type_entropy",
        "task types (bits)",
        "任务类型熵（比特）",
    ),
    ("topic_entropy", "topics (bits)", "主题熵（比特）"),
    (
        "nearest_similarity",
        "nearest (ROUGE-L)",
        "最近邻相似度（ROUGE-L）",
    ),
];

/// Shows a value with its interval, where it has one.
pub(super) fn with_interval(value: f64, interval: Option<&Interval>, decimals: usize) -> String {
    match interval {
        Some(Interval { low, high }) => {
            format!("{value:.decimals$} [{low:.decimals$}, {high:.decimals$}]")
        }
        None => format!("{value:.decimals$}"),
    }
}

type Values<'a> = (&'a BTreeMap<String, f64>, &'a BTreeMap<String, Interval>);

/// Writes a table of the figures that any of the rows has; each begins with cells of its own.
fn write_figures(
    text: &mut String,
    language: Language,
    title: &str,
    first: &[&str],
    rows: &[(Vec<String>, Values<'_>)],
) -> std::fmt::Result {
    let there = |(code, _, _): &&(&str, &str, &str)| {
        rows.iter()
            .any(|(_, (values, _))| values.contains_key(*code))
    };
    let columns: Vec<&(&str, &str, &str)> = FIGURES.iter().filter(there).collect();
    if columns.is_empty() {
        return Ok(());
    }
    let names = columns.iter().map(|(_, en, zh)| language.pick(*en, *zh));
    let names: Vec<&str> = first.iter().copied().chain(names).collect();
    heading(text, title, &names)?;
    for (cells, (values, intervals)) in rows {
        let figures = columns.iter().map(|(code, _, _)| {
            let value = values.get(*code);
            value.map_or(String::new(), |value| {
                with_interval(*value, intervals.get(*code), 3)
            })
        });
        let cells: Vec<String> = cells.iter().cloned().chain(figures).collect();
        writeln!(text, "| {} |", cells.join(" | "))?;
    }
    writeln!(text)
}

/// Writes how varied the instructions are that a round kept.
pub(super) fn write_round_diversity(
    text: &mut String,
    language: Language,
    round: u32,
    diversity: &[DiversityReport],
) -> std::fmt::Result {
    let row = |of: &'_ DiversityReport| vec![of.language.clone(), of.n.to_string()];
    let rows: Vec<(Vec<String>, Values<'_>)> = diversity
        .iter()
        .map(|of| (row(of), (&of.figures, &of.intervals)))
        .collect();
    let title = language.pick(
        format!("Diversity of the instructions kept in round {round}"),
        format!("第 {round} 轮保留指令的多样性"),
    );
    let first = language.pick(["language", "n"], ["语言", "条数"]);
    write_figures(text, language, &title, &first, &rows)
}

/// Writes how varied the answers to the held-out tasks are.
pub(super) fn write_answer_diversity(
    text: &mut String,
    language: Language,
    evaluations: &[EvaluationReport],
) -> std::fmt::Result {
    let row =
        |of: &'_ EvaluationReport| vec![of.model.clone(), of.language.clone(), of.n.to_string()];
    let rows: Vec<(Vec<String>, Values<'_>)> = evaluations
        .iter()
        .map(|of| (row(of), (&of.diversity, &of.intervals)))
        .collect();
    let title = language.pick("Diversity of the held-out answers", "留出任务答案的多样性");
    let first = language.pick(["model", "language", "n"], ["模型", "语言", "任务数"]);
    write_figures(text, language, title, &first, &rows)
}

/// Writes the judge's marks, and beside them how far it agrees with people.
pub(super) fn write_judge(
    text: &mut String,
    language: Language,
    evaluations: &[EvaluationReport],
    judge: Option<&JudgeReport>,
) -> std::fmt::Result {
    let Some(judge) = judge else { return Ok(()) };
    let model = one_line(&judge.model);
    heading(
        text,
        &language.pick(
            format!("Marks of the judge {model}"),
            format!("评委 {model} 的评分"),
        ),
        language.pick(
            &[
                "model",
                "language",
                "marked",
                "no mark",
                "mean mark (1 to 5)",
                "share of 4 and 5",
            ],
            &[
                "模型",
                "语言",
                "已评",
                "未评",
                "平均分（1 至 5）",
                "4 分及以上的比例",
            ],
        ),
    )?;
    for evaluation in evaluations {
        let Some(marks) = &evaluation.judge else {
            continue;
        };
        let of = |name: &str, value: f64, decimals| {
            with_interval(value, marks.intervals.get(name), decimals)
        };
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            evaluation.model,
            evaluation.language,
            marks.n,
            marks.unscored,
            of("mean_mark", marks.mean_mark, 2),
            of("good_share", marks.good_share, 3)
        )?;
    }
    writeln!(text)?;
    heading(
        text,
        language.pick(
            "The judge's agreement with hand labels",
            "评委与人工标注的一致性",
        ),
        language.pick(
            &["labels", "n", "agreed", "no mark", "share", "Cohen's kappa"],
            &["标注", "条数", "一致", "未评", "比例", "Cohen's kappa"],
        ),
    )?;
    for AgreementReport {
        language: of_language,
        n,
        agreed,
        unscored,
        share,
        kappa,
        intervals,
    } in &judge.agreement
    {
        let name = match of_language.as_str() {
            "all" => language.pick("all", "全部"),
            code => code,
        };
        writeln!(
            text,
            "| {name} | {n} | {agreed} | {unscored} | {} | {} |",
            with_interval(*share, intervals.get("share"), 3),
            with_interval(*kappa, intervals.get("kappa"), 3)
        )?;
    }
    writeln!(
        text,
        "\n{}\n",
        language.pick(
            "The judge was asked about answers that people called good or bad as it is asked about held-out ones; 4 and 5 say good, and no mark agrees with nobody. The success rate above needs no judge and comes first.",
            "评委以评留出任务答案的同样方式评了人工标为“好”或“坏”的答案；4 分及以上算“好”，未评不算一致。上面的成功率不依赖评委，是首要指标。",
        )
    )
}

/// Writes what the seeds are made of, and what they lack.
pub(super) fn write_seeds(
    text: &mut String,
    language: Language,
    seeds: Option<&SeedsReport>,
) -> std::fmt::Result {
    let Some(seeds) = seeds else { return Ok(()) };
    heading(
        text,
        &language.pick(
            format!("Seeds: {}", seeds.n),
            format!("种子：{} 条", seeds.n),
        ),
        language.pick(
            &["language", "task type", "n", "topics"],
            &["语言", "任务类型", "条数", "主题"],
        ),
    )?;
    let mut rows: BTreeMap<(&str, &str), (u64, Vec<String>)> = BTreeMap::new();
    for cell in &seeds.cells {
        let row = rows.entry((&cell.language, &cell.task_type)).or_default();
        row.0 += cell.n;
        let topic = match cell.topic.as_str() {
            "unknown" => language.pick("unknown", "未注明").to_string(),
            topic => one_line(topic),
        };
        row.1.push(format!("{topic} {}", cell.n));
    }
    for ((code, task_type), (n, topics)) in rows {
        writeln!(
            text,
            "| {} | {} | {n} | {} |",
            match code {
                "other" => language.pick("other", "其他"),
                code => code,
            },
            task_type_name(language, task_type),
            topics.join(language.pick(", ", "、"))
        )?;
    }
    writeln!(text)?;
    for warning in &seeds.warnings {
        writeln!(text, "- {}", one_line(&warning.message))?;
    }
    match seeds.warnings.is_empty() {
        true => writeln!(
            text,
            "{}\n",
            language.pick("Nothing is lacking.", "没有缺少的内容。")
        ),
        false => writeln!(text),
    }
}

#[cfg(test)]
mod tests {
    use autodidact_domain::figures::{JudgeMarks, SeedCell, SeedWarning};

    use super::*;

    fn interval(low: f64, high: f64) -> Interval {
        Interval { low, high }
    }

    fn map<T>(pairs: impl IntoIterator<Item = (&'static str, T)>) -> BTreeMap<String, T> {
        let pairs = pairs.into_iter();
        pairs
            .map(|(name, value)| (name.to_string(), value))
            .collect()
    }

    fn evaluation() -> EvaluationReport {
        EvaluationReport {
            model: "round-1".into(),
            language: "zh".into(),
            n: 9,
            heldout_loss: 1.0,
            rouge_l: 0.5,
            success_rate: 0.5,
            intervals: map([("distinct_2", interval(0.7, 0.9))]),
            task_types: BTreeMap::new(),
            diversity: map([("distinct_2", 0.8), ("token_entropy", 5.0)]),
            judge: Some(JudgeMarks {
                n: 8,
                unscored: 1,
                nonsense: 3,
                mean_mark: 3.5,
                good_share: 0.625,
                intervals: map([
                    ("mean_mark", interval(2.9, 4.1)),
                    ("good_share", interval(0.31, 0.86)),
                ]),
            }),
        }
    }

    fn agreement() -> JudgeReport {
        let agreement = AgreementReport {
            language: "all".into(),
            n: 50,
            agreed: 40,
            unscored: 2,
            share: 0.8,
            kappa: 0.6,
            intervals: map([
                ("share", interval(0.67, 0.89)),
                ("kappa", interval(0.4, 0.8)),
            ]),
        };
        JudgeReport {
            model: "judge".into(),
            agreement: vec![agreement],
        }
    }

    fn seeds() -> SeedsReport {
        let cell = |language: &str, task_type: &str, topic: &str, n| SeedCell {
            language: language.into(),
            task_type: task_type.into(),
            topic: topic.into(),
            n,
        };
        SeedsReport {
            n: 6,
            cells: vec![
                cell("en", "code", "food", 2),
                cell("en", "code", "law", 1),
                cell("other", "unknown", "unknown", 3),
            ],
            warnings: vec![SeedWarning {
                code: "seeds_few".into(),
                message: "few | of them".into(),
            }],
        }
    }

    #[test]
    fn every_estimate_stands_with_its_interval_in_both_languages() {
        let texts = |language: Language| {
            let (mut text, evaluations) = (String::new(), [evaluation()]);
            let diversity = [DiversityReport {
                language: "en".into(),
                n: 30,
                figures: map([("distinct_1", 0.5), ("topic_entropy", 2.0)]),
                intervals: map([
                    ("distinct_1", interval(0.4, 0.6)),
                    ("topic_entropy", interval(1.8, 2.2)),
                ]),
            }];
            write_seeds(&mut text, language, Some(&seeds())).expect("a String takes all");
            write_round_diversity(&mut text, language, 2, &diversity).expect("a String takes all");
            write_answer_diversity(&mut text, language, &evaluations).expect("a String takes all");
            let judge = agreement();
            write_judge(&mut text, language, &evaluations, Some(&judge))
                .expect("a String takes all");
            text
        };
        let rows = [
            "| en | 30 | 0.500 [0.400, 0.600] | 2.000 [1.800, 2.200] |",
            "| round-1 | zh | 9 | 0.800 [0.700, 0.900] | 5.000 |",
            "| round-1 | zh | 8 | 1 | 3.50 [2.90, 4.10] | 0.625 [0.310, 0.860] |",
            "- few \\| of them",
        ];
        let english = [
            "## Seeds: 6",
            "| en | code | 3 | food 2, law 1 |",
            "| other | unknown | 3 | unknown 3 |",
            "## Diversity of the instructions kept in round 2",
            "| all | 50 | 40 | 2 | 0.800 [0.670, 0.890] | 0.600 [0.400, 0.800] |",
        ];
        let chinese = [
            "## 种子：6 条",
            "| en | 代码 | 3 | food 2、law 1 |",
            "| 其他 | 未注明 | 3 | 未注明 3 |",
            "## 第 2 轮保留指令的多样性",
            "| 全部 | 50 | 40 | 2 | 0.800 [0.670, 0.890] | 0.600 [0.400, 0.800] |",
        ];
        for (language, own) in [(Language::En, english), (Language::Zh, chinese)] {
            let text = texts(language);
            for row in rows.iter().chain(&own) {
                assert!(text.contains(row), "{row:?} is not in\n{text}");
            }
        }
    }

    #[test]
    fn reports_without_these_parts_have_no_sections_of_them() {
        let mut text = String::new();
        write_seeds(&mut text, Language::En, None).expect("a String takes all");
        write_round_diversity(&mut text, Language::En, 1, &[]).expect("a String takes all");
        write_judge(&mut text, Language::En, &[evaluation()], None).expect("a String takes all");
        assert_eq!(text, "");
    }
}
