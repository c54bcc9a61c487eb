/** A configuration: a JSON object, each of whose settings is asked for by name, with its default. Those nobody asks for are refused. */
export class Config {
  private values: Map<string, string> = new Map();
  private wrong: string = "";
  private asked: string[] = [];
  private at: i32 = 0;

  constructor(private json: string) {
    this.at = this.skipBlanks(0);
    if (this.code() != 0x7b) this.refuse("the configuration is no object");
    this.at = this.skipBlanks(this.at + 1);
    while (this.code() == 0x22) {
      const name = this.value();
      this.at = this.skipBlanks(this.skipBlanks(this.at) + 1);
      this.values.set(unquoted(name), this.value());
      this.at = this.skipBlanks(this.at);
      if (this.code() == 0x2c) this.at = this.skipBlanks(this.at + 1);
    }
  }

  /** Reads a whole number. */
  integer(name: string, preset: i32): i32 {
    const raw = this.raw(name);
    if (raw.length == 0) return preset;
    const read = F64.parseFloat(raw);
    if (isFinite(read) && Math.trunc(read) == read && Math.abs(read) < 2147483648.0) return i32(read);
    this.refuse(name + ": expected a whole number, found " + raw);
    return preset;
  }

  /** Reads a number. */
  number(name: string, preset: f64): f64 {
    const raw = this.raw(name);
    if (raw.length == 0) return preset;
    const read = F64.parseFloat(raw);
    if (isFinite(read)) return read;
    this.refuse(name + ": expected a number, found " + raw);
    return preset;
  }

  /** Reads a truth value. */
  flag(name: string, preset: bool): bool {
    const raw = this.raw(name);
    if (raw.length == 0) return preset;
    if (raw != "true" && raw != "false") this.refuse(name + ": expected true or false, found " + raw);
    return raw == "true";
  }

  /** Reads a text. */
  text(name: string, preset: string): string {
    const raw = this.raw(name);
    if (raw.length == 0) return preset;
    if (raw.charCodeAt(0) == 0x22) return unquoted(raw);
    this.refuse(name + ": expected a text, found " + raw);
    return preset;
  }

  /** Says what to mend; the first word counts. */
  refuse(what: string): void {
    if (this.wrong.length == 0) this.wrong = what;
  }

  /** Shows what to mend, empty where there is nothing. */
  problem(plugin: string): string {
    const names = this.values.keys();
    for (let i = 0; i < names.length && this.wrong.length == 0; i++) {
      if (this.asked.includes(names[i])) continue;
      const known = this.asked.length > 0 ? names[i] + ": there is no such setting; there are " + this.asked.join(", ") : "";
      this.wrong = known.length > 0 ? known : plugin + " takes no configuration";
    }
    return this.wrong;
  }

  private raw(name: string): string {
    this.asked.push(name);
    return this.values.has(name) ? this.values.get(name) : "";
  }

  private code(): i32 {
    return this.at < this.json.length ? this.json.charCodeAt(this.at) : 0;
  }

  private skipBlanks(at: i32): i32 {
    while (at < this.json.length && this.json.charCodeAt(at) <= 0x20) at++;
    return at;
  }

  /** Takes the text of a value, quotes and brackets with it. The host's configurations are well-formed. */
  private value(): string {
    const start = this.at;
    let depth = 0;
    for (let inText = false; this.at < this.json.length; this.at++) {
      const code = this.code();
      if (inText) {
        if (code == 0x5c) this.at++;
        else if (code == 0x22) inText = false;
        if (!inText && depth == 0) return this.json.substring(start, ++this.at);
      } else if (code == 0x22) inText = true;
      else if (code == 0x7b || code == 0x5b) depth++;
      else if (code == 0x7d || code == 0x5d) {
        if (depth == 0) break;
        depth--;
      } else if (code == 0x2c && depth == 0) break;
    }
    return this.json.substring(start, this.at).trim();
  }
}

/** Takes the quotes and escapes off a JSON text. Parts are joined once: nothing is freed before the end of a call. */
function unquoted(raw: string): string {
  const parts: string[] = [];
  let start = 1;
  for (let at = 1; at < raw.length - 1; at++) {
    if (raw.charCodeAt(at) != 0x5c) continue;
    parts.push(raw.substring(start, at));
    const escape = raw.charAt(++at);
    if (escape == "u") {
      parts.push(String.fromCharCode(i32(parseInt(raw.substring(at + 1, at + 5), 16))));
      at += 4;
    } else {
      const known = "bfnrt".indexOf(escape);
      parts.push(known >= 0 ? "\b\f\n\r\t".charAt(known) : escape);
    }
    start = at + 1;
  }
  parts.push(raw.substring(start, raw.length - 1));
  return parts.join("");
}
