//! What stages and reasons are called in the language of a report. Codes are stable and stand in the JSON; these are for people.

use autodidact_domain::{Language, TaskType};

/// Stages by their code, in Chinese.
const STAGES_ZH: [(&str, &str); 9] = [
    ("generate", "生成"),
    ("filter", "过滤"),
    ("respond", "作答"),
    ("validate", "校验"),
    ("review", "审核"),
    ("train", "训练"),
    ("evaluate", "评测"),
    ("promote", "采用"),
    ("adapt", "调整"),
];

/// Reasons for dropping by their code, in Chinese: those of the stages and of the plugins that come with the daemon.
const REASONS_ZH: [(&str, &str); 64] = [
    ("embedding_duplicate", "语义重复"),
    ("misaligned", "答非所问"),
    ("too_easy", "过于简单"),
    ("less_diverse", "不够多样"),
    ("quota_full", "该类已满"),
    ("contaminated", "与留出任务重叠"),
    ("unparsable", "无法解析"),
    ("prompt_too_long", "提示超出上下文"),
    ("exact_duplicate", "完全重复"),
    ("near_duplicate", "近似重复"),
    ("too_short", "过短"),
    ("too_long", "过长"),
    ("blocked_word", "含屏蔽词"),
    ("unanswerable", "文本模型无法完成"),
    ("wrong_language", "语言不符"),
    ("mixed_language", "语言混杂"),
    ("sensitive_word", "含敏感词"),
    ("bad_format", "格式残留"),
    ("repetition", "重复啰唆"),
    ("vague", "指代不明或不完整"),
    ("ungrammatical", "语句不通"),
    ("missing_input", "缺少输入"),
    ("low_score", "评分过低"),
    ("no_score", "没有评分"),
    ("high_score", "评分过高"),
    ("outranked", "评分不在前列"),
    ("no_answer", "没有回答"),
    ("truncated", "被截断"),
    ("empty_output", "答案为空"),
    ("output_equals_input", "答案照抄输入"),
    ("output_equals_instruction", "答案照抄指令"),
    ("output_copies_instruction", "答案抄写指令"),
    ("ends_with_colon", "以冒号结尾"),
    ("plugin_error", "插件出错"),
    ("rolled_back", "已回滚"),
    ("rejected_by_reviewer", "审核未通过"),
    ("no_label_token", "没有可学习的词元"),
    ("held_out", "留作评估"),
    ("empty_instruction", "指令为空"),
    ("several_lines", "多行"),
    ("list_number", "残留编号"),
    ("template_marker", "残留模板标记"),
    ("starts_lower_case", "小写字母开头"),
    ("starts_with_punctuation", "标点开头"),
    ("cut_sentence", "句子不完整"),
    ("unbalanced_quotes", "引号不成对"),
    ("unbalanced_brackets", "括号不成对"),
    ("repeated_run", "字符连续重复"),
    ("bad_json", "JSON 有误"),
    ("not_json", "不是 JSON"),
    ("unbalanced_code", "代码括号不配对"),
    ("empty_block", "代码块为空"),
    ("unclosed_block", "代码块未结束"),
    ("repeated_sentence", "句子重复"),
    ("repeated_ngrams", "片段重复"),
    ("conflicting_outputs", "同一输入答案矛盾"),
    ("duplicate_instance", "实例重复"),
    ("refusal", "拒绝作答"),
    ("label_not_in_set", "标签不在集合内"),
    ("span_not_in_input", "片段不在原文中"),
    ("code_does_not_parse", "代码无法解析"),
    ("invalid_json", "不是有效的 JSON"),
    ("wrong_output_language", "答案语言不符"),
    ("inconsistent", "多次作答不一致"),
];

/// Task types by their code, in Chinese.
const TASK_TYPES_ZH: [(&str, &str); 10] = [
    ("writing", "写作"),
    ("question_answering", "问答"),
    ("classification", "分类"),
    ("extraction", "抽取"),
    ("rewriting", "改写"),
    ("translation", "翻译"),
    ("reasoning", "推理"),
    ("code", "代码"),
    ("conversation", "对话"),
    ("unknown", "未注明"),
];

/// Measures of task types and of diversity by their code, in English and Chinese.
const METRICS: [(&str, &str, &str); 12] = [
    ("accuracy", "accuracy", "准确率"),
    ("macro_f1", "macro-F1", "宏平均 F1"),
    ("span_f1", "span F1", "片段 F1"),
    ("chrf", "chrF", "chrF"),
    ("rouge_l", "ROUGE-L", "ROUGE-L"),
    ("distinct_1", "distinct-1", "distinct-1"),
    ("distinct_2", "distinct-2", "distinct-2"),
    ("token_entropy", "token entropy (bits)", "词元熵（比特）"),
    (
        "nearest_similarity",
        "nearest (ROUGE-L)",
        "最近邻（ROUGE-L）",
    ),
    (
        "task_type_entropy",
        "task types (bits)",
        "任务类型熵（比特）",
    ),
    ("topic_entropy", "topics (bits)", "主题熵（比特）"),
    ("verb_entropy", "first verbs (bits)", "首个动词熵（比特）"),
];

/// Names a task type for people.
pub(crate) fn task_type_name(language: Language, code: &str) -> &str {
    named(language, &TASK_TYPES_ZH, code)
}

/// Finds the task type that a name in either language stands for.
pub(crate) fn task_type_of_name(name: &str) -> Option<TaskType> {
    let code = name.to_lowercase().replace(' ', "_");
    let known = TASK_TYPES_ZH.iter().find(|(_, shown)| *shown == name);
    TaskType::from_name(known.map_or(&code, |(code, _)| code))
}

/// Names a measure for people.
pub(super) fn metric_name(language: Language, code: &str) -> &str {
    let found = METRICS.iter().find(|(known, _, _)| *known == code);
    found.map_or(code, |(_, en, zh)| language.pick(*en, *zh))
}

/// Names a stage for people.
pub fn stage_name(language: Language, code: &str) -> &str {
    named(language, &STAGES_ZH, code)
}

/// Names a reason for people; one that is not known, as of a user's plugin, is its own name.
pub fn reason_name(language: Language, code: &str) -> &str {
    named(language, &REASONS_ZH, code)
}

fn named<'a>(language: Language, names: &[(&str, &'a str)], code: &'a str) -> &'a str {
    let found = names.iter().find(|(known, _)| *known == code);
    language.pick(code, found.map_or(code, |(_, name)| name))
}

#[cfg(test)]
mod tests {
    use autodidact_domain::journal::StageName;
    use autodidact_domain::workflow::{Check, TextRule};

    use super::*;

    #[test]
    fn every_stage_has_a_chinese_name() {
        for (_, code) in StageName::ALL {
            assert_ne!(stage_name(Language::Zh, code), code);
            assert_eq!(stage_name(Language::En, code), code);
        }
    }

    #[test]
    fn every_task_type_has_a_chinese_name() {
        for (_, code) in TaskType::ALL {
            assert_ne!(task_type_name(Language::Zh, code), code);
            assert_eq!(task_type_name(Language::En, code), code);
        }
    }

    #[test]
    fn every_rule_on_texts_has_a_chinese_name() {
        for rule in TextRule::OF_INSTRUCTIONS
            .iter()
            .chain(&TextRule::OF_INSTANCES)
        {
            assert_ne!(reason_name(Language::Zh, rule.code()), rule.code());
        }
    }

    #[test]
    fn every_check_has_a_chinese_name() {
        for check in Check::ALL {
            assert_ne!(reason_name(Language::Zh, check.code()), check.code());
        }
    }

    #[test]
    fn an_unknown_reason_is_its_own_name() {
        assert_eq!(reason_name(Language::Zh, "near_duplicate"), "近似重复");
        assert_eq!(reason_name(Language::Zh, "mine"), "mine");
    }
}
