// Reads configurations.

/** What to mend in a configuration, in words for the person who wrote it. */
export class ConfigError extends Error {}

/**
 * Reads settings with their defaults: those that are not known and those of another type than the default are refused. A number has to
 * be whole where the default is listed in `whole`.
 */
export function readConfig(config, defaults, { whole = [] } = {}) {
  for (const [name, value] of Object.entries(config)) {
    if (!Object.hasOwn(defaults, name)) {
      const known = Object.keys(defaults).sort().join(", ");
      throw new ConfigError(`${name}: there is no such setting${known && `; there are ${known}`}`);
    }
    const wanted = kindOf(defaults[name]);
    if (kindOf(value) !== wanted) throw new ConfigError(`${name}: expected a ${wanted}, found ${JSON.stringify(value)}`);
    if (whole.includes(name) && !Number.isInteger(value)) {
      throw new ConfigError(`${name}: expected a whole number, found ${JSON.stringify(value)}`);
    }
  }
  return { ...defaults, ...config };
}

function kindOf(value) {
  if (Array.isArray(value)) return "list";
  return { string: "text", boolean: "truth value" }[typeof value] ?? typeof value;
}
