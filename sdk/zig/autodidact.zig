//! Writes Autodidact plugins in Zig: a struct, one function for each record, and `exportPlugin`.
//!
//!     const autodidact = @import("autodidact");
//!
//!     const Shout = struct {
//!         pub const name = "shout";
//!         pub const version = "0.1.0";
//!         pub const config_schema = "{\"type\": \"object\"}";
//!         pub const Config = struct { max_marks: u32 = 2 };
//!
//!         config: Config,
//!
//!         pub fn init(config: Config, _: *autodidact.Problem) ?Shout {
//!             return .{ .config = config };
//!         }
//!
//!         pub fn decide(self: *const Shout, record: autodidact.Record) autodidact.Decision { ... }
//!     };
//!
//!     comptime {
//!         autodidact.exportPlugin(Shout);
//!     }
//!
//! The kinds follow from what is declared: `decide` makes a filter, `validate` a validator, `score` a scorer, `render` and `parse` a
//! template. `decideAll(self, records, problem)`, which gives `?[]const Decision`, and the like answer for a whole batch at a time, as is
//! best for what asks the model. `Config` is read from JSON: fields that are not known are refused, those that are not there have their
//! defaults. Build it with -fno-entry for wasm32-freestanding; the core module that comes out is installed as it is. What a plugin says
//! must follow from the configuration and the record alone.

const std = @import("std");
const abi = @import("abi.zig");

pub const host = @import("host.zig");
pub const text = @import("text.zig");
pub const Builder = abi.Builder;
pub const Completion = abi.Completion;
pub const Decision = @import("verdict.zig").Decision;
pub const Example = abi.Example;
pub const Item = abi.Item;
pub const Outcome = @import("verdict.zig").Outcome;
pub const Record = @import("record.zig").Record;
pub const Rendered = abi.Rendered;
pub const Request = abi.Request;
pub const Score = @import("verdict.zig").Score;
pub const print = abi.print;
pub const scratch = abi.scratch;

/// What an author leaves for the person who wrote a configuration, or why a prompt cannot be written.
pub const Problem = abi.Problem;

/// Exports a plugin; once, at the root of the module.
pub fn exportPlugin(comptime Plugin: type) void {
    const Exports = @import("exports.zig").Of(Plugin);
    const prefix = "autodidact:plugin/";
    @export(&abi.realloc, .{ .name = "cabi_realloc" });
    @export(&Exports.describe, .{ .name = prefix ++ "plugin@0.1.0#describe" });
    exportCall(&Exports.checkConfig, prefix ++ "plugin@0.1.0#check-config");
    if (Exports.has("decide")) exportCall(&Exports.filter, prefix ++ "filter@0.1.0#filter");
    if (Exports.has("validate")) exportCall(&Exports.validate, prefix ++ "validator@0.1.0#validate");
    if (Exports.has("score")) exportCall(&Exports.score, prefix ++ "scorer@0.1.0#score");
    if (@hasDecl(Plugin, "render")) exportCall(&Exports.render, prefix ++ "template@0.1.0#render");
    if (@hasDecl(Plugin, "parse")) exportCall(&Exports.parse, prefix ++ "template@0.1.0#parse");
}

fn exportCall(comptime function: anytype, comptime name: []const u8) void {
    @export(function, .{ .name = name });
    @export(&abi.postReturn, .{ .name = "cabi_post_" ++ name });
}
