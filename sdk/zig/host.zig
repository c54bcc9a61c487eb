//! What a person may grant: name what is used in the plugin's `capabilities`. A component imports only what it calls.

const abi = @import("abi.zig");

/// What a plugin asks to use: `pub const capabilities = [_]autodidact.host.Capability{.log};`.
pub const Capability = enum(u8) { log, generate, embed, score, data };

pub const Level = enum(u8) { debug, info, warn, @"error" };

const imports = struct {
    extern "autodidact:plugin/log@0.1.0" fn log(level: u32, message: [*]const u8, length: usize) void;
    extern "autodidact:plugin/model@0.1.0" fn generate(requests: [*]const Generation, length: usize, result: *abi.Result) void;
};

/// Writes a line into the daemon's log.
pub fn log(level: Level, message: []const u8) void {
    imports.log(@intFromEnum(level), message.ptr, message.len);
}

const Turn = extern struct { role: u8, content: abi.Slice };

/// What to generate, as the canonical ABI lays it out.
pub const Generation = extern struct {
    is_chat: u32 = 1,
    prompt: abi.Slice,
    max_tokens: u32,
    temperature: f32 = 0,
    top_p: f32 = 1,
    seed: u64 = 0,
    stop: abi.Slice = abi.Slice.of(""),
    choices: abi.Slice = abi.Slice.of(""),

    /// Asks for the likeliest answer to a question.
    pub fn ask(question: []const u8, max_tokens: u32) Generation {
        const turns = abi.take(Turn, 1);
        turns[0] = .{ .role = 1, .content = abi.Slice.of(question) };
        return .{ .prompt = abi.Slice.list(Turn, turns), .max_tokens = max_tokens };
    }

    /// Holds the answer to one of these.
    pub fn choosing(self: Generation, choices: []const []const u8) Generation {
        const laid = abi.take(abi.Slice, choices.len);
        for (laid, choices) |*one, choice| one.* = abi.Slice.of(choice);
        var held = self;
        held.choices = abi.Slice.list(abi.Slice, laid);
        return held;
    }
};

pub const Generated = extern struct { text: abi.Slice, is_cut: bool };

/// Asks the model, a whole batch at once; what it costs is taken off the plugin's budget.
pub fn generate(requests: []const Generation, problem: *abi.Problem) ?[]const Generated {
    var result: abi.Result = undefined;
    imports.generate(requests.ptr, requests.len, &result);
    if (result.is_error) {
        problem.tell("{s}", .{result.payload.bytes()});
        return null;
    }
    const list: [*]const Generated = @ptrCast(@alignCast(result.payload.start));
    return list[0..result.payload.length];
}
