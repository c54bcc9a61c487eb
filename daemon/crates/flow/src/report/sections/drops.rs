//! Dropped records with what each decision rests on.

use autodidact_domain::Language;
use autodidact_domain::report::{DroppedExample, Report};

use crate::report::document::{Block, Item, Line};
use crate::report::words::{reason_name, stage_name};

/// Shows some dropped records of each stage and reason.
pub(super) fn dropped_records(report: &Report) -> Vec<Block> {
    let language = report.language;
    if report.dropped.is_empty() {
        return Vec::new();
    }
    let title = language.pick(
        "Dropped records, some of each reason",
        "各类原因丢弃的部分记录",
    );
    let mut blocks = vec![Block::Heading(title.to_string())];
    for group in &report.dropped {
        let (stage, count) = (stage_name(language, &group.stage), group.count);
        let title = Line::from(language.pick(format!("{stage}: "), format!("{stage}：")))
            .and_data(reason_name(language, &group.reason))
            .and(language.pick(format!(" ({count})"), format!("（{count} 条）")));
        blocks.push(Block::Subheading(title));
        let items = group.examples.iter().map(|dropped| item(language, dropped));
        blocks.push(Block::List(items.collect()));
    }
    blocks
}

fn item(language: Language, dropped: &DroppedExample) -> Item {
    let round = dropped.round;
    let line = Line::data(dropped.text.as_str())
        .and(language.pick(format!(" (round {round})"), format!("（第 {round} 轮）")));
    let mut details = Vec::new();
    if let Some(nearest) = &dropped.nearest {
        let begin = language.pick("nearest: ", "最相近：");
        details.push(Line::from(begin).and_data(nearest.as_str()));
    }
    if let Some(score) = dropped.score {
        details.push(
            language
                .pick(format!("score: {score:.3}"), format!("得分：{score:.3}"))
                .into(),
        );
    }
    if let Some(note) = &dropped.note {
        let begin = language.pick("note: ", "说明：");
        details.push(Line::from(begin).and_data(note.as_str()));
    }
    let begin = language.pick("decided by: ", "判定者：");
    details.push(Line::from(begin).and_data(dropped.rule.as_str()));
    Item { line, details }
}
