//! The gRPC interface of Autodidact, generated from `autodidact/v1/*.proto`.
//!
//! The `.proto` files are the documentation; their comments stand at every type here.

pub mod json;

/// The types, servers and clients of package `autodidact.v1`.
#[expect(clippy::all, reason = "generated code keeps its generator's style")]
pub mod v1 {
    tonic::include_proto!("autodidact.v1");
}

impl v1::ErrorReason {
    /// Shows the reason as `google.rpc.ErrorInfo` carries it, such as `NOT_FOUND`.
    pub fn as_reason(self) -> &'static str {
        self.as_str_name().trim_start_matches("ERROR_REASON_")
    }

    /// Reads a reason as `google.rpc.ErrorInfo` carries it.
    pub fn from_reason(reason: &str) -> Option<Self> {
        Self::from_str_name(&format!("ERROR_REASON_{reason}"))
    }
}

/// The encoded `google.protobuf.FileDescriptorSet` of the package and what it imports, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The domain that stands in every `google.rpc.ErrorInfo` of the daemon.
pub const ERROR_DOMAIN: &str = "autodidact";

/// The most bytes one message may have, 4 MiB, either way.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// The bytes of data that a chunk of a transfer carries, 1 MiB; the last one may have fewer.
pub const CHUNK_BYTES: usize = 1024 * 1024;
