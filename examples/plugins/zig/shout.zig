//! Drops instructions that shout: three exclamation marks or more, of either width.

const std = @import("std");
const autodidact = @import("autodidact");

const Shout = struct {
    pub const name = "shout-zig";
    pub const version = "0.1.0";

    pub fn init(_: anytype, _: *autodidact.Problem) ?Shout {
        return .{};
    }

    pub fn decide(_: *const Shout, record: autodidact.Record) autodidact.Decision {
        const marks = std.mem.count(u8, record.instruction, "!") + std.mem.count(u8, record.instruction, "！");
        if (marks < 3) return .keep;
        return .{ .drop_reason = "shouts", .note = "exclamation marks, counted in the score", .score = @floatFromInt(marks) };
    }
};

comptime {
    autodidact.exportPlugin(Shout);
}
