//! What plugins say of records.

const abi = @import("abi.zig");

/// Keep or drop, with what it rests on.
pub const Decision = struct {
    /// None keeps; a stable code drops: snake case, at most 64 bytes, starting with a letter.
    drop_reason: ?[]const u8 = null,
    /// In words for people.
    note: ?[]const u8 = null,
    /// The number that crossed a threshold; finite.
    score: ?f64 = null,

    pub const keep = Decision{};

    pub fn laid(self: Decision) abi.Decision {
        return .{
            .drop_reason = abi.OptionText.of(self.drop_reason),
            .note = abi.OptionText.of(self.note),
            .score = abi.OptionNumber.of(self.score),
        };
    }
};

/// What becomes of an answered record.
pub const Outcome = union(enum) {
    /// It goes on as it is.
    accept,
    /// It goes on with another answer; the first one is kept beside it.
    correct: struct { output: []const u8, note: ?[]const u8 = null },
    /// It goes.
    drop: struct { reason: []const u8, note: ?[]const u8 = null, score: ?f64 = null },

    pub fn laid(self: Outcome) abi.Outcome {
        const none = abi.OptionText.of(null);
        return switch (self) {
            .accept => .{ .tag = .accept, .text = abi.Slice.of(""), .note = none, .score = abi.OptionNumber.of(null) },
            .correct => |correction| .{
                .tag = .correct,
                .text = abi.Slice.of(correction.output),
                .note = abi.OptionText.of(correction.note),
                .score = abi.OptionNumber.of(null),
            },
            .drop => |fault| .{
                .tag = .drop,
                .text = abi.Slice.of(fault.reason),
                .note = abi.OptionText.of(fault.note),
                .score = abi.OptionNumber.of(fault.score),
            },
        };
    }
};

/// What a record is worth.
pub const Score = struct {
    /// None where it cannot be told; finite.
    value: ?f64 = null,
    /// In words for people.
    note: ?[]const u8 = null,

    pub fn laid(self: Score) abi.Scored {
        return .{ .value = abi.OptionNumber.of(self.value), .note = abi.OptionText.of(self.note) };
    }
};
