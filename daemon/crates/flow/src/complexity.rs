//! How much an instruction asks for, by what can be counted in it.

use autodidact_domain::Language;

/// Words that add a demand, a limit or a step, in English; whole tokens.
const DEMANDS_EN: [&str; 36] = [
    "and", "then", "but", "or", "if", "unless", "when", "while", "before", "after", "because",
    "why", "how", "with", "without", "using", "only", "at", "least", "most", "exactly", "each",
    "every", "than", "between", "not", "no", "which", "that", "whose", "explain", "compare",
    "also", "both", "instead", "must",
];
/// The same in Chinese; anywhere in the text.
const DEMANDS_ZH: [&str; 36] = [
    "并",
    "且",
    "然后",
    "再",
    "但",
    "或",
    "如果",
    "除非",
    "时",
    "之前",
    "之后",
    "因为",
    "为什么",
    "如何",
    "用",
    "不用",
    "只",
    "至少",
    "最多",
    "恰好",
    "每",
    "比",
    "之间",
    "不",
    "没有",
    "哪",
    "其中",
    "解释",
    "比较",
    "还",
    "都",
    "而",
    "必须",
    "要求",
    "以及",
    "同时",
];
/// Tokens that weigh as much as a demand, about a clause of each language: our choice.
const TOKENS_A_CLAUSE: [(Language, f64); 2] = [(Language::En, 8.0), (Language::Zh, 16.0)];

/// Measures an instruction's complexity: its demands, limits, steps and numbers, and its length in clauses. It compares instructions
/// of one language with each other; its unit has no meaning of its own.
pub(crate) fn complexity(language: Language, instruction: &str) -> f64 {
    let tokens = autodidact_text::tokenize(instruction);
    let demands = match language {
        Language::En => tokens
            .iter()
            .filter(|token| DEMANDS_EN.contains(&token.as_str()))
            .count(),
        Language::Zh => DEMANDS_ZH
            .iter()
            .map(|word| instruction.matches(word).count())
            .sum(),
    };
    let is_number = |token: &&String| token.starts_with(|c: char| c.is_ascii_digit());
    let numbers = tokens.iter().filter(is_number).count();
    let marks = instruction.matches([',', ';', '，', '；', '、']).count();
    let clause = TOKENS_A_CLAUSE.iter().find(|(of, _)| *of == language);
    let clauses = tokens.len() as f64 / clause.map_or(1.0, |(_, tokens)| *tokens);
    (demands + numbers + marks) as f64 + clauses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_harder_version_measures_more() {
        for (language, easy, hard) in [
            (
                Language::En,
                "Name three rivers in Africa.",
                "Name three African rivers that cross at least two borders, from the longest to the shortest.",
            ),
            (
                Language::Zh,
                "说出非洲的三条河流。",
                "说出流经至少两个国家的三条非洲河流，并按长度从长到短排列。",
            ),
        ] {
            assert!(complexity(language, easy) + 1.0 < complexity(language, hard));
        }
        assert_eq!(complexity(Language::En, ""), 0.0);
    }
}
