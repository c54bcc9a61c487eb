use super::*;

fn faults(yaml: &str) -> Vec<Fault> {
    parse_workflow(yaml).expect_err("the workflow is wrong")
}

#[test]
fn a_small_workflow_gets_every_default() {
    let spec = parse_workflow(
        "name: a\nmodel: m\nseeds: s\nstages:\n  train: {r: 4, learning_rate: 2e-4}\n",
    )
    .expect("right");
    let train = spec.stages.train.expect("there");
    assert_eq!(
        (
            train.options.r,
            train.options.learning_rate,
            spec.rounds,
            spec.seed
        ),
        (4, 2e-4, 1, 42)
    );
    assert!(spec.stages.generate.is_none());
}

#[test]
fn every_fault_is_found_at_once_with_its_line() {
    let yaml = "\
name: a
model: m
seeds: s
rounds: -1
held_outt: h
stages:
  generate: {target: many}
  filter:
    chain:
      - rouge_k: {threshold: 0.7}
      - rouge_l: {threshold: 7}
  respond: {classify: 3, constraint: {regex: a, choices: [b]}, exmples: 2}
  train: {target_modules: [q_prj], lora_alhpa: 3}
";
    let found: Vec<(u32, String, Option<String>)> = faults(yaml)
        .into_iter()
        .map(|f| (f.line, f.path, f.nearest))
        .collect();
    let expect = |line, path: &str, nearest: Option<&str>| {
        (line, path.to_string(), nearest.map(str::to_string))
    };
    assert_eq!(
        found,
        [
            expect(4, "rounds", None),
            expect(5, "held_outt", Some("held_out")),
            expect(7, "stages.generate.target", None),
            expect(10, "stages.filter.chain[0]", Some("rouge_l")),
            expect(11, "stages.filter.chain[1].rouge_l.threshold", None),
            expect(12, "stages.respond.classify", None),
            expect(12, "stages.respond.constraint", None),
            expect(12, "stages.respond.exmples", Some("examples")),
            expect(13, "stages.train.lora_alhpa", Some("lora_alpha")),
            expect(13, "stages.train.target_modules[0]", Some("q_proj")),
        ]
    );
}

#[test]
fn what_stages_need_is_checked() {
    let paths = |yaml: &str| faults(yaml).into_iter().map(|f| f.path).collect::<Vec<_>>();
    assert_eq!(paths("name: a\nmodel: m\nstages:\n  train:\n"), ["seeds"]);
    assert_eq!(
        paths("name: a\nmodel: m\nstages:\n  evaluate:\n"),
        ["held_out"]
    );
    assert_eq!(
        paths("name: a\nmodel: m\nheld_out: h\nstages:\n  evaluate:\n  promote:\n"),
        ["stages"]
    );
    assert_eq!(paths("name: a\nmodel: m\nstages:\n"), ["stages"]);
}

#[test]
fn hostile_files_are_refused_in_time() {
    let bomb = "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n";
    assert!(faults(bomb)[0].message.contains("aliases"));
    let deep = format!("a: {}1{}", "[".repeat(40), "]".repeat(40));
    assert!(
        faults(&deep)[0].message.contains("deep"),
        "{:?}",
        faults(&deep)
    );
    assert!(!faults(&"[".repeat(5000)).is_empty());
    assert!(
        faults(&" ".repeat(MAX_FILE_BYTES + 1))[0]
            .message
            .contains("bytes")
    );
    assert!(!faults("name: [unclosed").is_empty());
    assert!(!faults("").is_empty());
    assert!(!faults("a: 1\n---\nb: 2\n").is_empty());
    assert!(!faults("- 1\n- 2\n").is_empty());
}

#[test]
fn json_is_yaml_too() {
    let spec = parse_workflow(
        r#"{"name": "a", "model": "m", "seeds": "s", "stages": {"filter": {"chain": ["exact"]}}}"#,
    );
    assert!(spec.is_ok(), "{spec:?}");
}

#[test]
fn every_field_is_known_with_its_default() {
    let known = known_fields();
    let field = |path: &str| {
        known
            .iter()
            .find(|field| field.path == path)
            .unwrap_or_else(|| panic!("{path} in {known:?}"))
    };
    assert_eq!(field("name").default, None);
    assert_eq!(field("rounds").default.as_deref(), Some("1"));
    assert_eq!(
        field("stages.filter.chain.rouge_l.threshold")
            .default
            .as_deref(),
        Some("0.7")
    );
    assert_eq!(
        field("stages.train.learning_rate").default.as_deref(),
        Some("0.0002")
    );
    assert_eq!(
        field("stages.train.target_modules").default.as_deref(),
        Some("the method's")
    );
    let paths: std::collections::BTreeSet<&str> =
        known.iter().map(|field| field.path.as_str()).collect();
    assert_eq!(paths.len(), known.len(), "each is listed once");
}

#[test]
fn modules_are_names_paths_or_patterns() {
    let modules = |given: &str| {
        let yaml = format!(
            "name: a\nmodel: m\nseeds: s\nstages:\n  train: {{target_modules: {given}, rank_pattern: {{q_proj: 3}}}}\n"
        );
        parse_workflow(&yaml).map(|spec| spec.stages.train.expect("there").options)
    };
    let named = modules("[q_proj, layers.1.mlp.up_proj]").expect("right");
    assert_eq!(named.target_modules, ["q_proj", "layers.1.mlp.up_proj"]);
    assert_eq!(named.rank_pattern["q_proj"], 3);
    let all = modules("all-linear").expect("right");
    assert_eq!(all.target_modules, ["all-linear"]);
    let pattern = modules(r#"'.*\.(q|v)_proj'"#).expect("right");
    assert_eq!(pattern.target_modules, [r".*\.(q|v)_proj"]);
    for wrong in ["[]", "[q_proj, q_proj]", "qproj", "{q_proj: 1}", "[3]"] {
        assert!(modules(wrong).is_err(), "{wrong}");
    }
    let yaml = "name: a\nmodel: m\nseeds: s\nstages:\n  train: {rank_pattern: {q_proj: 0}, alpha_pattern: {v_proj: x}, method: lroa}\n";
    let paths: Vec<String> = faults(yaml).into_iter().map(|f| f.path).collect();
    let expected = [
        "stages.train.alpha_pattern.v_proj",
        "stages.train.method",
        "stages.train.rank_pattern.q_proj",
    ];
    assert_eq!(paths, expected);
}

#[test]
fn the_order_of_a_plugins_settings_says_nothing() {
    let text = |config: &str| {
        let yaml = format!(
            "name: a\nmodel: m\nseeds: s\nstages:\n  filter:\n    chain: [{{plugin: {{name: form, config: {config}}}}}]\n"
        );
        serde_json::to_string(&parse_workflow(&yaml).expect("right")).expect("plain values")
    };
    assert_eq!(
        text("{b: 1, a: {d: 2, c: 3}}"),
        text("{a: {c: 3, d: 2}, b: 1}")
    );
}

#[test]
fn a_form_of_answers_is_read_in_each_way() {
    use autodidact_domain::workflow::ConstraintSpec;
    let read = |form: &str| {
        let yaml = format!(
            "name: a\nmodel: m\nseeds: s\nstages:\n  respond: {{constraint: {{{form}}}}}\n"
        );
        let respond = parse_workflow(&yaml).expect("right").stages.respond;
        respond.expect("there").constraint.expect("given")
    };
    assert_eq!(
        read("choices: [yes and no, no]"),
        ConstraintSpec::Choices(vec!["yes and no".into(), "no".into()])
    );
    assert_eq!(
        read("regex: '[0-9]+'"),
        ConstraintSpec::Regex("[0-9]+".into())
    );
    // The order of properties is that of answers, so it is kept.
    let schema = r#"{"type":"object","properties":{"b":{},"a":{}}}"#;
    for form in [
        "json_schema: {type: object, properties: {b: {}, a: {}}}".to_string(),
        format!("json_schema: '{schema}'"),
    ] {
        assert_eq!(read(&form), ConstraintSpec::JsonSchema(schema.into()));
    }
}

#[test]
fn a_judge_and_the_limits_of_contamination_are_read_with_their_defaults() {
    use autodidact_domain::workflow::{ContaminationSpec, EvaluateSpec, JudgeSpec};
    let read = |evaluate: &str| -> EvaluateSpec {
        let yaml = format!("name: a\nmodel: m\nheld_out: h\nstages:\n  evaluate: {evaluate}\n");
        let stages = parse_workflow(&yaml).expect("right").stages;
        stages.evaluate.expect("there")
    };
    let plain = read("{}");
    assert_eq!(
        (plain.judge.clone(), plain.contamination),
        (None, ContaminationSpec::default())
    );
    // What a workflow of before these fields says is what it said.
    let json = serde_json::to_string(&plain).expect("plain values");
    assert_eq!(json, r#"{"max_tokens":128,"batch":32}"#);
    assert_eq!(read("{judge: }").judge, Some(JudgeSpec { model: None }));
    let given = read("{judge: {model: far}, contamination: {ngram_zh: 9}}");
    assert_eq!(
        given.judge.and_then(|judge| judge.model),
        "far".parse().ok()
    );
    assert_eq!(
        (given.contamination.ngram_zh, given.contamination.ngram_en),
        (9, 13)
    );
    let wrong = "name: a\nmodel: m\nheld_out: h\nstages:\n  evaluate: {contamination: {rouge_l: 2, ngram: 3}}\n  promote: {min_diversity_ratio: x}\n";
    let paths: Vec<String> = faults(wrong).into_iter().map(|f| f.path).collect();
    for path in [
        "stages.evaluate.contamination.rouge_l",
        "stages.evaluate.contamination.ngram",
        "stages.promote.min_diversity_ratio",
    ] {
        assert!(
            paths.iter().any(|found| found == path),
            "{path} in {paths:?}"
        );
    }
}

#[test]
fn rules_on_texts_can_be_left_out_by_their_codes() {
    use autodidact_domain::workflow::{ChainRule, TextRule};
    let chain = |stage: &str, options: &str| {
        let yaml = format!(
            "name: a\nmodel: m\nseeds: s\nstages:\n  {stage}:\n    chain: [{{rules: {{{options}}}}}]\n"
        );
        parse_workflow(&yaml)
    };
    let spec = chain("filter", "except: [vague], sensitive_words: [赌博]").expect("right");
    let filter = spec.stages.filter.expect("there");
    let ChainRule::Rules(rules) = &filter.chain[0] else {
        panic!("{filter:?}");
    };
    assert_eq!(rules.except, [TextRule::Vague]);
    assert_eq!(rules.sensitive_words, ["赌博"]);
    // A workflow that names neither is digested as before there were any.
    let plain = chain("filter", "").expect("right");
    let text = serde_json::to_string(&plain).expect("plain values");
    assert!(!text.contains("except") && !text.contains("sensitive_words"));
    let refused = |stage: &str, options: &str| {
        let faults = chain(stage, options).expect_err("wrong");
        let fault = faults.into_iter().next().expect("one");
        (fault.path, fault.nearest)
    };
    assert_eq!(
        refused("filter", "except: [vage]"),
        (
            "stages.filter.chain[0].rules.except[0]".into(),
            Some("vague".into())
        )
    );
    // What an instruction's rule would look at is not in the other stage.
    assert!(chain("validate", "except: [missing_input]").is_ok());
    assert!(chain("validate", "except: [vague]").is_err());
    assert!(chain("filter", "sensitive_words: ['!?']").is_err());
}

#[test]
fn checks_and_temperatures_by_task_type_are_read_and_misspelt_ones_refused() {
    use autodidact_domain::TaskType;
    use autodidact_domain::workflow::{ChainRule, Check, ChecksSpec, ConsistencySpec};
    let workflow = |respond: &str, chain: &str| {
        let stages = format!("  respond: {{{respond}}}\n  validate: {{chain: [{chain}]}}\n");
        parse_workflow(&format!("name: a\nmodel: m\nseeds: s\nstages:\n{stages}"))
    };
    let spec = workflow(
        "temperatures: {writing: 0.7}, instances: 4",
        "checks, consistency",
    )
    .expect("right")
    .stages;
    let respond = spec.respond.expect("there");
    assert_eq!(respond.temperatures, [(TaskType::Writing, 0.7)].into());
    assert_eq!((respond.instances, respond.label_temperature), (4, None));
    let expect = [
        ChainRule::Checks(ChecksSpec::default()),
        ChainRule::Consistency(ConsistencySpec::default()),
    ];
    assert_eq!(spec.validate.expect("there").chain, expect);
    let spec = workflow("", "checks: {except: [refusal]}").expect("right");
    let Some(ChainRule::Checks(checks)) = spec
        .stages
        .validate
        .and_then(|s| s.chain.into_iter().next())
    else {
        panic!("one link");
    };
    assert_eq!(
        (checks.correct, checks.except),
        (true, vec![Check::Refusal])
    );

    let faults = workflow(
        "temperatures: {writting: 1}, instances: 0",
        "checks: {except: [refusel]}",
    )
    .expect_err("three faults");
    let found: Vec<_> = faults
        .iter()
        .map(|f| (f.path.as_str(), f.nearest.as_deref()))
        .collect();
    assert_eq!(
        found,
        [
            ("stages.respond.instances", None),
            ("stages.respond.temperatures", Some("writing")),
            ("stages.validate.chain[0].checks.except[0]", Some("refusal")),
        ]
    );
    // What stands in no file from before is in no digest from before.
    let text = serde_json::to_string(&workflow("", "rules").expect("right")).expect("plain values");
    for field in ["instances", "temperatures", "label_temperature"] {
        assert!(!text.contains(field), "{field} in {text}");
    }
}
