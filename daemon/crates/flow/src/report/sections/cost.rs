//! What the run took: time and tokens of its stages, requests to remote models, and the plugins that worked in it.

use std::collections::BTreeMap;

use autodidact_domain::PluginUses;
use autodidact_domain::model::REMOTE_SOURCE;
use autodidact_domain::report::{PluginReport, RemoteModelReport, Report};

use crate::report::document::{Block, Line, Table, numbers, words};
use crate::report::words::stage_name;

/// Sums time and tokens of each stage over the rounds.
pub(super) fn stages(report: &Report) -> Vec<Block> {
    let language = report.language;
    // In the order of their first appearance, which is that of a round.
    let mut order: Vec<&str> = Vec::new();
    let mut sums: BTreeMap<&str, (u64, f64)> = BTreeMap::new();
    for stage in report.rounds.iter().flat_map(|round| &round.stages) {
        if !sums.contains_key(stage.name.as_str()) {
            order.push(&stage.name);
        }
        let sum = sums.entry(&stage.name).or_default();
        *sum = (sum.0 + stage.tokens, sum.1 + stage.seconds);
    }
    if order.is_empty() {
        return Vec::new();
    }
    let row = |name: Line, tokens: u64, seconds: f64| {
        vec![
            name,
            tokens.to_string().into(),
            format!("{seconds:.1}").into(),
        ]
    };
    let mut rows: Vec<Vec<Line>> = order
        .iter()
        .map(|name| {
            let (tokens, seconds) = sums[name];
            row(stage_name(language, name).into(), tokens, seconds)
        })
        .collect();
    let total = sums
        .values()
        .fold((0, 0.0), |total, sum| (total.0 + sum.0, total.1 + sum.1));
    rows.push(row(language.pick("all", "合计").into(), total.0, total.1));
    let title = language.pick("Cost by stage", "各阶段的开销");
    let mut columns = words(language.pick(&["stage"], &["阶段"]));
    columns.extend(numbers(language.pick(&["tokens", "s"], &["词元", "秒"])));
    let note = language.pick(
        "Tokens are those generated over all rounds, by remote models too; of train, those trained on.",
        "词元为各轮生成的词元之和，包括远程模型生成的；训练阶段为参与训练的词元。",
    );
    // The base is measured in round 0, which is told of where it trains too.
    let of_base = match report.rounds.iter().any(|round| round.round == 0) {
        true => language.pick(
            " Measuring the base is in round 0's evaluate.",
            "对基座模型的评测计入第 0 轮的评测。",
        ),
        false => language.pick(
            " Measuring the base before the first round is not among it.",
            "第一轮之前对基座模型的评测未计入。",
        ),
    };
    let note = format!("{note}{of_base}");
    vec![
        Block::Heading(title.to_string()),
        Block::Table(Table {
            title: title.to_string(),
            columns,
            rows,
        }),
        Block::Paragraph(note.into()),
    ]
}

/// Shows what remote models did in which stage, and what that cost.
pub(super) fn remote_models(report: &Report) -> Vec<Block> {
    let language = report.language;
    if report.remote_models.is_empty() {
        return Vec::new();
    }
    let mut uncounted = 0;
    let rows = report.remote_models.iter().map(|remote| {
        let RemoteModelReport { stage, used } = remote;
        uncounted += used.uncounted;
        vec![
            stage_name(language, stage).into(),
            Line::data(used.model.as_str()),
            Line::data(used.source.trim_start_matches(REMOTE_SOURCE)),
            used.requests.to_string().into(),
            used.prompt_tokens.to_string().into(),
            used.completion_tokens.to_string().into(),
            format!("{:.6}", used.cost).into(),
        ]
    });
    let rows = rows.collect();
    let title = language.pick("Remote models", "远程模型");
    let mut columns = words(language.pick(
        &["stage", "model", "served at"],
        &["阶段", "模型", "服务地址"],
    ));
    columns.extend(numbers(language.pick(
        &["requests", "prompt tokens", "completion tokens", "cost"],
        &["请求数", "提示词元", "生成词元", "费用"],
    )));
    let mut blocks = vec![
        Block::Heading(title.to_string()),
        Block::Table(Table {
            title: title.to_string(),
            columns,
            rows,
        }),
    ];
    if uncounted > 0 {
        let text = language.pick(
            format!("For {uncounted} requests the server did not say how many tokens it used: they count as 0 tokens and cost the most they can have cost."),
            format!("有 {uncounted} 个请求，服务器没有说明用了多少词元：词元按 0 计，费用按可能的最高值计。"),
        );
        blocks.push(Block::Paragraph(text.into()));
    }
    blocks
}

/// Lists the plugins that took part, and what they used of what they were granted.
pub(super) fn plugins(report: &Report) -> Vec<Block> {
    let language = report.language;
    if report.plugins.is_empty() {
        return Vec::new();
    }
    let title = language.pick("Plugins", "插件");
    let rows = report.plugins.iter().map(|plugin| {
        let digest = plugin.rule.digest.map(|digest| digest.to_string());
        vec![
            Line::data(plugin.rule.name.as_str()),
            Line::data(plugin.rule.version.as_str()),
            digest.unwrap_or_default().into(),
            plugin.dropped.to_string().into(),
            plugin.failures.to_string().into(),
        ]
    });
    let rows = rows.collect();
    let mut columns =
        words(language.pick(&["plugin", "version", "digest"], &["插件", "版本", "摘要"]));
    columns.extend(numbers(
        language.pick(&["dropped", "failed on"], &["丢弃", "出错"]),
    ));
    let mut blocks = vec![
        Block::Heading(title.to_string()),
        Block::Table(Table {
            title: title.to_string(),
            columns,
            rows,
        }),
    ];
    let used = report
        .plugins
        .iter()
        .filter(|plugin| !plugin.uses.is_empty());
    let used: Vec<_> = used.map(uses_of).collect();
    if !used.is_empty() {
        let title = language.pick("What plugins used", "插件使用情况");
        let mut columns = words(language.pick(&["plugin"], &["插件"]));
        columns.extend(numbers(language.pick(
            &[
                "completions",
                "embeddings",
                "scores",
                "tokens",
                "log lines",
                "files read",
                "refused",
            ],
            &["生成", "向量", "打分", "词元", "日志行", "读文件", "被拒"],
        )));
        blocks.push(Block::Table(Table {
            title: title.to_string(),
            columns,
            rows: used,
        }));
    }
    blocks
}

fn uses_of(plugin: &PluginReport) -> Vec<Line> {
    let PluginUses {
        completions,
        embeddings,
        scores,
        tokens,
        log_lines,
        files_read,
        refused,
    } = plugin.uses.clone();
    let counts = [
        completions,
        embeddings,
        scores,
        tokens,
        log_lines,
        files_read,
        refused,
    ];
    let name = std::iter::once(Line::data(plugin.rule.name.as_str()));
    name.chain(counts.map(|count| count.to_string().into()))
        .collect()
}
