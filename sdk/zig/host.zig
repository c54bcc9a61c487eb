//! What a person may grant: name what is used in the plugin's `capabilities`. A component imports only what it calls.

const std = @import("std");
const abi = @import("abi.zig");

/// What a plugin asks to use: `pub const capabilities = [_]autodidact.host.Capability{.log};`.
pub const Capability = enum(u8) { log, generate, embed, score, data };

pub const Level = enum(u8) { debug, info, warn, @"error" };

const imports = struct {
    extern "autodidact:plugin/log@0.1.0" fn log(level: u32, message: [*]const u8, length: usize) void;
    extern "autodidact:plugin/model@0.1.0" fn generate(requests: [*]const Generation, length: usize, result: *abi.Result) void;
    extern "autodidact:plugin/model@0.1.0" fn embed(texts: [*]const abi.Slice, length: usize, result: *abi.Result) void;
    extern "autodidact:plugin/model@0.1.0" fn score(continuations: [*]const Continuation, length: usize, result: *abi.Result) void;
    extern "autodidact:plugin/data@0.1.0" fn files(result: *abi.Slice) void;
    extern "autodidact:plugin/data@0.1.0" fn read(name: [*]const u8, length: usize, result: *abi.Result) void;
};

/// Writes a line into the daemon's log.
pub fn log(level: Level, message: []const u8) void {
    imports.log(@intFromEnum(level), message.ptr, message.len);
}

/// What the model is asked, as the canonical ABI lays it out.
pub const Prompt = extern struct {
    is_chat: u32,
    content: abi.Slice,

    /// Asks in the form that the model was trained on.
    pub fn ask(question: []const u8) Prompt {
        return .{ .is_chat = 1, .content = abi.question(question) };
    }

    /// Shows a text to go on with, as it is.
    pub fn goOn(start: []const u8) Prompt {
        return .{ .is_chat = 0, .content = abi.Slice.of(start) };
    }
};

/// What to generate: the likeliest completion where nothing else is said.
pub const Generation = extern struct {
    prompt: Prompt,
    max_tokens: u32,
    temperature: f32 = 0,
    top_p: f32 = 1,
    seed: u64 = 0,
    stop: abi.Slice = abi.Slice.of(""),
    choices: abi.Slice = abi.Slice.of(""),

    /// Asks for the likeliest answer to a question.
    pub fn ask(question: []const u8, max_tokens: u32) Generation {
        return .{ .prompt = Prompt.ask(question), .max_tokens = max_tokens };
    }

    /// Holds the answer to one of these.
    pub fn choosing(self: Generation, choices: []const []const u8) Generation {
        var held = self;
        held.choices = abi.Slice.texts(choices);
        return held;
    }

    /// Stops at these texts, which are not part of the answer.
    pub fn stoppingAt(self: Generation, stop: []const []const u8) Generation {
        var held = self;
        held.stop = abi.Slice.texts(stop);
        return held;
    }
};

pub const Generated = extern struct { text: abi.Slice, is_cut: bool };

/// A text whose likelihood after a prompt is wanted.
pub const Continuation = extern struct {
    prompt: Prompt,
    text: abi.Slice,

    /// Asks how likely an answer to a question is.
    pub fn answer(question: []const u8, text: []const u8) Continuation {
        return .{ .prompt = Prompt.ask(question), .text = abi.Slice.of(text) };
    }
};

/// How likely a text is.
pub const Likelihood = extern struct {
    /// The sum of its tokens' natural log probabilities.
    log_probability: f64,
    tokens: u32,
};

/// A vector of length 1.
pub const Vector = extern struct {
    start: [*]const f32,
    length: usize,

    pub fn values(self: Vector) []const f32 {
        return self.start[0..self.length];
    }
};

comptime {
    const sizes = .{ .{ Generation, 48 }, .{ Generated, 12 }, .{ Continuation, 20 }, .{ Likelihood, 16 }, .{ Vector, 8 } };
    for (sizes) |size| std.debug.assert(@sizeOf(size[0]) == size[1] or @import("builtin").target.cpu.arch != .wasm32);
}

/// Asks the model. What it costs is taken off the plugin's budget, as with the next two; ask for a whole batch at once (`decideAll`), of
/// 256 at most.
pub fn generate(requests: []const Generation, problem: *abi.Problem) ?[]const Generated {
    var result: abi.Result = undefined;
    imports.generate(requests.ptr, requests.len, &result);
    return listOf(Generated, result, problem);
}

/// Embeds texts: a vector for each.
pub fn embed(texts: []const []const u8, problem: *abi.Problem) ?[]const Vector {
    const laid = abi.Slice.texts(texts);
    var result: abi.Result = undefined;
    imports.embed(@ptrCast(@alignCast(laid.start)), laid.length, &result);
    return listOf(Vector, result, problem);
}

/// Measures how likely texts are.
pub fn score(continuations: []const Continuation, problem: *abi.Problem) ?[]const Likelihood {
    var result: abi.Result = undefined;
    imports.score(continuations.ptr, continuations.len, &result);
    return listOf(Likelihood, result, problem);
}

/// Names the files that may be read, sorted.
pub fn files() []const abi.Slice {
    var result: abi.Slice = undefined;
    imports.files(&result);
    return result.elements(abi.Slice);
}

/// Reads a whole file.
pub fn read(name: []const u8, problem: *abi.Problem) ?[]const u8 {
    var result: abi.Result = undefined;
    imports.read(name.ptr, name.len, &result);
    return listOf(u8, result, problem);
}

fn listOf(comptime T: type, result: abi.Result, problem: *abi.Problem) ?[]const T {
    if (!result.is_error) return result.payload.elements(T);
    problem.tell("{s}", .{result.payload.bytes()});
    return null;
}
