// Writes Autodidact plugins in JavaScript: one function for each record, and `definePlugin`.
//
//     import { definePlugin, drop, keep, readConfig } from "../sdk/javascript/index.js";
//
//     export const { plugin, filter } = definePlugin({
//       name: "shout",
//       version: "0.1.0",
//       configSchema: { type: "object", properties: { max_marks: { type: "integer" } } },
//       configure: (config) => readConfig(config, { max_marks: 2 }, { whole: ["max_marks"] }),
//
//       decide(record, settings) {
//         const marks = record.instruction.match(/[!！]/g)?.length ?? 0;
//         if (marks <= settings.max_marks) return keep();
//         return drop("shouts", { note: `${marks} exclamation marks`, score: marks });
//       },
//     });
//
// The exported names are those of the WIT's interfaces: `plugin` and one or more of `filter`, `validator`, `scorer` and `template`. What a
// plugin says must follow from the configuration and the record alone.

import { ConfigError } from "./config.js";
import { Batch } from "./record.js";
import { Correction, Decision, KEPT, Score } from "./verdict.js";

export { ConfigError, readConfig } from "./config.js";
export { ask, chat, goOn, item } from "./prompts.js";
export { Record } from "./record.js";
export { accept, correct, drop, keep, Score } from "./verdict.js";

/**
 * Makes a component's exports of what a plugin is:
 *
 * - `name`, `version`, `configSchema` (the JSON Schema as an object; leave it out where there is nothing to configure), `capabilities`
 *   (what it asks to use, of `log`, `generate`, `embed`, `score` and `data`);
 * - `configure(config)`: makes the settings of a configuration, or throws a `ConfigError` with what to mend; called once for each;
 * - a filter's `decide(record, settings)`: `keep()` or `drop(reason)`;
 * - a validator's `validate(record, settings)`: `accept()`, `correct(output)` or `drop(reason)`;
 * - a scorer's `score(record, settings)`: a `Score`;
 * - a template's `render(request, settings)`: `ask(text)`, `chat(turns)` or `goOn(text)`, and `parse(completion, settings)`: a list of
 *   `item(instruction)`.
 *
 * A kind that is best asked for a whole batch at once, since it asks the model, has `decideAll(records, settings)` and the like instead.
 */
export function definePlugin(definition) {
  const settingsOf = settingsKeeper(definition);
  const made = { plugin: { describe: () => describe(definition), checkConfig: caught((config) => void settingsOf(config)) } };
  for (const [kind, [one, all, check]] of Object.entries(RECORD_KINDS)) {
    if (!definition[one] && !definition[all]) continue;
    const judge = definition[all]
      ? (batch, settings) => definition[all](batch.map((record) => record), settings).map(check)
      : (batch, settings) => batch.map((record) => check(definition[one](record, settings)));
    const call = caught((config, text, ends) => judge(new Batch(text, ends), settingsOf(config)));
    made[kind] = { [VERBS[kind]]: call };
  }
  if (definition.render) {
    made.template = {
      render: caught((config, requests) => requests.map((request) => definition.render(request, settingsOf(config)))),
      parse: caught((config, completions) => completions.map((one) => definition.parse(completionOf(one), settingsOf(config)))),
    };
  }
  return made;
}

// What a kind's functions are called in a definition, and how their answers reach the host.
const RECORD_KINDS = {
  filter: ["decide", "decideAll", decisionOf],
  validator: ["validate", "validateAll", outcomeOf],
  scorer: ["score", "scoreAll", scoredOf],
};
const VERBS = { filter: "filter", validator: "validate", scorer: "score" };

function describe(definition) {
  const { name, version, configSchema, capabilities = [] } = definition;
  const { decide, decideAll, validate, validateAll, score, scoreAll, render } = definition;
  const kinds = { filter: decide ?? decideAll, template: render, validator: validate ?? validateAll, scorer: score ?? scoreAll };
  return {
    name,
    version,
    kinds: Object.keys(kinds).filter((kind) => kinds[kind]),
    configSchema: configSchema ? JSON.stringify(configSchema) : "",
    capabilities,
  };
}

/** Keeps the settings of the configuration that was read last, so that one is read once and not for every batch. */
function settingsKeeper({ name, configure }) {
  let known = null;
  let settings;
  return (config) => {
    if (config !== known) {
      const read = JSON.parse(config);
      if (!configure && Object.keys(read).length > 0) throw new ConfigError(`${name} takes no configuration`);
      settings = configure ? configure(read) : read;
      known = config;
    }
    return settings;
  };
}

/** Makes an exception, which would abort the instance, into the call's error. */
function caught(call) {
  return (...given) => {
    try {
      return call(...given);
    } catch (error) {
      if (error instanceof ConfigError) throw error.message;
      const place = error?.stack?.split("\n")[0]?.trim();
      throw place ? `${error} (${place})` : String(error);
    }
  };
}

function decisionOf(answer) {
  if (answer === KEPT || answer instanceof Decision) return answer;
  throw new TypeError(`expected keep() or drop(reason), found ${answer}`);
}

function outcomeOf(answer) {
  if (answer instanceof Correction) return { tag: "correct", val: answer };
  const { dropReason, note, score } = decisionOf(answer);
  return dropReason === null ? { tag: "accept" } : { tag: "drop", val: { reason: dropReason, note, score } };
}

function scoredOf(answer) {
  if (answer instanceof Score) return answer;
  throw new TypeError(`expected a Score, found ${answer}`);
}

/** Shows what a model said to a request; `isCut` where it had as many tokens as it may have. */
function completionOf({ request, text, finish }) {
  return { request, text, isCut: finish === "length" };
}
