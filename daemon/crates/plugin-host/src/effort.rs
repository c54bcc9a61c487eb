//! What compiling a component and making an instance of it will take, told before it is begun.

use wasmparser::{
    BlockType, Encoding, FuncType, FunctionBody, Instance, Operator, Parser, Payload, TypeRef,
};

/// The longest function, in bytes. The longest of CPython's has 427,000, of QuickJS's 54,000.
const MAX_FUNCTION_BYTES: usize = 1 << 20;
/// The most of a function's variables times its branches, which is what the compiler's time and memory go with: 24 million took 8 s and
/// 1.3 GB, 54 million 20 s and 2.7 GB. CPython's most is 153,000, QuickJS's 123,000.
const MAX_FUNCTION_EFFORT: u64 = 2_000_000;
/// The most of it in all functions together. CPython has 3.8 million.
const MAX_EFFORT: u64 = 40_000_000;
/// The values that a call, a block or a branch may pass without being counted. Canonical calls have 16 at most.
const FEW_VALUES: usize = 16;
/// The most values that calls, blocks and branches which pass more may pass together: half a million took 4 s, two million 22 s and
/// 1.2 GB. CPython's pass 76.
const MAX_VALUES: u64 = 100_000;
/// The most places for functions and globals in all modules, times the modules' instances: each takes some 16 to 32 bytes of the host's
/// memory, which no limit of the guest's counts. CPython has 545,000.
const MAX_PLACES: u64 = 4_000_000;

/// Refuses what would keep the compiler busy for long, and what would take the host's memory.
///
/// # Errors
/// What is too much. What cannot be read is left to the compiler to refuse.
pub(crate) fn check(bytes: &[u8]) -> Result<(), String> {
    let (mut effort, mut values, mut places, mut instances) = (0u64, 0u64, 0u64, 0u64);
    let mut module = Module::default();
    for payload in Parser::new(0).parse_all(bytes) {
        let Ok(payload) = payload else {
            return Ok(());
        };
        match payload {
            Payload::Version {
                encoding: Encoding::Module,
                ..
            } => module = Module::default(),
            Payload::GlobalSection(globals) => places += u64::from(globals.count()),
            Payload::FunctionSection(functions) => {
                places += u64::from(functions.count());
                module.functions.extend(functions.into_iter().flatten());
            }
            Payload::TypeSection(types) => {
                let types = types.into_iter_err_on_gc_types().flatten();
                module
                    .types
                    .extend(types.map(|of: FuncType| Arity::of(&of)));
            }
            Payload::ImportSection(imports) => module.import(imports),
            Payload::InstanceSection(found) => {
                let made = found.into_iter().flatten();
                instances += made
                    .filter(|i| matches!(i, Instance::Instantiate { .. }))
                    .count() as u64;
            }
            Payload::CodeSectionEntry(body) => {
                let length = body.range().len();
                if length > MAX_FUNCTION_BYTES {
                    return Err(format!(
                        "a function has {length} bytes; at most {MAX_FUNCTION_BYTES} are taken"
                    ));
                }
                let (of_this, passed) = module.effort(&body).unwrap_or_default();
                module.next += 1;
                effort = effort.saturating_add(of_this);
                values = values.saturating_add(passed);
                if of_this > MAX_FUNCTION_EFFORT || effort > MAX_EFFORT {
                    return Err(format!(
                        "it would take too long to compile: a function has too many variables for its branches ({of_this} of both, multiplied; at most {MAX_FUNCTION_EFFORT}, and {MAX_EFFORT} in all)"
                    ));
                }
                if values > MAX_VALUES {
                    return Err(format!(
                        "it would take too long to compile: calls and branches that pass more than {FEW_VALUES} values pass more than {MAX_VALUES} together"
                    ));
                }
            }
            _ => {}
        }
    }
    match places.saturating_mul(instances.max(1)) {
        many @ MAX_PLACES.. => Err(format!(
            "its instances would take too much memory: functions and globals, times the instances of modules, are {many}; at most {MAX_PLACES} are taken"
        )),
        _ => Ok(()),
    }
}

/// How many values go in and come out.
#[derive(Clone, Copy, Default)]
struct Arity {
    params: usize,
    results: usize,
}

impl Arity {
    fn of(of: &FuncType) -> Self {
        Self {
            params: of.params().len(),
            results: of.results().len(),
        }
    }

    fn both(self) -> usize {
        self.params + self.results
    }
}

/// The types of a core module, and of each of its functions the type's number.
#[derive(Default)]
struct Module {
    types: Vec<Arity>,
    functions: Vec<u32>,
    /// The next body's function.
    next: usize,
}

impl Module {
    fn import(&mut self, imports: wasmparser::ImportSectionReader<'_>) {
        for import in imports.into_imports().flatten() {
            if let TypeRef::Func(of) = import.ty {
                self.functions.push(of);
            }
        }
        self.next = self.functions.len();
    }

    fn of_function(&self, index: usize) -> Arity {
        let found = self.functions.get(index);
        found.map_or(Arity::default(), |of| self.of_type(*of))
    }

    fn of_type(&self, index: u32) -> Arity {
        let found = self.types.get(index as usize);
        found.copied().unwrap_or_default()
    }

    fn of_block(&self, block: BlockType) -> Arity {
        match block {
            BlockType::Empty => Arity::default(),
            BlockType::Type(_) => Arity {
                params: 0,
                results: 1,
            },
            BlockType::FuncType(index) => self.of_type(index),
        }
    }

    /// Multiplies a function's variables by its branches, and counts the values that it passes many of.
    fn effort(&self, body: &FunctionBody<'_>) -> Option<(u64, u64)> {
        let mut variables = 1u64;
        for group in body.get_locals_reader().ok()? {
            variables = variables.saturating_add(u64::from(group.ok()?.0));
        }
        let (mut branches, mut values) = (1u64, 0u64);
        // What a branch to each label around the present place passes.
        let mut labels: Vec<usize> = vec![self.of_function(self.next).results];
        let mut pass = |passed: usize| {
            if passed > FEW_VALUES {
                values += passed as u64;
            }
        };
        let label = |labels: &[usize], depth: u32| {
            let from_top = labels.len().checked_sub(1 + depth as usize);
            from_top.map_or(0, |at| labels[at])
        };
        for operator in body.get_operators_reader().ok()? {
            match operator.ok()? {
                Operator::Block { blockty } | Operator::If { blockty } => {
                    branches += 1;
                    let arity = self.of_block(blockty);
                    pass(arity.both());
                    labels.push(arity.results);
                }
                Operator::Loop { blockty } => {
                    branches += 1;
                    let arity = self.of_block(blockty);
                    pass(arity.both());
                    labels.push(arity.params);
                }
                Operator::Else => branches += 1,
                Operator::End => drop(labels.pop()),
                Operator::Br { relative_depth } => pass(label(&labels, relative_depth)),
                Operator::Return => pass(self.of_function(self.next).results),
                Operator::BrIf { relative_depth } => {
                    branches += 1;
                    pass(label(&labels, relative_depth));
                }
                Operator::BrTable { targets } => {
                    branches += u64::from(targets.len()) + 1;
                    for target in targets.targets() {
                        pass(label(&labels, target.ok()?));
                    }
                    pass(label(&labels, targets.default()));
                }
                Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                    pass(self.of_function(function_index as usize).both());
                }
                Operator::CallIndirect { type_index, .. }
                | Operator::ReturnCallIndirect { type_index, .. }
                | Operator::CallRef { type_index }
                | Operator::ReturnCallRef { type_index } => pass(self.of_type(type_index).both()),
                _ => {}
            }
        }
        Some((variables.saturating_mul(branches), values))
    }
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
    fn calls_and_branches_that_pass_many_values_are_counted() {
        let wide = |of: usize, calls: usize| {
            let (types, values) = ("i32 ".repeat(of), "(i32.const 0)".repeat(of));
            let calls = "call $g ".repeat(calls);
            wat::parse_str(format!(
                "(module (func $g (param {types}) (result {types}) unreachable)
                (func (result {types}) {values} {calls}))"
            ))
            .expect("a module")
        };
        assert_eq!(check(&wide(8, 50_000)), Ok(()));
        assert_eq!(check(&wide(100, 400)), Ok(()));
        for (of, calls) in [(500, 101), (9, 60_000)] {
            let refused = check(&wide(of, calls)).unwrap_err();
            assert!(refused.contains("pass more than"), "{refused}");
        }
        let branches = format!(
            "(module (type $t (func (result {types}))) (func (result {types}) {values} (block (type $t) {values} {branches})))",
            types = "i32 ".repeat(1000),
            values = "(i32.const 0)".repeat(1000),
            branches = "(br_if 0 (i32.const 0)) ".repeat(101),
        );
        // What it leaves on the stack is for the compiler to refuse.
        let refused = check(&wat::parse_str(branches).expect("a module")).unwrap_err();
        assert!(refused.contains("pass more than"), "{refused}");
    }

    #[test]
    fn many_instances_of_many_globals_are_refused() {
        let component = |globals: usize, instances: usize| {
            let globals = "(global i64 (i64.const 0))".repeat(globals);
            let instances = "(core instance (instantiate $m))".repeat(instances);
            wat::parse_str(format!(
                "(component (core module $m {globals}) {instances})"
            ))
            .expect("a component")
        };
        assert_eq!(check(&component(20_000, 100)), Ok(()));
        let refused = check(&component(20_000, 200)).unwrap_err();
        assert!(refused.contains("too much memory"), "{refused}");
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
