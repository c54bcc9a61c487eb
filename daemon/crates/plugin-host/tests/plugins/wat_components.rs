//! Components written in WebAssembly text.

/// What `describe` says, and what the core module holds.
pub(crate) struct Plugin<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) schema: &'a str,
    /// The body of `describe`, without the result.
    pub(crate) describe: &'a str,
    /// What `filter` does before it judges; locals: `$config $config_len $text $text_len $ends $ends_len $count`.
    pub(crate) before: &'a str,
    /// More fields of the core module, such as a start function.
    pub(crate) fields: &'a str,
    /// What the core module imports.
    pub(crate) imports: &'a str,
    /// What it asks for: the numbers of capabilities.
    pub(crate) asks: &'a [u8],
}

impl Default for Plugin<'_> {
    fn default() -> Self {
        Self {
            name: "hostile",
            version: "1.0.0",
            schema: "",
            describe: "",
            before: "",
            fields: "",
            imports: "",
            asks: &[],
        }
    }
}

impl Plugin<'_> {
    /// Makes the component.
    ///
    /// Its filter looks at the first letter of each instruction: `L` loops for ever, `M` takes memory until there is no
    /// more, `S` recurses without end, `T` traps, `E` gives an error for the batch, `W` gives a decision too few,
    /// `R` drops with a reason that is no code, `N` keeps with a long note, `F` keeps with a score that is no number,
    /// `O` has the same huge note for every record of the batch, `D` drops for `bad`. Others are kept.
    pub(crate) fn component(&self) -> Vec<u8> {
        wat::parse_str(self.text()).expect("the tests' own text is well formed")
    }

    /// Makes the core module alone, its functions under the names that the canonical ABI gives them.
    pub(crate) fn core_module(&self) -> Vec<u8> {
        wat::parse_str(self.core_text()).expect("the tests' own text is well formed")
    }

    pub(crate) fn core_text(&self) -> String {
        let named = |interface: &str, function: &str| {
            let plain = format!(r#"(export "{function}")"#);
            let long = format!(r#"(export "autodidact:plugin/{interface}@0.1.0#{function}")"#);
            (plain, long)
        };
        let names = [
            named("plugin", "describe"),
            named("plugin", "check-config"),
            named("filter", "filter"),
        ];
        let core = self.core().replace("(core module $core", "(module");
        names
            .iter()
            .fold(core, |core, (plain, long)| core.replace(plain, long))
    }

    pub(crate) fn text(&self) -> String {
        COMPONENT.replace("(;CORE;)", &self.core())
    }

    fn core(&self) -> String {
        let asks: String = self.asks.iter().map(|c| format!("\\{c:02x}")).collect();
        CORE.replace("(;FIELDS;)", self.fields)
            .replace("(;IMPORTS;)", self.imports)
            .replace("ASKS_LENGTH", &self.asks.len().to_string())
            .replace("ASKS_BYTES", &asks)
            .replace("(;DESCRIBE;)", self.describe)
            .replace("(;BEFORE;)", self.before)
            .replace("NAME_LENGTH", &self.name.len().to_string())
            .replace("VERSION_LENGTH", &self.version.len().to_string())
            .replace("SCHEMA_LENGTH", &self.schema.len().to_string())
            .replace("NAME_TEXT", &escape(self.name))
            .replace("VERSION_TEXT", &escape(self.version))
            .replace("SCHEMA_TEXT", &escape(self.schema))
    }
}

fn escape(text: &str) -> String {
    text.bytes().map(|byte| format!("\\{byte:02x}")).collect()
}

/// Memory: 1024 name, 2048 version, 3072 schema, 8192 texts, 16384 results, from 65536 on what the host puts there.
const CORE: &str = r#"
(core module $core
  (;IMPORTS;)
  (memory (export "memory") 2)
  (data (i32.const 1024) "NAME_TEXT")
  (data (i32.const 2048) "VERSION_TEXT")
  (data (i32.const 3072) "SCHEMA_TEXT")
  (data (i32.const 8192) "bad")
  (data (i32.const 8200) "Bad Reason")
  (data (i32.const 8220) "it is an error")
  (data (i32.const 9100) "ASKS_BYTES")
  (global $top (mut i32) (i32.const 65536))
  (;FIELDS;)
  (func $take (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32) (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.set $top (i32.add (local.get $at) (local.get $size)))
    (block $enough
      (loop $more
        (br_if $enough (i32.le_u (global.get $top) (i32.mul (memory.size) (i32.const 65536))))
        (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
        (br $more)))
    (local.get $at))
  (func $put (param $at i32) (param $text i32) (param $length i32)
    (i32.store (local.get $at) (local.get $text))
    (i32.store offset=4 (local.get $at) (local.get $length)))
  (func (export "describe") (result i32)
    (;DESCRIBE;)
    (call $put (i32.const 16384) (i32.const 1024) (i32.const NAME_LENGTH))
    (call $put (i32.const 16392) (i32.const 2048) (i32.const VERSION_LENGTH))
    ;; One kind, the first of the enum: a zero byte.
    (call $put (i32.const 16400) (i32.const 9000) (i32.const 1))
    (call $put (i32.const 16408) (i32.const 3072) (i32.const SCHEMA_LENGTH))
    (call $put (i32.const 16416) (i32.const 9100) (i32.const ASKS_LENGTH))
    (i32.const 16384))
  ;; Accepts a configuration unless its second byte is a quotation mark: {} is accepted, {"a":1} is not.
  (func (export "check-config") (param $config i32) (param $length i32) (result i32)
    (i32.store8 (i32.const 16384) (i32.eq (i32.load8_u offset=1 (local.get $config)) (i32.const 34)))
    (call $put (i32.const 16388) (i32.const 8220) (i32.const 14))
    (i32.const 16384))
  (func $recurse (param i32) (result i32)
    (i32.add (call $recurse (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))
  (func (export "filter") (param $config i32) (param $config_len i32)
    (param $text i32) (param $text_len i32) (param $ends i32) (param $ends_len i32) (result i32)
    (local $i i32) (local $count i32) (local $start i32) (local $letter i32) (local $at i32) (local $decisions i32)
    (local.set $count (i32.div_u (local.get $ends_len) (i32.const 7)))
    (;BEFORE;)
    (local.set $decisions (call $take (i32.const 0) (i32.const 0) (i32.const 8) (i32.mul (local.get $count) (i32.const 40))))
    (memory.fill (local.get $decisions) (i32.const 0) (i32.mul (local.get $count) (i32.const 40)))
    (i32.store8 (i32.const 16384) (i32.const 0))
    (call $put (i32.const 16388) (local.get $decisions) (local.get $count))
    (block $end
      (loop $next
        (br_if $end (i32.ge_u (local.get $i) (local.get $count)))
        ;; The instruction goes from where the record before ends, $start, to its own end; a record has seven ends of four bytes.
        (local.set $at (i32.add (local.get $ends) (i32.mul (local.get $i) (i32.const 28))))
        (local.set $letter (i32.const 0))
        (if (i32.ne (i32.load (local.get $at)) (local.get $start))
          (then (local.set $letter (i32.load8_u (i32.add (local.get $text) (local.get $start))))))
        (local.set $start (i32.load offset=24 (local.get $at)))
        (local.set $at (i32.add (local.get $decisions) (i32.mul (local.get $i) (i32.const 40))))
        (if (i32.eq (local.get $letter) (i32.const 0x4c (;L;))) (then (loop $for_ever (br $for_ever))))
        (if (i32.eq (local.get $letter) (i32.const 0x4d (;M;)))
          (then
            (loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
            unreachable))
        (if (i32.eq (local.get $letter) (i32.const 0x53 (;S;))) (then (drop (call $recurse (i32.const 0)))))
        (if (i32.eq (local.get $letter) (i32.const 0x54 (;T;))) (then unreachable))
        (if (i32.eq (local.get $letter) (i32.const 0x45 (;E;)))
          (then
            (i32.store8 (i32.const 16384) (i32.const 1))
            (call $put (i32.const 16388) (i32.const 8220) (i32.const 14))
            (return (i32.const 16384))))
        (if (i32.eq (local.get $letter) (i32.const 0x57 (;W;)))
          (then (call $put (i32.const 16388) (local.get $decisions) (i32.sub (local.get $count) (i32.const 1)))))
        (if (i32.eq (local.get $letter) (i32.const 0x44 (;D;)))
          (then
            (i32.store8 (local.get $at) (i32.const 1))
            (call $put (i32.add (local.get $at) (i32.const 4)) (i32.const 8192) (i32.const 3))))
        (if (i32.eq (local.get $letter) (i32.const 0x52 (;R;)))
          (then
            (i32.store8 (local.get $at) (i32.const 1))
            (call $put (i32.add (local.get $at) (i32.const 4)) (i32.const 8200) (i32.const 10))))
        (if (i32.eq (local.get $letter) (i32.const 0x4e (;N;)))
          (then
            (i32.store8 offset=12 (local.get $at) (i32.const 1))
            (call $put (i32.add (local.get $at) (i32.const 16)) (i32.const 20000) (i32.const 5000))))
        (if (i32.eq (local.get $letter) (i32.const 0x4f (;O;)))
          (then
            (i32.store8 offset=12 (local.get $at) (i32.const 1))
            (call $put (i32.add (local.get $at) (i32.const 16)) (i32.const 20000) (i32.const 40000))))
        (if (i32.eq (local.get $letter) (i32.const 0x46 (;F;)))
          (then
            (i32.store8 offset=24 (local.get $at) (i32.const 1))
            (f64.store offset=32 (local.get $at) (f64.const nan))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next)))
    (i32.const 16384)))
"#;

const COMPONENT: &str = r#"
(component
  (;CORE;)
  (core instance $instance (instantiate $core))
  (alias core export $instance "memory" (core memory $memory))
  (alias core export $instance "cabi_realloc" (core func $realloc))
  (alias core export $instance "describe" (core func $describe_core))
  (alias core export $instance "check-config" (core func $check_config_core))
  (alias core export $instance "filter" (core func $filter_core))

  (type $kind (enum "filter" "template" "validator" "scorer"))
  (type $capability (enum "log" "generate" "embed" "score" "data"))
  (type $description (record
    (field "name" string) (field "version" string) (field "kinds" (list $kind)) (field "config-schema" string)
    (field "capabilities" (list $capability))))
  (func $describe (result $description)
    (canon lift (core func $describe_core) (memory $memory) string-encoding=utf8))
  (func $check_config (param "config" string) (result (result (error string)))
    (canon lift (core func $check_config_core) (memory $memory) (realloc $realloc) string-encoding=utf8))
  (component $plugin
    (type $kind' (enum "filter" "template" "validator" "scorer"))
    (import "kind" (type $kind (eq $kind')))
    (type $capability' (enum "log" "generate" "embed" "score" "data"))
    (import "capability" (type $capability (eq $capability')))
    (type $description' (record
      (field "name" string) (field "version" string) (field "kinds" (list $kind)) (field "config-schema" string)
      (field "capabilities" (list $capability))))
    (import "description" (type $description (eq $description')))
    (import "describe" (func $describe (result $description)))
    (import "check-config" (func $check_config (param "config" string) (result (result (error string)))))
    (export $kind_out "kind" (type $kind))
    (export $capability_out "capability" (type $capability))
    (type $description_of_out (record
      (field "name" string) (field "version" string) (field "kinds" (list $kind_out)) (field "config-schema" string)
      (field "capabilities" (list $capability_out))))
    (export $description_out "description" (type $description_of_out))
    (export "describe" (func $describe) (func (result $description_out)))
    (export "check-config" (func $check_config)))
  (instance $plugin_instance (instantiate $plugin
    (with "kind" (type $kind)) (with "capability" (type $capability)) (with "description" (type $description))
    (with "describe" (func $describe)) (with "check-config" (func $check_config))))
  (export "autodidact:plugin/plugin@0.1.0" (instance $plugin_instance))

  (type $decision (record
    (field "drop-reason" (option string)) (field "note" (option string)) (field "score" (option f64))))
  (func $filter (param "config" string) (param "text" (list u8)) (param "ends" (list u32))
    (result (result (list $decision) (error string)))
    (canon lift (core func $filter_core) (memory $memory) (realloc $realloc) string-encoding=utf8))
  (component $filters
    (type $decision' (record
      (field "drop-reason" (option string)) (field "note" (option string)) (field "score" (option f64))))
    (import "decision" (type $decision (eq $decision')))
    (import "filter" (func $filter (param "config" string) (param "text" (list u8)) (param "ends" (list u32))
      (result (result (list $decision) (error string)))))
    (export $decision_out "decision" (type $decision))
    (export "filter" (func $filter) (func (param "config" string) (param "text" (list u8)) (param "ends" (list u32))
      (result (result (list $decision_out) (error string))))))
  (instance $filters_instance (instantiate $filters
    (with "decision" (type $decision)) (with "filter" (func $filter))))
  (export "autodidact:plugin/filter@0.1.0" (instance $filters_instance)))
"#;
