//! What people read for themselves: kept examples, one prompt answered twice, and where the results are.

use autodidact_domain::report::Report;

use crate::report::document::{Block, Item, Line};

/// Shows kept examples, and one held-out prompt before and after.
pub(super) fn examples(report: &Report) -> Vec<Block> {
    let language = report.language;
    let mut blocks = Vec::new();
    if !report.examples.is_empty() {
        let title = language.pick("Kept examples", "保留的样本");
        let (input, output) = language.pick(("input: ", "output: "), ("输入：", "答案："));
        let items = report.examples.iter().map(|example| {
            let round = example.round;
            let line = Line::data(example.instruction.as_str());
            let line =
                line.and(language.pick(format!(" (round {round})"), format!("（第 {round} 轮）")));
            let mut details = Vec::new();
            if !example.input.is_empty() {
                details.push(Line::from(input).and_data(example.input.as_str()));
            }
            details.push(Line::from(output).and_data(example.output.as_str()));
            Item { line, details }
        });
        blocks.push(Block::Heading(title.to_string()));
        blocks.push(Block::List(items.collect()));
    }
    if let Some(pair) = &report.before_after {
        let title = language.pick(
            "One held-out prompt, before and after",
            "同一个留出任务，训练前后",
        );
        let colon = language.pick(": ", "：");
        let parts = [
            (language.pick("prompt", "任务"), &pair.prompt),
            (language.pick("expected", "参考答案"), &pair.expected),
            ("base", &pair.before),
            (pair.model.as_str(), &pair.after),
        ];
        let items = parts.iter().map(|(name, text)| Item {
            line: Line::from(format!("{name}{colon}")).and_data(text.as_str()),
            details: Vec::new(),
        });
        blocks.push(Block::Heading(title.to_string()));
        blocks.push(Block::List(items.collect()));
    }
    blocks
}

/// Says what the run leaves behind.
pub(super) fn results(report: &Report) -> Vec<Block> {
    let language = report.language;
    let none = language.pick("none", "无");
    let or_none = |value: Option<String>| value.unwrap_or_else(|| none.to_string());
    let colon = language.pick(": ", "：");
    let results = [
        (
            language.pick("dataset", "数据集"),
            report.dataset.clone(),
            report.dataset_digest,
        ),
        (
            language.pick("adapter", "适配器"),
            report.adapter.as_ref().map(ToString::to_string),
            report.adapter_digest,
        ),
    ];
    let items = results.into_iter().map(|(name, value, digest)| {
        let digest = or_none(digest.map(|digest| digest.to_string()));
        let digest = language.pick(format!(" (digest {digest})"), format!("（摘要 {digest}）"));
        let line = Line::from(format!("{name}{colon}"));
        Item {
            line: line.and_data(or_none(value)).and(digest),
            details: Vec::new(),
        }
    });
    vec![
        Block::Heading(language.pick("What came of it", "结果").to_string()),
        Block::List(items.collect()),
    ]
}
