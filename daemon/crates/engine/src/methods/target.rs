//! The linear layers of a decoder that methods act on, and how they are named.

use fancy_regex::Regex;

use super::module::Module;
use crate::EngineError;
use crate::models::config::ModelConfig;

/// Before a module's path in PEFT's keys.
pub(crate) const KEY_PREFIX: &str = "base_model.model.";
/// Asks for every linear layer but the output matrix, as in PEFT.
const ALL_LINEAR: &str = "all-linear";

/// A linear layer that can be adapted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The queries.
    Q,
    /// The keys.
    K,
    /// The values.
    V,
    /// The attention's output.
    O,
    /// The feed-forward part's gate.
    Gate,
    /// The feed-forward part's first matrix.
    Up,
    /// The feed-forward part's last matrix.
    Down,
}

impl Target {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 7] = [
        Self::Q,
        Self::K,
        Self::V,
        Self::O,
        Self::Gate,
        Self::Up,
        Self::Down,
    ];

    /// Shows the name in `target_modules`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q => "q_proj",
            Self::K => "k_proj",
            Self::V => "v_proj",
            Self::O => "o_proj",
            Self::Gate => "gate_proj",
            Self::Up => "up_proj",
            Self::Down => "down_proj",
        }
    }

    /// Tells the layer's path in transformers' models, without `.weight`.
    pub fn path(self, layer: usize) -> String {
        let part = match self {
            Self::Q | Self::K | Self::V | Self::O => "self_attn",
            Self::Gate | Self::Up | Self::Down => "mlp",
        };
        format!("model.layers.{layer}.{part}.{}", self.name())
    }

    /// Tells the path of the matrix that the layer's rows stand in: another where the family has several layers in one (Phi-3).
    pub(crate) fn matrix_path(self, layer: usize, config: &ModelConfig) -> String {
        let part = match self {
            Self::Q | Self::K | Self::V => "self_attn.qkv_proj",
            Self::Gate | Self::Up => "mlp.gate_up_proj",
            Self::O | Self::Down => return self.path(layer),
        };
        match config.variant.fused {
            true => format!("model.layers.{layer}.{part}"),
            false => self.path(layer),
        }
    }

    /// Groups the layers whose rows stand in one matrix, in the order of its rows.
    pub(crate) fn matrices(config: &ModelConfig) -> &'static [&'static [Self]] {
        const ALONE: &[&[Target]] = &[
            &[Target::Q],
            &[Target::K],
            &[Target::V],
            &[Target::O],
            &[Target::Gate],
            &[Target::Up],
            &[Target::Down],
        ];
        const FUSED: &[&[Target]] = &[
            &[Target::Q, Target::K, Target::V],
            &[Target::O],
            &[Target::Gate, Target::Up],
            &[Target::Down],
        ];
        match config.variant.fused {
            true => FUSED,
            false => ALONE,
        }
    }

    /// Tells the paths by which settings may mean the layer: its own, and that of the matrix it is a part of.
    pub(crate) fn paths(self, layer: usize, config: &ModelConfig) -> [String; 2] {
        [self.path(layer), self.matrix_path(layer, config)]
    }

    /// Tells PEFT's key of something that belongs to the layer, such as `lora_A.weight`.
    pub fn key(self, layer: usize, what: &str) -> String {
        format!("{KEY_PREFIX}{}.{what}", self.path(layer))
    }

    /// Tells the (inputs, outputs) of the layer in a model.
    pub fn widths(self, config: &ModelConfig) -> (usize, usize) {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        match self {
            Self::Q => (hidden, config.heads * config.head_dim),
            Self::K | Self::V => (hidden, config.kv_heads * config.head_dim),
            Self::O => (config.heads * config.head_dim, hidden),
            Self::Gate | Self::Up => (hidden, inner),
            Self::Down => (inner, hidden),
        }
    }

    /// Tells whether a family's layer has a bias.
    pub(crate) fn has_bias(self, config: &ModelConfig) -> bool {
        config.variant.qkv_bias && matches!(self, Self::Q | Self::K | Self::V)
    }
}

/// Finds the linear layers that a list of names, paths, patterns or `all-linear` means, in the order of layers and
/// [`Target::ALL`]. What means none by their own names may mean the matrices that hold several of them (`qkv_proj`).
///
/// A name means every layer whose path is that name or ends with it after a dot. An entry with other characters than those of
/// names is a regular expression that a whole path must match, as where PEFT's `target_modules` is text.
///
/// # Errors
/// [`EngineError::Invalid`] about `field` with the nearest name, when an entry means no layer or is no regular expression.
pub(crate) fn select(
    field: &str,
    entries: &[String],
    config: &ModelConfig,
) -> Result<Vec<(usize, Target)>, EngineError> {
    let all = (0..config.layers).flat_map(|layer| Target::ALL.map(|target| (layer, target)));
    let all = all.map(|(layer, target)| {
        let [path, matrix_path] = target.paths(layer, config);
        Named {
            one: (layer, target),
            path,
            matrix_path,
            is_linear: true,
        }
    });
    let names = Target::ALL.map(|target| target.name().to_string());
    select_among((field, "linear layer"), entries, all.collect(), &names)
}

/// Finds the modules of any kind that such a list means, in the order of [`Module::all`]; `all-linear` means the linear layers.
///
/// # Errors
/// As [`select`].
pub(super) fn select_modules(
    field: &str,
    entries: &[String],
    config: &ModelConfig,
) -> Result<Vec<Module>, EngineError> {
    let all = Module::all(config).into_iter().map(|module| {
        let path = module.path(config);
        Named {
            matrix_path: match module {
                Module::Linear(layer, target) => target.matrix_path(layer, config),
                _ => path.clone(),
            },
            one: module,
            path,
            is_linear: matches!(module, Module::Linear(..)),
        }
    });
    let names = Module::names(config);
    select_among((field, "module"), entries, all.collect(), &names)
}

/// Something that a list may mean.
struct Named<T> {
    one: T,
    path: String,
    /// Of the matrix that it is a part of.
    matrix_path: String,
    is_linear: bool,
}

/// Finds what a list means among things with paths.
fn select_among<T>(
    (field, what): (&str, &str),
    entries: &[String],
    all: Vec<Named<T>>,
    names: &[String],
) -> Result<Vec<T>, EngineError> {
    if entries.is_empty() {
        return Err(EngineError::Invalid(format!(
            "{field}: expected at least one {what}, such as q_proj; found none"
        )));
    }
    let mut is_chosen = vec![false; all.len()];
    for entry in entries {
        let matcher = Matcher::of(field, entry)?;
        let mut any = false;
        // Own names first: a pattern of `up_proj` is not about the matrix `gate_up_proj`, where a layer is called that.
        for of_matrix in [false, true] {
            for (one, is_chosen) in all.iter().zip(&mut is_chosen) {
                let path = match of_matrix {
                    false => &one.path,
                    true => &one.matrix_path,
                };
                let is_meant = match matcher {
                    Matcher::AllLinear => one.is_linear,
                    _ => matcher.matches(field, path)?,
                };
                if is_meant {
                    (any, *is_chosen) = (true, true);
                }
            }
            if any {
                break;
            }
        }
        if !any {
            let nearest = nearest(entry, names);
            let names = names.join(", ");
            return Err(EngineError::Invalid(format!(
                "{field}: no {what} is meant by {entry:?}; did you mean {nearest:?}? \
                 expected any of {names}, a path such as {:?}, a pattern of whole paths, or {ALL_LINEAR}",
                Target::Q.path(0)
            )));
        }
    }
    let chosen = all.into_iter().zip(is_chosen);
    Ok(chosen
        .filter_map(|(named, is_chosen)| is_chosen.then_some(named.one))
        .collect())
}

/// Finds the name that a path's last part is most like.
pub(crate) fn nearest<'a>(entry: &str, names: &'a [String]) -> &'a str {
    let last = entry.rsplit('.').next().unwrap_or(entry);
    let like = |name: &&String| strsim::jaro_winkler(name, last);
    let nearest = names.iter().max_by(|a, b| like(a).total_cmp(&like(b)));
    nearest.map(String::as_str).unwrap_or_default()
}

/// Names a selection as PEFT reads it: by the layers' names where every decoder layer has the same ones, else by whole paths.
pub(crate) fn names_of(selection: &[(usize, Target)], config: &ModelConfig) -> Vec<String> {
    let of_layer = |wanted: usize| {
        let here = selection.iter().filter(move |(layer, _)| *layer == wanted);
        here.map(|(_, target)| *target).collect::<Vec<_>>()
    };
    let first = of_layer(0);
    if (1..config.layers).all(|layer| of_layer(layer) == first) {
        return first.iter().map(|target| target.name().into()).collect();
    }
    let paths = selection.iter().map(|(layer, target)| target.path(*layer));
    paths.collect()
}

enum Matcher<'a> {
    AllLinear,
    Name(&'a str),
    Pattern(Regex),
}

impl<'a> Matcher<'a> {
    fn of(field: &str, entry: &'a str) -> Result<Self, EngineError> {
        let is_name =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.') || !c.is_ascii();
        if entry == ALL_LINEAR {
            return Ok(Self::AllLinear);
        }
        if entry.chars().all(is_name) {
            return Ok(Self::Name(entry));
        }
        pattern(field, entry, &format!("^(?:{entry})$")).map(Self::Pattern)
    }

    fn matches(&self, field: &str, path: &str) -> Result<bool, EngineError> {
        match self {
            Self::AllLinear => Ok(false),
            Self::Name(name) => Ok(path == *name
                || path
                    .strip_suffix(name)
                    .is_some_and(|before| before.ends_with('.'))),
            Self::Pattern(pattern) => is_match(field, pattern, path),
        }
    }
}

/// Settings of some linear layers, by patterns of the ends of their paths (PEFT's `rank_pattern` and `alpha_pattern`).
pub(crate) struct Patterns<'a, T> {
    field: &'static str,
    patterns: Vec<(&'a str, Regex, T)>,
}

impl<'a, T: Copy + PartialEq> Patterns<'a, T> {
    /// Reads patterns in the order that counts: PEFT sorts them when it saves.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] when one is no regular expression.
    pub(crate) fn new(
        field: &'static str,
        entries: impl Iterator<Item = (&'a String, T)>,
    ) -> Result<Self, EngineError> {
        let read = |(key, value): (&'a String, T)| {
            let regex = pattern(field, key, &format!(r"^(?:.*\.)?(?:{key})$"))?;
            Ok((key.as_str(), regex, value))
        };
        let mut patterns: Vec<_> = entries.map(read).collect::<Result<_, EngineError>>()?;
        patterns.sort_by_key(|(key, ..)| *key);
        Ok(Self { field, patterns })
    }

    /// Finds what is set for a layer by its paths: the first match counts, and another that says otherwise is refused.
    pub(crate) fn find(&self, paths: &[String]) -> Result<Option<T>, EngineError> {
        let mut found: Option<(&str, T)> = None;
        for (key, regex, value) in &self.patterns {
            let matches = paths.iter().map(|path| is_match(self.field, regex, path));
            let matches = matches.collect::<Result<Vec<bool>, _>>()?;
            if !matches.contains(&true) {
                continue;
            }
            let path = &paths[0];
            match found {
                Some((first, other)) if other != *value => {
                    return Err(EngineError::Invalid(format!(
                        "{}: {first:?} and {key:?} both match {path} and differ; expected patterns that do not overlap",
                        self.field
                    )));
                }
                Some(_) => {}
                None => found = Some((key, *value)),
            }
        }
        Ok(found.map(|(_, value)| value))
    }
}

fn pattern(field: &str, entry: &str, whole: &str) -> Result<Regex, EngineError> {
    Regex::new(whole).map_err(|error| {
        EngineError::Invalid(format!(
            "{field}: expected a regular expression, found {entry:?}: {error}"
        ))
    })
}

fn is_match(field: &str, pattern: &Regex, path: &str) -> Result<bool, EngineError> {
    pattern.is_match(path).map_err(|error| {
        EngineError::Invalid(format!(
            "{field}: {:?} took too long on {path}: {error}",
            pattern.as_str()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::config;
    use super::*;

    fn chosen(entries: &[&str]) -> Result<Vec<(usize, Target)>, String> {
        let entries: Vec<String> = entries.iter().map(|entry| entry.to_string()).collect();
        select("target_modules", &entries, &config()).map_err(|error| error.to_string())
    }

    #[test]
    fn names_paths_and_patterns_mean_what_peft_means_by_them() {
        let both = |target| vec![(0, target), (1, target)];
        assert_eq!(chosen(&["q_proj"]).unwrap(), both(Target::Q));
        assert_eq!(chosen(&["mlp.down_proj"]).unwrap(), both(Target::Down));
        assert_eq!(
            chosen(&["layers.1.self_attn.v_proj"]).unwrap(),
            [(1, Target::V)]
        );
        assert_eq!(chosen(&["all-linear"]).unwrap().len(), 14);
        let pattern = r"model\.layers\.0\..*\.(q|v)_proj";
        let expected = [(0, Target::Q), (0, Target::V)];
        assert_eq!(chosen(&[pattern]).unwrap(), expected);
        // A pattern must match the whole path.
        assert!(chosen(&["(q|v)_proj"]).is_err());
        assert_eq!(chosen(&[".*(q|v)_proj"]).unwrap().len(), 4);
    }

    #[test]
    fn a_matrix_of_several_layers_means_all_of_them() {
        let mut fused = config();
        fused.variant.fused = true;
        let chosen = |entry: &str| select("target_modules", &[entry.to_string()], &fused);
        let of_first = |entry: &str| -> Vec<Target> {
            let chosen = chosen(entry).unwrap().into_iter();
            let first = chosen.filter(|(layer, _)| *layer == 0);
            first.map(|(_, target)| target).collect()
        };
        assert_eq!(of_first("qkv_proj"), [Target::Q, Target::K, Target::V]);
        assert_eq!(of_first("mlp.gate_up_proj"), [Target::Gate, Target::Up]);
        assert_eq!(of_first(".*up_proj"), [Target::Up]);
        assert_eq!(of_first("o_proj"), [Target::O]);
        assert_eq!(of_first("k_proj"), [Target::K]);
        // Where each layer has a matrix of its own there is none of that name.
        assert!(select("target_modules", &["qkv_proj".to_string()], &config()).is_err());
        let ranks = [("qkv_proj".to_string(), 3)];
        let ranks = Patterns::new("rank_pattern", ranks.iter().map(|(k, v)| (k, *v))).unwrap();
        let of = |target: Target| ranks.find(&target.paths(1, &fused)).unwrap();
        assert_eq!([of(Target::V), of(Target::O)], [Some(3), None]);
    }

    #[test]
    fn what_means_no_layer_is_refused_with_the_nearest_name() {
        for (entry, nearest) in [
            ("q_prj", "q_proj"),
            ("gate", "gate_proj"),
            ("down_project", "down_proj"),
            ("layers.7.self_attn.q_proj", "q_proj"),
            // As near to one as to another.
            ("关注", ""),
        ] {
            let error = chosen(&[entry]).expect_err(entry);
            assert!(error.contains("target_modules"), "{error}");
            assert!(error.contains("did you mean"), "{error}");
            if !nearest.is_empty() {
                let hint = format!("did you mean {nearest:?}?");
                assert!(error.contains(&hint), "{error}");
            }
        }
        assert!(chosen(&[]).unwrap_err().contains("at least one"));
        assert!(chosen(&["(q"]).unwrap_err().contains("regular expression"));
        // It would never end.
        let endless = chosen(&["(m|o|d|e|l|.|s|mo|od)+(m|o|d|e|l|.|s|mo|od)+!(?<=a)"]);
        assert!(endless.is_err());
    }

    #[test]
    fn the_same_layers_everywhere_are_named_others_by_their_paths() {
        let named = |entries: &[&str]| names_of(&chosen(entries).unwrap(), &config());
        assert_eq!(named(&["v_proj", "q_proj"]), ["q_proj", "v_proj"]);
        assert_eq!(
            named(&["layers.1.mlp.up_proj"]),
            ["model.layers.1.mlp.up_proj"]
        );
    }

    #[test]
    fn patterns_match_the_ends_of_paths_and_may_not_disagree() {
        let ranks = |pairs: &[(&str, u32)], path: &str| {
            let pairs: Vec<(String, u32)> =
                pairs.iter().map(|(k, v)| (k.to_string(), *v)).collect();
            let patterns = Patterns::new("rank_pattern", pairs.iter().map(|(k, v)| (k, *v)));
            patterns.and_then(|patterns| patterns.find(&[path.to_string()]))
        };
        let path = Target::Q.path(1);
        assert_eq!(ranks(&[("q_proj", 3)], &path).unwrap(), Some(3));
        assert_eq!(ranks(&[("proj", 3)], &path).unwrap(), None);
        assert_eq!(ranks(&[(r"layers\.[01]\..*", 3)], &path).unwrap(), Some(3));
        assert_eq!(
            ranks(&[("q_proj", 3), (".*_proj", 3)], &path).unwrap(),
            Some(3)
        );
        let error = ranks(&[("q_proj", 3), (".*_proj", 4)], &path).unwrap_err();
        assert!(error.to_string().contains("overlap"), "{error}");
        assert!(ranks(&[("(q", 3)], &path).is_err());
    }
}
