// Reads configurations.

/** A configuration as a person wrote it: a JSON object, of which nothing is known yet. */
export type Config = { readonly [name: string]: unknown };

/** What to mend in a configuration, in words for the person who wrote it. */
export class ConfigError extends Error {}

/** What a setting's default may be. */
export type Default = string | number | boolean | null | readonly unknown[] | { readonly [name: string]: unknown };

/** Settings as they are read: of the types of their defaults. What is in a list or an object is not looked at. */
export type Settings<D> = {
  -readonly [Name in keyof D]: D[Name] extends string
    ? string
    : D[Name] extends number
      ? number
      : D[Name] extends boolean
        ? boolean
        : D[Name] extends readonly unknown[]
          ? readonly unknown[]
          : { readonly [name: string]: unknown } | null;
};

/** The names of the settings that are numbers. */
export type NumberNames<D> = { [Name in keyof D]: D[Name] extends number ? Name : never }[keyof D];

/**
 * Reads settings with their defaults: those that are not known and those of another type than the default are refused with a
 * `ConfigError`. A number has to be whole where it is listed in `whole`; its range is the plugin's to check.
 */
export function readConfig<D extends { readonly [name: string]: Default }>(
  config: Config,
  defaults: D,
  options?: { readonly whole?: readonly NumberNames<D>[] | undefined },
): Settings<D>;
