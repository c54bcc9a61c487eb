//! Answers with code and JSON, right and wrong, in English and Chinese.

use autodidact_plugin::{Outcome, Plugin, Record, Validator};
use structured::{Config, Structured};

fn validate(config: Config, output: &str) -> Outcome {
    let record = Record {
        instruction: "Do it.",
        output,
        ..Record::default()
    };
    Structured::new(config).unwrap().validate(&record)
}

fn reason(config: Config, output: &str) -> Option<String> {
    match validate(config, output) {
        Outcome::Drop(decision) => decision.drop_reason().map(str::to_string),
        Outcome::Accept | Outcome::Correct { .. } => None,
    }
}

fn corrected(config: Config, output: &str) -> Option<String> {
    match validate(config, output) {
        Outcome::Correct { output, .. } => Some(output),
        Outcome::Accept | Outcome::Drop(_) => None,
    }
}

#[test]
fn good_answers_are_accepted() {
    for good in [
        "",
        "Plain text (with an open bracket",
        "```python\nprint('(')  # :(\nd = {'a': [1, 2]}\n```",
        "用 `len` 函数：\n```python\nlen(\"你好\")\n```\n就行。",
        "```json\n{\"a\": [1, 2]}\n```",
        "```sql\nSELECT 1; -- (\n```",
        "```sh\necho \"don't (\"\n```",
        "```\nit's a text with ( in it\n```",
        "```js\nfoo(a => { return a[0]; }); // {\n```",
    ] {
        assert_eq!(
            validate(Config::default(), good),
            Outcome::Accept,
            "{good:?}"
        );
    }
}

#[test]
fn wrong_blocks_are_dropped_with_what_is_wrong() {
    let check = |output: &str, expected: &str| {
        let found = reason(Config::default(), output);
        assert_eq!(found.as_deref(), Some(expected), "{output:?}");
    };
    check("```json\n{\"a\": 1,}\n```", "bad_json");
    check("结果：\n```json\n{“a”: 1}\n```", "bad_json");
    check("```json\n[1, 2\n", "bad_json");
    check("```python\nprint(len([1, 2])\n```", "unbalanced_code");
    check("```c\nint main() { return 0; ]\n```", "unbalanced_code");
    check("```python\nfor i in range(3", "unbalanced_code");
    check("```\n\n```", "empty_block");
}

#[test]
fn what_is_wrong_in_form_alone_is_corrected_where_it_may_be() {
    let cut = "Here:\n```python\nprint(1)\n";
    assert_eq!(
        corrected(Config::default(), cut).as_deref(),
        Some("Here:\n```python\nprint(1)\n```")
    );
    let strict = || Config {
        close: false,
        ..Config::default()
    };
    assert_eq!(reason(strict(), cut).as_deref(), Some("unclosed_block"));
    let unwrap = || Config {
        unwrap: true,
        ..Config::default()
    };
    assert_eq!(
        corrected(unwrap(), "```json\n{\"a\": 1}\n```\n").as_deref(),
        Some("{\"a\": 1}")
    );
    assert_eq!(corrected(unwrap(), "Here:\n```\nx\n```"), None);
}

#[test]
fn json_may_be_required() {
    let required = || Config {
        require_json: true,
        ..Config::default()
    };
    assert_eq!(reason(required(), "{\"a\": \"图\"}"), None);
    assert_eq!(reason(required(), "```json\n[1]\n```"), None);
    assert_eq!(
        reason(required(), "It is [1].").as_deref(),
        Some("not_json")
    );
    assert_eq!(reason(required(), "").as_deref(), Some("not_json"));
    let deep = "[".repeat(100_000);
    assert_eq!(reason(required(), &deep).as_deref(), Some("not_json"));
}
