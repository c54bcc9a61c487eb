//! What compiling a component will take, told before it is begun.

use wasmparser::{FunctionBody, Operator, Parser, Payload};

/// The longest function, in bytes. The longest of CPython's has 427,000, of QuickJS's 54,000.
const MAX_FUNCTION_BYTES: usize = 1 << 20;
/// The most of a function's variables times its branches, which is what the compiler's time and memory go with: 24 million took 8 s and
/// 1.3 GB, 54 million 20 s and 2.7 GB. CPython's most is 153,000, QuickJS's 123,000.
const MAX_FUNCTION_EFFORT: u64 = 2_000_000;
/// The most of it in all functions together. CPython has 3.8 million.
const MAX_EFFORT: u64 = 40_000_000;

/// Refuses what would keep the compiler busy for long.
///
/// # Errors
/// What is too much. What cannot be read is left to the compiler to refuse.
pub(crate) fn check(bytes: &[u8]) -> Result<(), String> {
    let mut all = 0u64;
    for payload in Parser::new(0).parse_all(bytes) {
        let Ok(payload) = payload else {
            return Ok(());
        };
        let Payload::CodeSectionEntry(body) = payload else {
            continue;
        };
        let length = body.range().len();
        if length > MAX_FUNCTION_BYTES {
            return Err(format!(
                "a function has {length} bytes; at most {MAX_FUNCTION_BYTES} are taken"
            ));
        }
        let effort = of(&body).unwrap_or_default();
        all = all.saturating_add(effort);
        if effort > MAX_FUNCTION_EFFORT || all > MAX_EFFORT {
            return Err(format!(
                "it would take too long to compile: a function has too many variables for its branches ({effort} of both, multiplied; at most {MAX_FUNCTION_EFFORT}, and {MAX_EFFORT} in all)"
            ));
        }
    }
    Ok(())
}

/// Multiplies a function's variables by its branches.
fn of(body: &FunctionBody<'_>) -> Option<u64> {
    let mut variables = 1u64;
    for group in body.get_locals_reader().ok()? {
        variables = variables.saturating_add(u64::from(group.ok()?.0));
    }
    let mut branches = 1u64;
    for operator in body.get_operators_reader().ok()? {
        branches += match operator.ok()? {
            Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::Else
            | Operator::BrIf { .. } => 1,
            Operator::BrTable { targets } => u64::from(targets.len()) + 1,
            _ => 0,
        };
    }
    Some(variables.saturating_mul(branches))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(variables: usize, branches: usize) -> Vec<u8> {
        let variables = "(local i32)".repeat(variables);
        let branches = "(block (br_if 0 (local.get 0)))".repeat(branches);
        wat::parse_str(format!(
            "(module (func (param i32) {variables} {branches}))"
        ))
        .expect("a module")
    }

    #[test]
    fn many_variables_or_many_branches_are_fine_and_both_are_not() {
        assert_eq!(check(&module(10_000, 10)), Ok(()));
        assert_eq!(check(&module(10, 10_000)), Ok(()));
        let refused = check(&module(2000, 2000)).unwrap_err();
        assert!(refused.contains("too many variables"), "{refused}");
    }

    #[test]
    fn a_long_function_is_refused_and_what_is_no_module_is_left_alone() {
        let long = "(nop)".repeat(MAX_FUNCTION_BYTES + 1);
        let long = wat::parse_str(format!("(module (func {long}))")).expect("a module");
        let refused = check(&long).unwrap_err();
        assert!(refused.contains("a function has"), "{refused}");
        assert_eq!(check(b"nothing of the kind"), Ok(()));
    }
}
